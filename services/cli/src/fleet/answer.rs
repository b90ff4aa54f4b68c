//! What a simulated agent answers: a command that holds gets a signed result, anything else nothing.
//!
//! Nothing was executed, so the result says nothing that the command does not say. Hence a command that
//! is delivered twice gets the same result twice, as from an agent with a journal.

use shared::bus::{Address, Delivery, Message};
use shared::clock::Time;
use shared::contract::key::PlaneKey;
use shared::contract::signed::{Command, Kind, PLANE, ResultReport};
use shared::error::{Error, Result};
use shared::http::client::Client;
use shared::rules::invocation::Ending;
use shared::sign::{Envelope, Inbound, KeyState, PublicKey, TrustedKey, Verified, inbound};

use super::keys::Host;

/// The run that all results name: there is no other.
const BOOT_ID: &str = "simulated";

/// The plane's keys, as it answers them.
pub async fn plane_keys(client: &Client) -> Result<Vec<TrustedKey>> {
    let keys: Vec<PlaneKey> = client.get("/api/signing-keys").await?;
    keys.into_iter().map(trusted).collect()
}

fn trusted(PlaneKey { algorithm, public_key_pem, .. }: PlaneKey) -> Result<TrustedKey> {
    let key = PublicKey::from_pem(&public_key_pem)?;
    Ok(TrustedKey { owner: PLANE.to_owned(), key, algorithm, state: KeyState::Active })
}

/// The answer to a delivery; `None` to what is no command, or does not hold.
pub fn answer(host: &Host, delivery: &Delivery, plane: &[TrustedKey], now: Time) -> Result<Option<Message>> {
    let Ok(Inbound::Command(command)) = inbound(&delivery.body, host.hostname.as_str(), plane, now) else {
        return Ok(None);
    };
    let Ok(command) = command.in_time(now) else { return Ok(None) };
    let payload = serde_json::to_vec(&report(host, &command)).map_err(Error::internal)?;
    Ok(Some(Message {
        address: Address::Report(Kind::Result, host.hostname.to_string()),
        body: Envelope::sign(Kind::Result, payload, &host.key)?.to_json().into_bytes(),
        traceparent: delivery.traceparent.clone(),
        ttl: None,
    }))
}

fn report(host: &Host, command: &Verified<Command>) -> ResultReport {
    let Command { task_id, issued_at, .. } = command.body();
    ResultReport {
        iss: host.hostname.to_string(),
        task_id: task_id.clone(),
        command_digest: command.digest().to_owned(),
        status: Ending::Succeeded,
        reason: None,
        exit_code: 0,
        signal: None,
        stdout: String::new(),
        stderr: String::new(),
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: false,
        started_at: Some(issued_at.0),
        finished_at: *issued_at,
        boot_id: BOOT_ID.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::value::RawValue;
    use shared::contract::envelope::Addressed;
    use shared::contract::key::Algorithm;
    use shared::contract::signed::Targets;
    use shared::name::Hostname;
    use shared::sign::{Report, Sealed, SigningKey, Tree};

    use super::*;

    const NOW: Time = Time(1_000_000);

    fn host(name: &str) -> Host {
        Host { hostname: Hostname::parse("hostname", name).unwrap(), key: SigningKey::generate_small().unwrap() }
    }

    fn believed(owner: &str, key: &SigningKey) -> TrustedKey {
        let algorithm = Algorithm::PS256;
        TrustedKey { owner: owner.to_owned(), key: key.public().clone(), algorithm, state: KeyState::Active }
    }

    /// A command for `sim-1` alone, as it is delivered.
    fn delivery(plane: &SigningKey) -> Delivery {
        let tree = Tree::new(["sim-1"]);
        let command = Command {
            iss: PLANE.to_owned(),
            task_id: "0".repeat(32),
            command: "true".to_owned(),
            user: None,
            timeout: 30,
            issued_at: NOW,
            expires_at: NOW.plus(Duration::from_secs(60)),
            targets: Targets { count: 1, root: tree.root() },
            requested_by: "test".to_owned(),
        };
        let envelope = Envelope::sign(Kind::Command, serde_json::to_vec(&command).unwrap(), plane).unwrap();
        let envelope = RawValue::from_string(envelope.to_json()).unwrap();
        let body = serde_json::to_vec(&Addressed { envelope, proof: tree.proof(0) }).unwrap();
        Delivery { tag: 1, body, traceparent: None, redelivered: false, reason: None, given_up_in: None }
    }

    #[test]
    fn what_holds_is_answered_with_a_result_that_holds_and_is_the_same_each_time() {
        let (plane, sim) = (SigningKey::generate_small().unwrap(), host("sim-1"));
        let (keys, delivery) = ([believed(PLANE, &plane)], delivery(&plane));
        let digest = |now| {
            let message = answer(&sim, &delivery, &keys, now).unwrap().unwrap();
            let sealed = Sealed::parse(&message.body, &[Kind::Result]).unwrap();
            match sealed.open_report(Some(&believed("sim-1", &sim.key)), now).unwrap() {
                Report::Result(result) => result.digest().to_owned(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(digest(NOW), digest(NOW.plus(Duration::from_secs(5))));
    }

    #[test]
    fn what_does_not_hold_is_not_answered() {
        let (plane, sim) = (SigningKey::generate_small().unwrap(), host("sim-1"));
        let (keys, delivery) = ([believed(PLANE, &plane)], delivery(&plane));
        let late = NOW.plus(Duration::from_secs(61));
        assert!(answer(&sim, &delivery, &keys, late).unwrap().is_none());
        assert!(answer(&sim, &delivery, &[believed(PLANE, &sim.key)], NOW).unwrap().is_none());
        assert!(answer(&host("sim-2"), &delivery, &keys, NOW).unwrap().is_none());
    }
}
