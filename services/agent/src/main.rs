//! The binary `muster-agent`.

fn main() -> std::process::ExitCode {
    agent::main()
}
