//! For people on a terminal, for machines in a pipe.

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use crate::failure::Failure;

/// Text styles, empty where the output is not a terminal or `NO_COLOR` is set.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    on: bool,
}

impl Style {
    /// For stdout.
    pub(crate) fn stdout() -> Self {
        Self {
            on: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// For stderr.
    pub(crate) fn stderr() -> Self {
        Self {
            on: io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// For tests: no styles.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { on: false }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.on {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31;1", text)
    }
}

/// Prints one JSON document.
pub(crate) fn json(document: &Value) -> Result<(), Failure> {
    stdout(json_text(document).as_bytes())
}

/// One JSON document, as [`json`] prints it.
pub(crate) fn json_text(document: &Value) -> String {
    let mut text = match io::stdout().is_terminal() {
        true => format!("{document:#}"),
        false => document.to_string(),
    };
    text.push('\n');
    text
}

/// Prints what is wrong with a configuration, a line each, or as a document with `problems`. Where
/// something is, that is the failure.
pub(crate) fn problems(lines: &[String], as_json: bool) -> Result<(), Failure> {
    let failure = match lines.len() {
        0 if as_json => return json(&json!({ "problems": [] })),
        0 => return stdout(b"nothing is wrong\n"),
        1 => Failure::check("1 thing is wrong"),
        count => Failure::check(format!("{count} things are wrong")),
    };
    if as_json {
        return Err(failure.with_document(json!({ "problems": lines })));
    }
    for line in lines {
        stdout(format!("{line}\n").as_bytes())?;
    }
    Err(failure)
}

/// Writes to stdout.
pub(crate) fn stdout(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::write(format!("cannot write to stdout: {error}")))
}

/// Tells the user how the command failed, and gives the exit code. The line goes to stderr also
/// with `--json`.
pub(crate) fn failure(failure: Failure, as_json: bool) -> u8 {
    if let Some(line) = failure.line() {
        error_line(&line);
    }
    let code = failure.code();
    if as_json {
        // The exit code says it all when stdout is gone.
        let _ = json(&failure.into_document());
    }
    code
}

/// One line about what went wrong.
fn error_line(line: &str) {
    let style = Style::stderr();
    // When stderr is closed there is no place left to report to.
    let _ = writeln!(io::stderr(), "{} {line}", style.bad("ech:"));
}

/// One line about what happens, for people.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Logs of the library go to stderr, by `ECHKIT_LOG` or the count of `-v`.
pub(crate) fn start_logging(verbosity: u8) {
    use tracing_subscriber::EnvFilter;
    let default = match verbosity {
        0 | 1 => "off",
        2 => "echkit=debug",
        _ => "echkit=trace",
    };
    let filter = EnvFilter::try_from_env("ECHKIT_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(Style::stderr().on)
        .init();
}

/// Lines up columns; the last one is not padded.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let last = row.len().saturating_sub(1);
        for (i, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if i < last {
                let gap = widths[i] - cell.chars().count() + 2;
                out.extend(std::iter::repeat_n(' ', gap));
            }
        }
        out.push('\n');
    }
    out
}
