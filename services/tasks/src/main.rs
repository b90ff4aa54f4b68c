//! The tasks service, alone in a process.

use shared::config::Keep;
use shared::run::{Program, main as run};

const PROGRAM: Program = Program {
    name: "muster-tasks",
    about: "Muster's tasks service: accepts commands, carries them to the broker, and tells what became of them",
    listen: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8082),
};

fn main() -> std::process::ExitCode {
    run(PROGRAM, async |boot| {
        let key = boot.signing_key()?;
        let keep = Keep::from(boot.settings())?;
        tasks::service(boot.context().await?, key, keep).await
    })
}
