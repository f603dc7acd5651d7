//! The command `ech`: fetch over Encrypted Client Hello, look up and decode what makes it work,
//! make keys, and try all of it on loopback.

use std::process::ExitCode;

use clap::Parser;

mod cli;
mod commands;
mod failure;
mod input;
mod output;

use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    output::start_logging(cli.verbosity());
    let json = cli.command.json();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Failure::system(format!("cannot start the runtime: {error}")).report(json);
        }
    };
    let ended = runtime.block_on(run(cli.command));
    // Name look-ups of the system's resolver cannot be cancelled; nothing waits for them here.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Get(args) => commands::get::run(args).await,
        Command::Lookup(args) => commands::lookup::run(args).await,
        Command::Decode(args) => commands::decode::run(args),
        Command::Keygen(args) => commands::keygen::run(args),
        Command::Testbed(args) => commands::testbed::run(args).await,
        Command::Demo(args) => commands::demo::run(args).await,
        Command::Completions(args) => commands::generate::completions(args),
        Command::Man => commands::generate::man(),
    }
}
