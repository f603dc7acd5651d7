//! A trace for a terminal.

use super::parts::{ConnectionTrace, HelloTrace, Trace};
use super::story::{self, Row};

/// What a part of the text is, for those who colour it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Paint {
    /// A heading.
    Heading,
    /// What is as it should be.
    Good,
    /// What shows the name.
    Bad,
    /// What can be passed over.
    Faint,
}

type Painter<'a> = &'a dyn Fn(Paint, &str) -> String;

/// The width of a field's name.
const NAME: usize = 20;
/// What precedes the columns of a hello, and stands between them.
const INDENT: usize = 4;
const GAP: usize = 2;

pub(super) fn text(trace: &Trace, columns: usize, paint: Painter<'_>) -> String {
    let (verdict, hidden) = story::verdict(trace);
    let verdict_paint = match hidden {
        true => Paint::Good,
        false => Paint::Bad,
    };
    let mut out = paint(Paint::Heading, &trace.origin) + "\n";
    for line in wrap(&verdict, columns) {
        out.push_str(&paint(verdict_paint, &line));
        out.push('\n');
    }
    if let Some(error) = &trace.error {
        out.push_str(&indented(&format!("It failed: {error}"), "", columns));
    }
    out.push_str(&format!("\n{}\n", paint(Paint::Heading, "DNS")));
    for line in story::dns(trace) {
        out.push_str(&indented(&line, "  ", columns));
    }
    for (number, connection) in (1..).zip(&trace.connections) {
        let heading = format!("Connection {number} to {}", connection.peer);
        out.push_str(&format!(
            "\n{}: {}\n",
            paint(Paint::Heading, &heading),
            connection.ech.words()
        ));
        connection_text(trace, connection, columns, paint, &mut out);
    }
    if let Some(configs) = &trace.ech.retry_configs {
        out.push_str(&format!("\n{}\n", paint(Paint::Heading, "retry_configs")));
        let line = format!(
            "The server sent these encrypted, in EncryptedExtensions, when it rejected ECH: {configs}"
        );
        out.push_str(&indented(&line, "  ", columns));
    }
    out
}

fn connection_text(
    trace: &Trace,
    connection: &ConnectionTrace,
    columns: usize,
    paint: Painter<'_>,
    out: &mut String,
) {
    for (number, hello) in (1..).zip(&connection.hellos) {
        let len = hello.outer.len;
        out.push_str(&format!("  -> ClientHello {number}, {len} bytes\n"));
        hello_text(hello, columns, paint, out);
        for note in story::notes(hello) {
            out.push_str(&indented(&note, "    ", columns));
        }
    }
    for answer in story::answers(connection) {
        out.push_str(&indented(&format!("<- {answer}"), "  ", columns));
    }
    let seen = story::sightings(trace, connection);
    let seen_paint = match connection.name_seen.is_empty() {
        true => Paint::Good,
        false => Paint::Bad,
    };
    for line in wrap(&seen, columns - 2) {
        out.push_str(&format!("  {}\n", paint(seen_paint, &line)));
    }
    if connection.truncated {
        let line = "The connection was longer than the recorder keeps; this is its beginning.";
        out.push_str(&indented(line, "  ", columns));
    }
}

/// The fields in two columns where there is an inner hello, else in one.
fn hello_text(hello: &HelloTrace, columns: usize, paint: Painter<'_>, out: &mut String) {
    let rows = story::rows(hello);
    let both = hello.inner.is_some();
    let room = columns - INDENT - NAME - GAP;
    let width = match both {
        true => (room - GAP) / 2,
        false => room,
    };
    let mut line = |cells: [&str; 3], row: Option<&Row>| {
        let [name, outer, inner] = cells.map(str::to_owned);
        let pad = |text: &str, width: usize| {
            let gap = width.saturating_sub(text.chars().count());
            format!("{text}{}", " ".repeat(gap))
        };
        let text = match both {
            true => format!(
                "{}{}{}",
                pad(&name, NAME + GAP),
                pad(&outer, width + GAP),
                inner
            ),
            false => format!("{}{outer}", pad(&name, NAME + GAP)),
        };
        let text = text.trim_end();
        let text = match row {
            None => paint(Paint::Faint, text),
            Some(row) if row.matters => paint(Paint::Heading, text),
            Some(_) => text.to_owned(),
        };
        out.push_str(&format!("{}{text}\n", " ".repeat(INDENT)));
    };
    let titles = match both {
        true => ["", "ClientHelloOuter: seen", "ClientHelloInner: sealed"],
        false => ["", "seen", ""],
    };
    line(titles, None);
    for row in &rows {
        let absent = || "-".to_owned();
        let inner = match row.same {
            true => "same".to_owned(),
            false => row.inner.clone().unwrap_or_else(absent),
        };
        let cells = [
            chunks(&row.name, NAME),
            wrap(&row.outer.clone().unwrap_or_else(absent), width),
            wrap(&inner, width),
        ];
        let height = cells.iter().map(Vec::len).max().unwrap_or_default();
        for i in 0..height {
            let cell = |column: usize| cells[column].get(i).map_or("", String::as_str);
            line([cell(0), cell(1), cell(2)], Some(row));
        }
    }
}

fn indented(text: &str, indent: &str, columns: usize) -> String {
    let lines = wrap(text, columns - indent.len());
    let lines = lines.iter().map(|line| format!("{indent}{line}\n"));
    lines.collect()
}

/// The text in lines of at most `width`. A longer word is cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        for part in chunks(word, width) {
            let len = part.chars().count();
            // The parts of a cut word have lines of their own.
            if used > 0 && used + 1 + len > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(&part);
            used += len;
        }
    }
    lines.push(line);
    lines
}

/// A word in parts of at most `width`, without control characters. Long names are cut behind an
/// underscore.
fn chunks(word: &str, width: usize) -> Vec<String> {
    let shown: Vec<char> = word
        .chars()
        .map(|c| match c.is_control() {
            true => '?',
            false => c,
        })
        .collect();
    let mut parts = Vec::new();
    let mut rest = shown.as_slice();
    while rest.len() > width {
        let cut = rest[..width].iter().rposition(|c| *c == '_');
        let (part, more) = rest.split_at(cut.map_or(width, |at| at + 1));
        parts.push(part.iter().collect());
        rest = more;
    }
    parts.push(rest.iter().collect());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_its_column_and_no_control_character_passes() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(
            chunks("signature_algorithms_cert", 20),
            ["signature_", "algorithms_cert"]
        );
        assert_eq!(wrap("a\u{1b}[31m", 80), ["a?[31m"]);
        assert_eq!(wrap("", 80), [""]);
    }
}
