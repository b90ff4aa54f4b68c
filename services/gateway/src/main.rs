//! The gateway, alone in a process.

fn main() -> std::process::ExitCode {
    shared::run::main("gateway", async |_, _| gateway::alone())
}
