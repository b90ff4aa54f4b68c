//! The result ingestor, alone in a process.

use shared::run::{Program, main as run};

const PROGRAM: Program = Program {
    name: "muster-result-ingestor",
    about: "Muster's result ingestor: verifies what agents report, and stores it",
    listen: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8083),
};

fn main() -> std::process::ExitCode {
    run(PROGRAM, async |boot| Ok(result_ingestor::service(boot.context().await?)))
}
