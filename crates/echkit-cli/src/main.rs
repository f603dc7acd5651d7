//! The binary `ech`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(echkit_cli::run(std::env::args_os()))
}
