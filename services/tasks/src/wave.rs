//! A wave: one signed command over its own servers. A task that goes out at once is a single wave; a
//! roll-out signs one after the other, each with a fresh expiry and a tree of its own.

use std::sync::Arc;

use shared::clock::Time;
use shared::contract::envelope::Proof;
use shared::contract::signed::{Command, Kind, PLANE, Targets};
use shared::db::Tx;
use shared::error::{Error, Result};
use shared::rules::invocation::Times;
use shared::sign::{Envelope, SigningKey, Tree};
use shared::store::outbox::{self, Leased};
use shared::store::task::Order;
use shared::store::wave::Signed;

use crate::handover::{Handover, Parcel, Place};

/// Targets up to which a tree is made where the command is accepted: less than a change of threads
/// would save.
const SMALL_TARGETS: usize = 64;

/// A wave, to be signed and stored.
pub struct Wave {
    order: Order,
    number: i64,
    issued_at: Time,
    times: Times,
    targets: Targets,
    hostnames: Vec<String>,
    proofs: Vec<Proof>,
}

impl Wave {
    /// Lays out the tree over its servers.
    pub async fn new(
        order: &Order,
        number: i64,
        hostnames: Vec<String>,
        (issued_at, expires_at): (Time, Time),
    ) -> Result<Self> {
        let order = order.clone();
        let small = hostnames.len() <= SMALL_TARGETS;
        let work = move || {
            let tree = Tree::new(hostnames.iter().map(String::as_str));
            let targets = Targets { count: hostnames.len() as u64, root: tree.root() };
            let proofs = (0..hostnames.len()).map(|index| tree.proof(index)).collect();
            let times = Times::new(expires_at.0, order.timeout);
            Self { order, number, issued_at, times, targets, hostnames, proofs }
        };
        if small { Ok(work()) } else { tokio::task::spawn_blocking(work).await.map_err(Error::internal) }
    }

    /// Signs its command, on a thread for such work, so that the database can be at work meanwhile.
    pub async fn sign(&self, key: Arc<SigningKey>) -> Result<Signed> {
        let payload = serde_json::to_vec(&self.command()?).map_err(Error::internal)?;
        let signing = move || {
            let envelope = Envelope::sign(Kind::Command, payload, &key)?;
            Ok((envelope.digest(), envelope.to_json(), key.keyid().to_owned()))
        };
        let signed: Result<_> = tokio::task::spawn_blocking(signing).await.map_err(Error::internal)?;
        let (command_digest, envelope, keyid) = signed?;
        let (task_id, wave) = (self.order.task_id.clone(), self.number);
        let expires_at = self.times.expires_at.0;
        Ok(Signed { task_id, wave, expires_at, envelope, command_digest, keyid, cancel_envelope: None })
    }

    fn command(&self) -> Result<Command> {
        let order = &self.order;
        Ok(Command {
            iss: PLANE.to_owned(),
            task_id: order.task_id.clone(),
            command: order.command.clone(),
            user: order.user.clone(),
            timeout: u32::try_from(order.timeout).map_err(Error::internal)?,
            issued_at: self.issued_at,
            expires_at: self.times.expires_at,
            targets: self.targets.clone(),
            requested_by: order.requested_by.clone(),
        })
    }

    /// The task and the wave's number.
    pub fn key(&self) -> (&str, i64) {
        (&self.order.task_id, self.number)
    }

    /// The times that its deadlines follow from.
    pub const fn times(&self) -> Times {
        self.times
    }

    /// The last of its servers, in the order of their names.
    pub fn last_hostname(&self) -> &str {
        self.hostnames.last().map_or("", String::as_str)
    }

    /// Its servers, each with its inclusion proof.
    pub fn rows(&self) -> Vec<(&str, Proof)> {
        self.hostnames.iter().map(String::as_str).zip(self.proofs.iter().cloned()).collect()
    }

    /// A place for it in the handover, if there is one.
    pub fn place(&self, handover: &Handover) -> Option<Place> {
        handover.place(self.order.command.len(), self.hostnames.len(), self.issued_at, self.times.expires_at)
    }

    /// Asks the relay to send it. With a place in the handover its rows are leased, and returned.
    pub async fn enqueue(&self, tx: &mut Tx, place: Option<&Place>) -> Result<Vec<Leased>> {
        let (task_id, wave) = self.key();
        let entry = |hostname| outbox::Entry {
            kind: outbox::Kind::Command,
            task_id: Some(task_id),
            wave: Some(wave),
            hostname,
            traceparent: Some(&self.order.traceparent),
            expires_at: Some(self.times.expires_at),
        };
        let entries: Vec<_> = self.hostnames.iter().map(String::as_str).map(entry).collect();
        match place {
            Some(place) => outbox::insert_leased(tx, &entries, &place.lease, self.issued_at, place.until()).await,
            None => outbox::insert(tx, &entries, self.issued_at).await.map(|()| Vec::new()),
        }
    }

    /// What is handed over of it, once all of it holds.
    pub fn parcel(self, place: Place, signed: Signed, leased: Vec<Leased>) -> Parcel {
        Parcel { place, wave: signed, rows: leased.into_iter().zip(self.proofs).collect() }
    }
}
