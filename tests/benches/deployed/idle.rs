//! What the programs weigh when nothing happens but heartbeats. The agent is weighed as it is packaged
//! too, where that was built.

use std::time::Duration;

use crate::process::program;
use crate::sample::memory;
use crate::stack::Stack;

/// Long enough for a few heartbeats to have passed.
const IDLE: Duration = Duration::from_secs(25);
const AGENT: &str = "one";
/// The packaged agent, beside the programs of this build.
const PACKAGED: &str = "../dist/muster-agent";

pub async fn measure() {
    let mut stack = Stack::new(&[AGENT]).await;
    tokio::time::sleep(IDLE).await;
    for (name, process) in &stack.processes {
        let name = if name == AGENT { "muster-agent" } else { name };
        show(&format!("`{name}`, idle"), process.id());
    }
    if program(PACKAGED).exists() {
        let agent = stack.process(AGENT);
        assert!(agent.stop().success());
        agent.launch.name = PACKAGED;
        agent.restart();
        tokio::time::sleep(IDLE).await;
        show("`muster-agent` as it is packaged, idle", stack.process(AGENT).id());
    } else {
        println!("  NOT MEASURED: the packaged agent; `cargo build --profile dist -p muster-agent` makes it");
    }
    stack.stop();
}

fn show(what: &str, id: u32) {
    println!("  {what:<52} {}", memory(id));
}
