//! The agent, alone in a process.

fn main() -> std::process::ExitCode {
    shared::run::main("agent", agent::alone)
}
