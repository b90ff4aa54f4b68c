//! The result ingestor, alone in a process.

fn main() -> std::process::ExitCode {
    shared::run::main("result-ingestor", async |ctx, _| Ok(result_ingestor::service(ctx)))
}
