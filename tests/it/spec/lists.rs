//! Pages: a list asked for with `limit` is the same list, in pieces that lead from one to the next.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{World, id, world};
use crate::keys::sound;

#[tokio::test(flavor = "multi_thread")]
async fn pages_lead_through_every_list() {
    let world = world(&["a", "b"]).await;
    for name in ["c", "d", "e"] {
        let server = json!({ "hostname": name });
        world.ask(Method::POST, "/api/servers", Some(&server)).await.json(StatusCode::CREATED);
    }
    for (name, pem) in ["x", "y", "z"].iter().zip(sound()) {
        let key = json!({ "public_key_pem": pem });
        world.ask(Method::PUT, &format!("/api/client-keys/{name}"), Some(&key)).await.json(StatusCode::OK);
    }
    let mut task = Value::Null;
    for number in 0..5 {
        task = world.send_all(&format!("echo {number}")).await;
    }
    let task = format!("/api/tasks/{}", id(&task));
    world.until(&task, |task| task["counts"]["succeeded"] == 2).await;
    let (results, invocations) = (format!("{task}/results"), format!("{task}/invocations"));
    for (path, length) in
        [("/api/servers", 5), ("/api/client-keys", 5), ("/api/tasks", 5), (&*results, 2), (&*invocations, 5)]
    {
        for limit in 1..=length + 1 {
            check(&world, path, limit, length).await;
        }
    }
    world.stop().await;
}

async fn check(world: &World, path: &str, limit: usize, length: usize) {
    let (mut pages, mut at) = (Vec::new(), format!("{path}?limit={limit}"));
    loop {
        let (page, next) = read(world, &at).await;
        pages.push(page);
        let Some(next) = next else { break };
        assert!(next.starts_with(&format!("{path}?")), "{next}");
        at = next;
    }
    assert_eq!(pages.len(), length.div_ceil(limit), "{path} by {limit}");
    assert!(pages.iter().rev().skip(1).all(|page| page.len() == limit), "only the last may be short");
    let names = |list: Vec<Value>| list.into_iter().map(name).collect::<Vec<_>>();
    assert_eq!(names(pages.concat()), names(read(world, path).await.0), "{path} by {limit}");
}

/// A page, and the address of the next.
async fn read(world: &World, path: &str) -> (Vec<Value>, Option<String>) {
    let answer = world.ask(Method::GET, path, None).await;
    let link = answer.header("link").map(|link| {
        let (address, relation) = link.split_once(">; ").unwrap();
        assert_eq!(relation, "rel=\"next\"");
        address.strip_prefix('<').unwrap().to_owned()
    });
    (answer.json(StatusCode::OK).as_array().unwrap().clone(), link)
}

/// What stays the same about an item while heartbeats and results come in.
fn name(item: Value) -> (Value, Value) {
    (item["task_id"].clone(), item["hostname"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_alone_continues_by_the_hundred() {
    let world = world(&[]).await;
    for number in 0..102 {
        let server = json!({ "hostname": format!("web-{number:03}") });
        world.ask(Method::POST, "/api/servers", Some(&server)).await.json(StatusCode::CREATED);
    }
    let (_, next) = read(&world, "/api/servers?limit=1").await;
    let cursor = next.unwrap().split_once("cursor=").unwrap().1.to_owned();
    let (page, next) = read(&world, &format!("/api/servers?cursor={cursor}")).await;
    assert_eq!((page.len(), &page[0]["hostname"]), (100, &json!("web-001")));
    assert_eq!(read(&world, &next.unwrap()).await.0[0]["hostname"], "web-101");
    world.stop().await;
}
