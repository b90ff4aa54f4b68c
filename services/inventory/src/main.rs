//! The inventory, alone in a process.

fn main() -> std::process::ExitCode {
    shared::run::main("inventory", async |ctx, _| Ok(inventory::service(ctx)))
}
