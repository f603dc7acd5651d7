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

    /// No styles.
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

    pub(crate) fn warning(self, text: &str) -> String {
        self.paint("33;1", text)
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
    rows_within(rows, None).concat()
}

/// The same for a table whose last column is text, which is folded to the terminal's width.
pub(crate) fn text_table(rows: &[Vec<String>]) -> String {
    text_rows(rows).concat()
}

/// The rows of [`text_table`], each with its line ends.
pub(crate) fn text_rows(rows: &[Vec<String>]) -> Vec<String> {
    rows_within(rows, terminal_columns())
}

/// A paragraph, folded to the terminal's width.
pub(crate) fn paragraph(text: &str) -> String {
    match terminal_columns() {
        Some(columns) => folded(text, columns).join("\n") + "\n",
        None => format!("{text}\n"),
    }
}

fn terminal_columns() -> Option<usize> {
    let terminal = io::stdout()
        .is_terminal()
        .then(terminal_size::terminal_size);
    terminal.flatten().map(|(width, _)| width.0.into())
}

/// `columns` is where the last column ends. Where little is left for it, its text stands under the
/// rest of the row.
fn rows_within(rows: &[Vec<String>], columns: Option<usize>) -> Vec<String> {
    const NARROW: usize = 20;
    const INDENT: usize = 4;
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| cell.chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let others = count.saturating_sub(1);
    let before: usize = widths.iter().take(others).map(|width| width + 2).sum();
    let last_line = |last: &str| match columns {
        None => last.to_owned(),
        Some(columns) if columns < before + NARROW => {
            let lines = folded(last, columns.saturating_sub(INDENT));
            let lines = lines.iter().map(|line| format!("\n{:INDENT$}{line}", ""));
            lines.collect()
        }
        Some(columns) => folded(last, columns - before).join(&format!("\n{:before$}", "")),
    };
    let row_text = |row: &Vec<String>| {
        let mut out = String::new();
        if let Some((last, cells)) = row.split_last() {
            for (cell, width) in cells.iter().zip(&widths) {
                let gap = width - cell.chars().count() + 2;
                out.push_str(cell);
                out.extend(std::iter::repeat_n(' ', gap));
            }
            out.push_str(&last_line(last));
        }
        out.push('\n');
        out
    };
    rows.iter().map(row_text).collect()
}

/// The words of a text in lines of at most `width` columns. A longer word has a line of its own.
pub(crate) fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let joined = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && joined > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        // What a server says may hold control characters.
        line.extend(word.chars().map(|c| match c.is_control() {
            true => '?',
            false => c,
        }));
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        [
            ["CASE", "WHY"],
            ["stale-retry", "no page, and the command failed"],
        ]
        .map(|row| row.map(str::to_owned).to_vec())
        .to_vec()
    }

    #[test]
    fn the_last_column_of_texts_is_folded_under_itself() {
        assert_eq!(
            rows_within(&rows(), Some(35)),
            [
                "CASE         WHY\n",
                "stale-retry  no page, and the\n             command failed\n"
            ]
        );
    }

    #[test]
    fn where_little_is_left_texts_stand_under_their_rows() {
        assert_eq!(
            rows_within(&rows(), Some(24)),
            [
                "CASE         \n    WHY\n",
                "stale-retry  \n    no page, and the\n    command failed\n"
            ]
        );
    }

    #[test]
    fn without_a_width_no_line_is_folded() {
        let whole = [
            "CASE         WHY\n",
            "stale-retry  no page, and the command failed\n",
        ];
        assert_eq!(rows_within(&rows(), None), whole);
    }

    #[test]
    fn folded_lines_keep_to_the_width_and_hold_no_control_characters() {
        let lines = folded(&("word ".repeat(40) + "a\u{1b}[31mb"), 76);
        assert!(lines.iter().all(|line| line.chars().count() <= 76));
        assert_eq!(lines.len(), 3);
        assert!(lines[2].ends_with("a?[31mb"));
        assert_eq!(folded(&"x".repeat(100), 78), ["x".repeat(100)]);
    }
}
