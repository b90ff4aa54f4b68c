//! The tasks service, alone in a process.

fn main() -> std::process::ExitCode {
    shared::run::main("tasks", async |ctx, settings| tasks::service(ctx, settings.signing_key()?).await)
}
