//! The nine calls of the document, each with its example: path, status, fields in the printed order,
//! and their types.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::times;
use crate::answer::Answer;
use crate::harness::{World, id, world};
use crate::keys::sound;

const DOCUMENT: &str = include_str!("api.zh.md");

/// A call as the document prints it.
#[derive(Clone, Debug, Default)]
struct Call {
    method: Method,
    path: String,
    request: Option<Value>,
    response: String,
}

impl Call {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Reads every call out of the document's second chapter.
fn calls() -> Vec<Call> {
    let chapter = DOCUMENT.split("\n## ").find(|chapter| chapter.starts_with("2.")).unwrap();
    chapter.split("**接口路径**：`").skip(1).map(call).collect()
}

fn call(text: &str) -> Call {
    let (method, path) = text.split('`').next().unwrap().split_once(' ').unwrap();
    let example = |title: &str| {
        let (_, after) = text.split_once(title)?;
        after.split_once("```json\n").and_then(|(_, json)| json.split("```").next()).map(str::to_owned)
    };
    let request = example("**请求体**").map(|json| serde_json::from_str(&json).unwrap());
    Call { method: method.parse().unwrap(), path: path.to_owned(), request, response: example("**响应**").unwrap() }
}

/// What the document's ellipses and invented values stand for here.
struct Stage {
    world: World,
    task_id: String,
    pem: String,
}

impl Stage {
    async fn perform(&self, call: &Call) -> Answer {
        let path = call.path.replace("{hostname}", "server1").replace("{task_id}", &self.task_id);
        let mut body = call.request.clone();
        if let Some(pem) = body.as_mut().and_then(|body| body.get_mut("public_key_pem")) {
            *pem = Value::from(self.pem.as_str());
        }
        self.world.ask(call.method.clone(), &path, body.as_ref()).await
    }
}

/// The document's own story: `server1` is registered, its agent comes up, a command goes to all.
async fn stage(register: &Call, send: &Call) -> Stage {
    let world = world(&[]).await;
    let mut stage = Stage { world, task_id: String::new(), pem: sound()[1].clone() };
    let answer = stage.perform(register).await;
    compare(register, &answer, StatusCode::CREATED);
    equal(register, &answer, &[]);
    let mut folder = stage.world.stop().await;
    folder.settings.agents.push("server1".to_owned());
    stage.world = folder.start().await;
    stage.world.until("/api/servers", |servers| servers[0]["status"] == "online").await;
    let answer = stage.perform(send).await;
    compare(send, &answer, StatusCode::CREATED);
    equal(send, &answer, &["task_id", "created_at"]);
    let task = answer.json(StatusCode::CREATED);
    stage.world.results(&task).await;
    stage.task_id = id(&task).to_owned();
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_calls_answer_as_they_are_printed() {
    let calls = calls();
    assert_eq!(calls.len(), 9);
    let find = |name: &str| calls.iter().find(|call| call.name() == name).unwrap();
    let made = [find("POST /api/servers"), find("POST /api/commands")];
    let stage = stage(made[0], made[1]).await;
    for call in calls.iter().filter(|call| made.iter().all(|made| made.name() != call.name())) {
        compare(call, &stage.perform(call).await, StatusCode::OK);
    }
    stage.world.stop().await;
}

/// Every field that is printed is there, in that order and of that type; the times have their form.
fn compare(call: &Call, answer: &Answer, status: StatusCode) {
    let name = call.name();
    assert_eq!(answer.header("content-type"), Some("application/json"), "{name}");
    let (printed, got) = (serde_json::from_str(&call.response).unwrap(), answer.json(status));
    alike(&name, &printed, &got);
    times::check(&got);
    let mut from = 0;
    for key in keys_in_order(&call.response) {
        let at = answer.text[from..].find(&format!("\"{key}\":"));
        from += at.unwrap_or_else(|| panic!("{name}: `{key}` is not where it is printed: {}", answer.text));
    }
}

fn alike(place: &str, printed: &Value, got: &Value) {
    match (printed, got) {
        (Value::Object(printed), Value::Object(got)) => {
            for (key, value) in printed {
                let place = format!("{place} {key}");
                alike(&place, value, got.get(key).unwrap_or_else(|| panic!("{place} is missing")));
            }
        }
        (Value::Array(printed), Value::Array(got)) => {
            assert!(!got.is_empty(), "{place} is empty");
            got.iter().for_each(|got| alike(place, &printed[0], got));
        }
        (Value::String(_), Value::String(_)) | (Value::Number(_), Value::Number(_)) | (Value::Null, Value::Null) => (),
        _ => panic!("{place}: {got} where {printed} is printed"),
    }
}

/// The keys of an example; it has one on each line.
fn keys_in_order(example: &str) -> impl Iterator<Item = &str> {
    example.lines().filter_map(|line| line.trim().strip_prefix('"')?.split_once("\":")).map(|(key, _)| key)
}

/// What was asked is answered with the very values that are printed, but for those that are made up.
fn equal(call: &Call, answer: &Answer, made_up: &[&str]) {
    let printed: Value = serde_json::from_str(&call.response).unwrap();
    let got = answer.json(answer.status);
    for (key, value) in printed.as_object().unwrap().iter().filter(|(key, _)| !made_up.contains(&key.as_str())) {
        assert_eq!(&got[key], value, "{} {key}", call.name());
    }
}

/// The errors that the document lists, each with the body that it prints.
#[tokio::test(flavor = "multi_thread")]
async fn documented_errors() {
    let world = world(&[]).await;
    let server = json!({ "hostname": "server1", "ip": "192.168.1.100", "group": "web" });
    world.ask(Method::POST, "/api/servers", Some(&server)).await.json(StatusCode::CREATED);
    for (method, path, body, status) in [
        (Method::POST, "/api/servers", Some(server), StatusCode::CONFLICT),
        (Method::POST, "/api/commands", Some(json!({ "target_type": "x", "command": "ls" })), StatusCode::BAD_REQUEST),
        (
            Method::POST,
            "/api/commands",
            Some(json!({ "target_type": "node", "command": "ls" })),
            StatusCode::BAD_REQUEST,
        ),
        (Method::GET, "/api/client-keys/server1", None, StatusCode::NOT_FOUND),
        (Method::PUT, "/api/client-keys/server1", Some(json!({ "public_key_pem": "x" })), StatusCode::BAD_REQUEST),
    ] {
        world.ask(method, path, body.as_ref()).await.problem(status);
    }
    world.stop().await;
}
