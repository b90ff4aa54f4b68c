//! What the programs weigh when nothing happens but heartbeats.

use std::time::Duration;

use crate::sample::memory;
use crate::stack::Stack;

/// Long enough for a few heartbeats to have passed.
const IDLE: Duration = Duration::from_secs(25);

pub async fn measure() {
    let stack = Stack::new(&["one"]).await;
    tokio::time::sleep(IDLE).await;
    for (name, process) in &stack.processes {
        let name = if name == "one" { "muster-agent" } else { name };
        println!("  {:<52} {}", format!("`{name}`, idle"), memory(process.id()));
    }
    stack.stop();
}
