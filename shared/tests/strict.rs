//! One message has one form: what another reader could read otherwise is refused, each for its own
//! reason, also where the signature holds. Arrays for objects, fields twice, numbers that are none.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is its purpose")]

use shared::clock::Time;
use shared::contract::key::Algorithm;
use shared::contract::signed::{Kind, PLANE};
use shared::sign::{Envelope, KeyState, Refusal, Sealed, SigningKey, Tree, TrustedKey, inbound};

const NOW: Time = Time(1_700_000_000_000);
const RESULT: &str = r#"{"iss":"a","task_id":"t","command_digest":"d","status":"failed","exit_code":1,"stdout":"","stderr":"","stdout_bytes":0,"stderr_bytes":0,"truncated":false,"finished_at":5,"boot_id":"b"}"#;

struct Receiver {
    key: SigningKey,
    root: String,
}

impl Receiver {
    fn new() -> Self {
        Self { key: SigningKey::generate_small().unwrap(), root: Tree::new(["a"]).root() }
    }

    fn trusted(&self, owner: &str) -> TrustedKey {
        let (key, algorithm) = (self.key.public().clone(), Algorithm::PS256);
        TrustedKey { owner: owner.to_owned(), key, algorithm, state: KeyState::Active }
    }

    fn sign(&self, kind: Kind, payload: &str) -> String {
        Envelope::sign(kind, payload.as_bytes().to_vec(), &self.key).unwrap().to_json()
    }

    fn report(&self, message: &[u8]) -> Option<Refusal> {
        let open = Sealed::parse(message, &[Kind::Result]);
        open.and_then(|sealed| sealed.open_report(Some(&self.trusted("a")), NOW)).err()
    }

    fn command(&self, message: &[u8]) -> Option<Refusal> {
        inbound(message, "a", &[self.trusted(PLANE)], NOW).err()
    }

    fn body(&self) -> String {
        let (from, until) = (NOW.0, NOW.0 + 1_000);
        format!(
            r#"{{"iss":"muster","task_id":"t","command":"true","timeout":30,"issued_at":{from},"expires_at":{until},"targets":{{"count":1,"root":"{}"}},"requested_by":"me"}}"#,
            self.root
        )
    }

    fn addressed(&self, payload: &str) -> String {
        format!(r#"{{"envelope":{},"proof":{{"index":0,"hashes":[]}}}}"#, self.sign(Kind::Command, payload))
    }
}

/// Each way to write it otherwise: what is replaced, and by what.
type Twists = &'static [(&'static str, &'static str)];

fn refused(good: &str, twists: Twists, judge: impl Fn(&str) -> Option<Refusal>, expected: Refusal) {
    assert_eq!(judge(good), None, "{good}");
    for (from, to) in twists {
        assert!(good.contains(from), "{from} is not in {good}");
        let twisted = good.replacen(from, to, 1);
        assert_eq!(judge(&twisted), Some(expected), "{from} as {to}");
    }
}

#[test]
fn an_envelope_has_one_form() {
    let receiver = Receiver::new();
    let twists: Twists = &[
        ("{\"payloadType\"", "[{\"payloadType\""),
        ("{\"payloadType\"", "{\"payloadType\":\"x\",\"payloadType\""),
        ("{\"payloadType\"", "{\"payload\":\"AA==\",\"payloadType\""),
        ("{\"payloadType\"", "{\"signatures\":[],\"payloadType\""),
        ("{\"payloadType\"", "{\"payl\\u006fad\":\"AA==\",\"payloadType\""),
        ("{\"payloadType\"", "{\"x\":NaN,\"payloadType\""),
        ("{\"payloadType\"", "{\"x\":Infinity,\"payloadType\""),
        ("{\"payloadType\"", "{\"x\":01,\"payloadType\""),
        ("{\"keyid\"", "[\"k\",\"AA==\"],{\"keyid\""),
        ("{\"keyid\"", "{\"keyid\":\"k\",\"keyid\""),
        ("{\"keyid\"", "{\"sig\":\"AA==\",\"keyid\""),
        ("\"payload\":\"", "\"payload\":1e999,\"x\":\""),
        ("\"payload\":\"", "\"payload\":[\"AA==\"],\"x\":\""),
        ("\"keyid\":\"sha256", "\"keyid\":\"\\ud800sha256"),
    ];
    let good = receiver.sign(Kind::Result, RESULT);
    refused(&good, twists, |message| receiver.report(message.as_bytes()), Refusal::Malformed);
    let [start, end] = [good.find("{\"keyid\"").unwrap(), good.len() - 2];
    let fields: serde_json::Value = serde_json::from_str(&good[start..end]).unwrap();
    let array = format!("{}[{},{}]]}}", &good[..start], fields["keyid"], fields["sig"]);
    assert_eq!(receiver.report(array.as_bytes()), Some(Refusal::Malformed), "the signature as an array");
    let mut skipped = good.replacen('{', "{\"x\":\"?\",", 1).into_bytes();
    assert_eq!(receiver.report(&skipped), None, "what is not known is skipped");
    let at = skipped.iter().position(|byte| *byte == b'?').unwrap();
    skipped[at] = 0xff;
    assert_eq!(receiver.report(&skipped), Some(Refusal::Malformed), "but it must be text");
}

#[test]
fn a_reports_body_has_one_form() {
    let receiver = Receiver::new();
    let twists: Twists = &[
        ("{\"iss\"", "{\"iss\":\"a\",\"iss\""),
        ("{\"iss\"", "{\"i\\u0073s\":\"a\",\"iss\""),
        ("{\"iss\"", "{\"exit_code\":0,\"iss\""),
        ("\"exit_code\":1", "\"exit_code\":1.0"),
        ("\"exit_code\":1", "\"exit_code\":1e0"),
        ("\"exit_code\":1", "\"exit_code\":-0"),
        ("\"exit_code\":1", "\"exit_code\":99999999999999999999999"),
        ("\"exit_code\":1", "\"exit_code\":NaN"),
        ("\"exit_code\":1", "\"exit_code\":\"1\""),
        ("\"exit_code\":1", "\"exit_code\":[1]"),
        ("\"finished_at\":5", "\"finished_at\":5.5"),
        ("\"finished_at\":5", "\"finished_at\":9223372036854775808"),
        ("\"stdout_bytes\":0", "\"stdout_bytes\":-1"),
        ("\"truncated\":false", "\"truncated\":0"),
        ("\"status\":\"failed\"", "\"status\":{\"failed\":1}"),
        ("\"boot_id\":\"b\"}", "\"boot_id\":\"b\"}{}"),
    ];
    let judge = |body: &str| receiver.report(receiver.sign(Kind::Result, body).as_bytes());
    refused(RESULT, twists, judge, Refusal::BadBody);
}

#[test]
fn a_commands_body_has_one_form() {
    let receiver = Receiver::new();
    let twists: Twists = &[
        ("\"targets\":{\"count\":1,\"root\":", "\"targets\":[1,"),
        ("{\"count\":1", "{\"count\":1,\"count\":1"),
        ("{\"count\":1", "{\"count\":1,\"x\":1"),
        ("{\"count\":1", "{\"count\":1.0"),
        ("\"timeout\":30", "\"timeout\":30.0"),
        ("\"timeout\":30", "\"timeout\":30,\"timeout\":30"),
        ("\"timeout\":30", "\"timeout\":30,\"Timeout\":30"),
        ("{\"iss\"", "{\"user\":\"root\",\"user\":\"root\",\"iss\""),
        ("{\"iss\"", "{\"user\":[\"root\"],\"iss\""),
    ];
    let judge = |body: &str| {
        let closed =
            if body.contains("\"targets\":[1,") { body.replacen("\"},\"req", "\"],\"req", 1) } else { body.to_owned() };
        receiver.command(receiver.addressed(&closed).as_bytes())
    };
    refused(&receiver.body(), twists, judge, Refusal::BadBody);
}

#[test]
fn a_proof_has_one_form() {
    let receiver = Receiver::new();
    let twists: Twists = &[
        ("{\"index\":0,\"hashes\":[]}", "[0,[]]"),
        ("{\"index\":0", "{\"index\":0,\"index\":0"),
        ("{\"index\":0", "{\"index\":0.0"),
        ("{\"index\":0", "{\"index\":-0"),
        ("{\"index\":0", "{\"index\":\"0\""),
        ("\"hashes\":[]", "\"hashes\":{}"),
        ("\"hashes\":[]", "\"hashes\":[0]"),
        ("{\"envelope\":", "{\"envelope\":{},\"envelope\":"),
        ("{\"envelope\":", "{\"proof\":{\"index\":0,\"hashes\":[]},\"envelope\":"),
        ("{\"envelope\":", "[{\"envelope\":"),
    ];
    let good = receiver.addressed(&receiver.body());
    refused(&good, twists, |message| receiver.command(message.as_bytes()), Refusal::Malformed);
}
