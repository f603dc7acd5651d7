//! The command `ech`: fetch over Encrypted Client Hello, look up and decode what makes it work,
//! make keys, and try all of it on loopback.
//!
//! A library, so that the binary and the Python package start the same command.

use std::ffi::OsString;
use std::io::Write;

use clap::FromArgMatches;

mod cli;
mod commands;
mod exit_code;
mod failure;
mod input;
mod output;
mod private_file;

use cli::{Cli, Command};
use failure::Failure;

pub use exit_code::exit_code;

/// Runs the command line `args`, the program's name first, and returns the exit code.
///
/// Meant for a process of its own: it writes to the standard streams and starts logging.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let program = std::env::current_exe().map_or_else(|_| "ech".into(), OsString::from);
    run_as(vec![program], args)
}

/// The same where another program runs the command: `program` is what starts it once more when
/// arguments follow, as `ech testbed --detach` does.
pub fn run_as(program: Vec<OsString>, args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let parsed = cli::examples::command()
        .try_get_matches_from(&args)
        .and_then(|matches| {
            let mut cli = Cli::from_arg_matches(&matches)?;
            if let (Command::Get(args), Some((_, matches))) =
                (&mut cli.command, matches.subcommand())
            {
                args.curl.order(matches);
            }
            Ok(cli)
        });
    let code = match parsed {
        Ok(cli) => match &cli.command {
            Command::Testbed(testbed) if testbed.detach => {
                match commands::testbed::detach(program, &args) {
                    Ok(code) => code,
                    Err(failure) => output::failure(failure, testbed.json),
                }
            }
            _ => run_parsed(cli),
        },
        Err(error) => {
            let args: Vec<String> = args
                .iter()
                .map(|arg| arg.to_string_lossy().into_owned())
                .collect();
            if let Some(line) = cli::not_there::explain(&error, &args) {
                return output::failure(Failure::usage(line), false);
            }
            // Help and version are "errors" as well; when this fails there is no place left to
            // report to.
            let _ = error.print();
            u8::try_from(error.exit_code()).unwrap_or(2)
        }
    };
    // Rust's runtime would do it at the end of `main`, which a Python process does not have.
    let _ = std::io::stdout().flush();
    code
}

fn run_parsed(cli: Cli) -> u8 {
    output::start_logging(cli.verbosity());
    let json = cli.command.json();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::system(format!("cannot start the runtime: {error}"));
            return output::failure(failure, json);
        }
    };
    let ended = runtime.block_on(dispatch(cli.command));
    // Name look-ups of the system's resolver cannot be cancelled; nothing waits for them here.
    runtime.shutdown_background();
    match ended {
        Ok(()) => 0,
        Err(failure) => output::failure(failure, json),
    }
}

async fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Get(args) => commands::get::run(args).await,
        Command::Lookup(args) => commands::lookup::run(args).await,
        Command::Trace(args) => commands::trace::run(*args).await,
        Command::Check(args) => commands::check::run(*args).await,
        Command::Explain(args) => commands::explain::run(&args),
        Command::Grade(args) => commands::grade::run(*args).await,
        Command::Cache(args) => commands::cache::run(args),
        Command::Decode(args) => commands::decode::run(args),
        Command::Keygen(args) => commands::keygen::run(args),
        Command::Convert(args) => commands::convert::run(args),
        Command::Rotate(args) => commands::rotate::run(*args).await,
        Command::Publish(args) => commands::publish::run(*args).await,
        Command::Route(args) => commands::route::run(*args).await,
        Command::Serve(args) => commands::serve::run(*args).await,
        Command::Testbed(args) => commands::testbed::run(args).await,
        Command::Demo(args) => commands::demo::run(args).await,
        Command::Completions(args) => commands::generate::completions(args),
        Command::Man(args) => commands::generate::man(args),
    }
}
