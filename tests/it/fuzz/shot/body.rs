//! Bodies: what the door takes, then twisted field by field, then byte by byte, or nothing of the kind.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::super::random::Random;
use super::HOSTS;
use crate::keys::sound;

static KEYS: LazyLock<Vec<String>> = LazyLock::new(sound);

const FIELDS: [&str; 12] = [
    "target_type",
    "target",
    "command",
    "timeout",
    "user",
    "expires_in",
    "hostname",
    "ip",
    "group",
    "public_key_pem",
    "algorithm",
    "\0",
];

/// A body for this door; empty where it takes none, but for a few.
pub fn body(random: &mut Random, method: &str, route: &str, host: usize) -> Vec<u8> {
    let Some(mut body) = sound_body(method, route, host) else {
        return if random.one_in(20) { odd_bytes(random) } else { Vec::new() };
    };
    if random.one_in(12) {
        return odd_bytes(random);
    }
    // A task costs more than a refusal, so fewer of them get through; but that some do must not depend
    // on which servers the other connections have just deleted.
    let is_command = route == "/api/commands";
    let twists = if is_command && !random.one_in(4) { 1 + random.below(3) } else { random.below(3) };
    for _ in 0..twists {
        twist(random, &mut body);
    }
    let mut bytes = body.to_string().into_bytes();
    if random.one_in(4) {
        random.edit(&mut bytes);
    }
    bytes
}

fn sound_body(method: &str, route: &str, host: usize) -> Option<Value> {
    Some(match (method, route) {
        ("POST", "/api/servers") => json!({ "hostname": HOSTS[host], "ip": "10.0.0.1", "group": "web" }),
        ("PATCH", _) => json!({ "ip": "10.0.0.2", "group": "db" }),
        ("PUT", _) => json!({ "public_key_pem": KEYS[host], "algorithm": "PS256" }),
        ("POST", "/api/commands") => json!({ "target_type": "node", "target": HOSTS[host], "command": "true",
                                             "timeout": 30, "user": "nobody", "expires_in": 60 }),
        _ => return None,
    })
}

/// Takes a field away, adds one, or gives one a value that it may not have.
fn twist(random: &mut Random, body: &mut Value) {
    let Value::Object(fields) = body else { return };
    let names: Vec<_> = fields.keys().cloned().collect();
    let own = || names.iter().map(String::as_str).chain(FIELDS).collect::<Vec<_>>();
    match random.below(6) {
        0 if !names.is_empty() => drop(fields.remove(random.pick(&names))),
        1 => drop(fields.insert((*random.pick(&FIELDS)).to_owned(), odd_value(random))),
        2 => *body = json!([body]),
        _ => drop(fields.insert((*random.pick(&own()[..names.len().max(1)])).to_owned(), odd_value(random))),
    }
}

fn odd_value(random: &mut Random) -> Value {
    match random.below(10) {
        0 => Value::Null,
        1 => json!(random.one_in(2)),
        2 => json!(*random.pick(&[0, 1, -1, 86_400, 86_401, i64::MAX, i64::MIN])),
        3 => json!(*random.pick(&[1.5, 1e308, -0.0, 5e-324])),
        4 => json!(u64::MAX),
        5 => json!(random.pick(&[
            "",
            " ",
            "\0",
            "\u{202e}",
            "😀",
            "ünï",
            "web",
            "node",
            "group",
            "all",
            "::1",
            "../x",
            "\u{1b}[31m"
        ])),
        6 => json!("x".repeat(*random.pick(&[63, 64, 65, 253, 254, 70_000]))),
        7 => json!(String::from_utf8_lossy(&random.bytes(100))),
        8 => json!([HOSTS[0]]),
        _ => (0..random.below(200)).fold(json!({}), |inner, _| json!({ "a": inner })),
    }
}

/// What is no body of anybody's.
fn odd_bytes(random: &mut Random) -> Vec<u8> {
    let digits = "9".repeat(10_000);
    match random.below(12) {
        0 => Vec::new(),
        1 => "[".repeat(random.below(100_000)).into_bytes(),
        2 => r#"{"a":"#.repeat(random.below(20_000)).into_bytes(),
        3 => format!(r#"{{"timeout":{digits}}}"#).into_bytes(),
        4 => br#"{"timeout":1e999999}"#.to_vec(),
        5 => br#"{"command":"\ud800"}"#.to_vec(),
        6 => b"{\"hostname\":\"\xff\xfe\"}".to_vec(),
        7 => br#"{"hostname":"a","hostname":5}"#.to_vec(),
        8 => b"null".to_vec(),
        9 => b"\xef\xbb\xbf{}".to_vec(),
        10 if random.one_in(4) => vec![b' '; 1024 * 1024 + 1 + random.below(1024 * 1024)],
        _ => random.bytes(1_000),
    }
}
