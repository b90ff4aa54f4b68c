//! The gateway, alone in a process.

use shared::run::{Program, main as run};

const PROGRAM: Program = Program {
    name: "muster-gateway",
    about: "Muster's gateway: the one door to the API",
    listen: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080),
};

fn main() -> std::process::ExitCode {
    run(PROGRAM, async |boot| gateway::alone(boot))
}
