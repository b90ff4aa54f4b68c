//! The inventory, alone in a process.

use shared::clock::Clock;
use shared::run::{Bell, Program, main as run};

const PROGRAM: Program = Program {
    name: "muster-inventory",
    about: "Muster's inventory: which servers there are, and which key speaks for each",
    listen: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081),
};

fn main() -> std::process::ExitCode {
    run(PROGRAM, async |boot| Ok(inventory::service(boot.database().await?, Clock::System, Bell::default())))
}
