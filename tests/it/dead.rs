//! Dead letters: what could not be handled is read, replayed and dropped, and never fills the disk.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::bus::rabbit::{Role, Settings};
use shared::bus::{Address, Bus, Message, Receipt, Verdict, consume, topology};
use shared::contract::signed::Kind;
use shared::rules::invocation::Ending;
use shared::rules::limits::{DEAD_LETTERS_BYTES_MAX, DEAD_LETTERS_MAX};
use shared::run::Service;
use shared::sign::{Envelope, SigningKey};
use shared::store;
use shared::store::dead_letter::NewLetter;

use crate::doors::claims::deliver;
use crate::harness::World;
use crate::steps::{Parts, START, digest, keys, over_both, result};
use crate::vhost::Vhost;

/// Letters that a plane has before it is asked about them.
const LETTERS: usize = 40;

/// A plane with some dead letters, and their ids.
pub async fn letters(world: World) -> (World, Vec<String>) {
    let bodies = (0..LETTERS).map(|number| format!("garbage {number}").into_bytes()).collect();
    let world = deliver(world, bodies).await;
    let all = world.until("/api/dead", |all| all.as_array().is_some_and(|all| all.len() == LETTERS)).await;
    let ids = all.as_array().unwrap().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect();
    (world, ids)
}

/// The ingestor, which takes its steps when the test says so.
struct Ingestor {
    parts: Parts,
    service: Service,
}

impl Ingestor {
    fn of(parts: Parts) -> Self {
        Self { service: result_ingestor::service(parts.ctx.clone()), parts }
    }

    /// Lets a consumer take what is there, until there is nothing more.
    async fn consume(&self, queue: &str) {
        let consumer = self.service.consumers.iter().find(|consumer| consumer.queue == queue).unwrap();
        let mut hold = self.parts.ctx.bus.subscribe(queue).await.unwrap();
        while consume::step(&mut hold, consumer).await.unwrap().0 > 0 {}
    }

    /// Reports are handled, and what is given up becomes letters.
    async fn ingest(&self) {
        self.consume(topology::RESULTS).await;
        self.consume(topology::DEAD).await;
    }

    async fn replay(&self) {
        let chore = self.service.chores.iter().find(|chore| chore.name == "replay").unwrap();
        (chore.work)().await.unwrap();
    }

    async fn ask(&self, method: Method, path: &str) -> (StatusCode, Value) {
        use http_body_util::BodyExt as _;
        use tower::ServiceExt as _;
        let request = http::Request::builder().method(method).uri(path).body(axum::body::Body::empty()).unwrap();
        let response = self.service.routes.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn letters(&self, query: &str) -> Vec<Value> {
        let (status, list) = self.ask(Method::GET, &format!("/api/dead{query}")).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        list.as_array().unwrap().clone()
    }

    async fn publish(&self, address: Address, body: Vec<u8>) {
        let message = Message { address, body, traceparent: None, ttl: None };
        assert!(matches!(self.parts.ctx.bus.publish(vec![message]).await[0], Ok(Receipt::Confirmed)));
    }

    async fn report(&self, body: &[u8]) {
        self.publish(Address::Report(Kind::Result, "a".to_owned()), body.to_vec()).await;
    }
}

fn path(letter: &Value) -> String {
    format!("/api/dead/{}", letter["id"].as_str().unwrap())
}

fn signed(key: &SigningKey, body: &impl serde::Serialize) -> Vec<u8> {
    Envelope::sign(Kind::Result, serde_json::to_vec(body).unwrap(), key).unwrap().to_json().into_bytes()
}

async fn a_letter_says_why_and_who_and_is_dropped(parts: Parts) {
    let ingestor = Ingestor::of(parts);
    let unknown = result(&"0".repeat(32), &"0".repeat(64), Ending::Succeeded, "");
    ingestor.report(&signed(&keys()[1], &unknown)).await;
    ingestor.report(&signed(&keys()[0], &unknown)).await; // the plane's key is no agent's
    ingestor.report(b"\x1b[2J garbage").await;
    ingestor.ingest().await;
    let letters = ingestor.letters("").await;
    assert_eq!(letters.len(), 3);
    let of = |reason: &str| letters.iter().find(|letter| letter["reason"] == reason).unwrap();
    let verified = of("unknown_task");
    assert_eq!((&verified["verified"], &verified["hostname"]), (&json!(true), &json!("a")));
    assert_eq!((&verified["task_id"], &verified["kind"]), (&json!("0".repeat(32)), &json!("result")));
    assert_eq!((&verified["queue"], &verified["times"]), (&json!("muster.results"), &json!(1)));
    let forged = of("unknown_key");
    assert_eq!((&forged["verified"], &forged["hostname"]), (&json!(false), &json!("a")), "a claim");
    let garbage = of("malformed");
    assert_eq!(
        (&garbage["verified"], &garbage["hostname"], &garbage["kind"]),
        (&json!(false), &json!(null), &json!(null))
    );
    assert_eq!(ingestor.letters("?reason=malformed").await, std::slice::from_ref(garbage));
    let (_, opened) = ingestor.ask(Method::GET, &path(garbage)).await;
    assert_eq!((&opened["payload"], &opened["body_base64"]), (&json!(null), &json!("G1sySiBnYXJiYWdl")));
    let (_, opened) = ingestor.ask(Method::GET, &path(verified)).await;
    assert!(opened["payload"].as_str().unwrap().contains("\"exit_code\":0"), "{opened}");
    assert_eq!(ingestor.ask(Method::DELETE, &path(garbage)).await.0, StatusCode::NO_CONTENT);
    assert_eq!(ingestor.ask(Method::DELETE, &path(garbage)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(ingestor.letters("").await.len(), 2);
    assert_eq!(ingestor.ask(Method::GET, "/api/dead?reason=").await.0, StatusCode::BAD_REQUEST);
}
over_both!(a_letter_says_why_and_who_and_is_dropped);

async fn pages_keep_to_their_reason(parts: Parts) {
    let ingestor = Ingestor::of(parts);
    for number in 0..5 {
        ingestor.report(format!("garbage {number}").as_bytes()).await;
        let unknown = result(&format!("{number:032}"), &"0".repeat(64), Ending::Succeeded, "");
        ingestor.report(&signed(&keys()[1], &unknown)).await;
    }
    ingestor.ingest().await;
    let list = all_pages(&ingestor, "?reason=malformed&limit=2").await;
    assert_eq!(list.len(), 5);
    assert!(list.iter().all(|letter| letter["reason"] == "malformed"), "{list:?}");
}
over_both!(pages_keep_to_their_reason);

/// Follows the links from page to page.
async fn all_pages(ingestor: &Ingestor, query: &str) -> Vec<Value> {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;
    let (mut all, mut path) = (Vec::new(), format!("/api/dead{query}"));
    loop {
        let request = http::Request::builder().uri(&path).body(axum::body::Body::empty()).unwrap();
        let response = ingestor.service.routes.clone().oneshot(request).await.unwrap();
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        all.extend(serde_json::from_slice::<Vec<Value>>(&bytes).unwrap());
        let Some(link) = link else { return all };
        path = link[1..link.find('>').unwrap()].to_owned();
    }
}

async fn the_same_message_again_is_the_same_letter(parts: Parts) {
    let ingestor = Ingestor::of(parts);
    for _ in 0..500 {
        ingestor.report(b"again and again").await;
    }
    ingestor.ingest().await;
    let letters = ingestor.letters("").await;
    assert_eq!((letters.len(), &letters[0]["times"]), (1, &json!(500)));
}
over_both!(the_same_message_again_is_the_same_letter);

/// A replay goes through the verifier like anything that arrives, so it counts once what was wrong is
/// put right, and not before.
async fn a_replay_is_judged_anew(parts: Parts) {
    let ingestor = Ingestor::of(parts);
    let task = ingestor.parts.send().await;
    ingestor.parts.relay().await;
    let digest = digest(&ingestor.parts.take().await[0], START);
    let key = SigningKey::generate_small().unwrap(); // the host's new key, which nobody has told the plane yet
    ingestor.report(&signed(&key, &result(&task, &digest, Ending::Succeeded, "late"))).await;
    ingestor.ingest().await;
    let letter = ingestor.letters("").await.remove(0);
    assert_eq!(letter["reason"], "unknown_key");
    for _ in 0..2 {
        let (status, shown) = ingestor.ask(Method::POST, &format!("{}/replay", path(&letter))).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        assert!(shown["replay_requested_at"].is_string(), "{shown}");
        ingestor.replay().await;
        assert_eq!(ingestor.letters("").await.len(), 0, "it is on its way");
        ingestor.ingest().await;
        let again = ingestor.letters("").await;
        assert_eq!((&again[0]["id"], &again[0]["reason"]), (&letter["id"], &json!("unknown_key")));
        assert_eq!(ingestor.parts.state(&task).await, "sent");
    }
    let mut tx = ingestor.parts.ctx.db.begin().await.unwrap();
    store::key::put(&mut tx, "a", key.public(), None, START).await.unwrap();
    tx.commit().await.unwrap();
    ingestor.ask(Method::POST, &format!("{}/replay", path(&letter))).await;
    ingestor.replay().await;
    ingestor.ingest().await;
    assert_eq!(ingestor.letters("").await.len(), 0);
    assert_eq!(ingestor.parts.state(&task).await, "succeeded");
}
over_both!(a_replay_is_judged_anew);

/// The letter that a replay becomes at once, before the old one was taken away, is not taken away.
async fn a_replay_that_comes_back_early_is_not_lost(parts: Parts) {
    let ingestor = Ingestor::of(parts);
    ingestor.report(b"garbage").await;
    ingestor.ingest().await;
    let letter = ingestor.letters("").await.remove(0);
    ingestor.ask(Method::POST, &format!("{}/replay", path(&letter))).await;
    let wanted = store::dead_letter::to_replay(&ingestor.parts.ctx.db, 9).await.unwrap();
    ingestor.report(b"garbage").await; // as the chore publishes it
    ingestor.ingest().await;
    let mut tx = ingestor.parts.ctx.db.begin().await.unwrap();
    let ids = wanted.into_iter().map(|(id, _)| id).collect();
    store::dead_letter::replayed(&mut tx, &ids).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ingestor.letters("").await.len(), 1);
}
over_both!(a_replay_that_comes_back_early_is_not_lost);

async fn what_an_agent_did_not_believe_goes_back_to_that_agent(parts: Parts) {
    let ingestor = Ingestor::of(parts);
    ingestor.parts.send().await;
    ingestor.parts.relay().await;
    let queue = topology::agent_queue("a");
    let mut hold = ingestor.parts.ctx.bus.subscribe(&queue).await.unwrap();
    let taken = hold.take(9).await.unwrap();
    hold.settle(vec![(taken[0].tag, Verdict::Dead("expired".to_owned()))]).await.unwrap();
    drop(hold);
    ingestor.ingest().await;
    let letter = ingestor.letters("").await.remove(0);
    assert_eq!((&letter["queue"], &letter["hostname"]), (&json!(queue), &json!("a")));
    assert_eq!((&letter["kind"], &letter["verified"]), (&json!("command"), &json!(true)), "the plane signed it");
    ingestor.ask(Method::POST, &format!("{}/replay", path(&letter))).await;
    ingestor.replay().await;
    assert_eq!(ingestor.parts.take().await[0].body, taken[0].body);
    assert_eq!(ingestor.letters("").await.len(), 0);
}
over_both!(what_an_agent_did_not_believe_goes_back_to_that_agent);

async fn what_cannot_go_back_says_so(parts: Parts) {
    let ingestor = Ingestor::of(parts);
    ingestor.report(&vec![b'x'; 3 * 1024 * 1024]).await;
    ingestor.ingest().await;
    let large = ingestor.letters("").await.remove(0);
    assert_eq!((&large["reason"], &large["size"]), (&json!("too_large"), &json!(3 * 1024 * 1024)));
    assert!(large["kept"].as_i64().unwrap() < 10_000, "{large}");
    let (status, why) = ingestor.ask(Method::POST, &format!("{}/replay", path(&large))).await;
    assert_eq!(status, StatusCode::CONFLICT, "{why}");
    let letter = NewLetter { queue: "muster.agent.gone".to_owned(), ..forged(0) };
    let mut tx = ingestor.parts.ctx.db.begin().await.unwrap();
    store::dead_letter::keep(&mut tx, &[letter], START).await.unwrap();
    tx.commit().await.unwrap();
    let gone = ingestor.letters("?reason=malformed").await.remove(0);
    ingestor.ask(Method::POST, &format!("{}/replay", path(&gone))).await;
    ingestor.replay().await;
    let gone = ingestor.letters("?reason=malformed").await.remove(0);
    assert!(gone["detail"].as_str().unwrap().contains("queue is gone"), "{gone}");
    assert_eq!(gone["replay_requested_at"], Value::Null);
}
over_both!(what_cannot_go_back_says_so);

fn forged(number: usize) -> NewLetter {
    NewLetter {
        reason: "malformed".to_owned(),
        detail: None,
        queue: topology::RESULTS.to_owned(),
        kind: None,
        hostname: None,
        task_id: None,
        verified: false,
        traceparent: None,
        size: 20,
        body: format!("{number:020}").into_bytes(),
        redelivered: false,
    }
}

/// However much is forged, there is an end to it, and it pushes out nothing that somebody signed.
async fn forged_letters_make_room_for_each_other_alone(parts: Parts) {
    let db = &parts.ctx.db;
    let keep = async |letters: Vec<NewLetter>| {
        let mut tx = db.begin_soft().await.unwrap();
        let evicted = store::dead_letter::keep(&mut tx, &letters, START).await.unwrap();
        tx.commit().await.unwrap();
        evicted
    };
    let evidence = NewLetter { verified: true, reason: "not_storable".to_owned(), ..forged(0) };
    assert_eq!(keep(vec![evidence]).await, 0);
    let mut evicted = 0;
    for batch in 0..26 {
        evicted += keep((0..400).map(|number| forged(batch * 400 + number)).collect()).await;
    }
    assert_eq!(evicted as usize, 26 * 400 + 1 - DEAD_LETTERS_MAX);
    let count = async || {
        let row: (i64, i64) = shared::read!(db, c => sqlx::query_as(
            "select count(*), cast(sum(kept) as signed) from dead_letters").fetch_one(c).await)
        .unwrap();
        row
    };
    assert_eq!(count().await.0, DEAD_LETTERS_MAX as i64);
    let large = |number| NewLetter { size: 1_000_000, body: vec![number as u8; 1_000_000], ..forged(number) };
    for number in 0..72 {
        keep(vec![large(number)]).await;
    }
    assert!(count().await.1 <= DEAD_LETTERS_BYTES_MAX as i64, "{:?}", count().await);
    let kept = store::dead_letter::page(db, Some("not_storable"), &(i64::MAX, String::new()), 9).await.unwrap();
    assert_eq!(kept.len(), 1, "the evidence is still there");
}
over_both!(forged_letters_make_room_for_each_other_alone);

/// The broker carries the reason and the queue in headers, and the letter over to the table.
#[tokio::test(flavor = "multi_thread")]
async fn letters_come_over_the_broker() {
    let vhost = Vhost::new();
    let mut parts = Parts::over_mysql().await;
    let settings = Settings { url: vhost.plane_url(), ca_file: None, role: Role::Plane, name: "dead".to_owned() };
    parts.ctx.bus = Bus::rabbit(&settings).unwrap();
    let ingestor = Ingestor::of(parts);
    ingestor.report(b"garbage").await;
    for queue in [topology::RESULTS, topology::DEAD] {
        let consumer = ingestor.service.consumers.iter().find(|consumer| consumer.queue == queue).unwrap();
        let mut hold = ingestor.parts.ctx.bus.subscribe(queue).await.unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(20), hold.ready()).await.unwrap().unwrap();
        assert_eq!(consume::step(&mut hold, consumer).await.unwrap(), (1, false));
    }
    let letter = ingestor.letters("").await.remove(0);
    assert_eq!((&letter["reason"], &letter["queue"]), (&json!("malformed"), &json!("muster.results")));
    ingestor.ask(Method::POST, &format!("{}/replay", path(&letter))).await;
    ingestor.replay().await;
    let mut hold = ingestor.parts.ctx.bus.subscribe(topology::RESULTS).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(20), hold.ready()).await.unwrap().unwrap();
    assert_eq!(hold.take(9).await.unwrap()[0].body, b"garbage");
}
