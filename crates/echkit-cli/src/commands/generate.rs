//! Shell completions and the manual pages, made from the definition of the command line.

use std::fs::OpenOptions;
use std::io::Write;

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs, ManArgs, examples};
use crate::failure::Failure;
use crate::output;

/// `ech completions SHELL`.
pub(crate) fn completions(args: CompletionsArgs) -> Result<(), Failure> {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ech", &mut out);
    output::stdout(&out)
}

/// `ech man`: the page of the command on stdout, or one page a command in a directory.
pub(crate) fn man(args: ManArgs) -> Result<(), Failure> {
    let Some(dir) = args.dir else {
        let mut out = Vec::new();
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        clap_mangen::Man::new(command)
            .render(&mut out)
            .map_err(|error| Failure::write(format!("cannot write the manual page: {error}")))?;
        out.extend(examples::manual("ech").into_bytes());
        return output::stdout(&out);
    };
    let shown = dir.display();
    let failed = |error: std::io::Error| {
        Failure::write(format!("cannot write manual pages into {shown}: {error}"))
    };
    std::fs::create_dir_all(&dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &dir).map_err(failed)?;
    let command = Cli::command();
    let pages = command.get_subcommands().map(|subcommand| {
        let name = subcommand.get_name();
        (format!("ech-{name}.1"), examples::manual(name))
    });
    for (page, text) in pages.chain([("ech.1".to_owned(), examples::manual("ech"))]) {
        let mut file = OpenOptions::new()
            .append(true)
            .open(dir.join(page))
            .map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
    }
    Ok(())
}
