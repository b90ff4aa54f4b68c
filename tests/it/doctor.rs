//! `muster-agent doctor` beside a deployed plane and an agent that works.

use serde_json::json;

use crate::harness::id;
use crate::process::Launch;
use crate::stack::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn where_everything_works_nothing_is_wrong() {
    let mut stack = Stack::new(&["one"]).await;
    // Once a command has run there, everything that the doctor looks for is there.
    let task = stack.send(json!({ "target_type": "all", "command": "true" })).await;
    stack.until(&format!("/api/tasks/{}", id(&task)), |task| task["status"] == "succeeded").await;
    let url = stack.url("");
    let log = stack.folder.path().join("doctor.log");
    let agent = stack.process("one");
    let mut env = agent.launch.env.clone();
    env.push(("MUSTER_URL", url));
    let doctor = Launch { arguments: vec!["doctor".to_owned()], env, log, ..agent.launch.clone() };
    let status = doctor.run();
    let said = doctor.said();
    assert!(status.success(), "{said}");
    for words in [
        format!("it runs, with the process id {}", agent.id()),
        "the login works, and the queue `muster.agent.one` is there".to_owned(),
        "it agrees with the control plane's".to_owned(),
        "the control plane knows this server's key".to_owned(),
        "signs with a key that is pinned here".to_owned(),
        "any command as every account".to_owned(),
    ] {
        assert!(said.contains(&words), "{words}: {said}");
    }
    stack.stop();
}
