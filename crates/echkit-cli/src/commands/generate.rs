//! Shell completions and the manual page, made from the definition of the command line.

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::failure::Failure;
use crate::output;

/// `ech completions SHELL`.
pub(crate) fn completions(args: CompletionsArgs) -> Result<(), Failure> {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ech", &mut out);
    output::stdout(&out)
}

/// `ech man`: one page for the command and all its subcommands.
pub(crate) fn man() -> Result<(), Failure> {
    let mut out = Vec::new();
    let failed = |error| Failure::write(format!("cannot write the manual page: {error}"));
    let command = Cli::command();
    clap_mangen::Man::new(command.clone())
        .render(&mut out)
        .map_err(failed)?;
    for subcommand in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        clap_mangen::Man::new(subcommand.clone())
            .title(format!("ech-{}", subcommand.get_name()))
            .render(&mut out)
            .map_err(failed)?;
    }
    output::stdout(&out)
}
