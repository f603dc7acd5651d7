//! Bytes for people.

use crate::output::Style;

const ROW: usize = 16;

/// Rows of context before and after.
const CONTEXT: usize = 1;

/// The rows of `bytes` that hold `needle`, with a little around them.
pub(super) fn around(bytes: &[u8], needle: &[u8], style: Style) -> String {
    let at = (!needle.is_empty())
        .then(|| bytes.windows(needle.len()).position(|w| w == needle))
        .flatten();
    let found = at.map_or(0..0, |at| at..at + needle.len());
    let first = (found.start / ROW).saturating_sub(CONTEXT);
    let last = found.end.div_ceil(ROW) + CONTEXT;
    let rows = bytes.chunks(ROW).enumerate().skip(first).take(last - first);
    rows.map(|(i, row)| line(i * ROW, row, &found, style))
        .collect()
}

fn line(offset: usize, row: &[u8], found: &std::ops::Range<usize>, style: Style) -> String {
    let mark = |i: usize, text: String| match found.contains(&(offset + i)) {
        true => style.bold(&text),
        false => style.dim(&text),
    };
    let hex: String = row
        .iter()
        .enumerate()
        .map(|(i, byte)| format!("{} ", mark(i, format!("{byte:02x}"))))
        .collect();
    let text: String = row
        .iter()
        .enumerate()
        .map(|(i, byte)| {
            let shown = if byte.is_ascii_graphic() {
                char::from(*byte)
            } else {
                '.'
            };
            mark(i, shown.to_string())
        })
        .collect();
    let gap = "   ".repeat(ROW - row.len());
    format!("  {offset:04x}  {hex}{gap} {text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_the_name_are_shown() {
        let mut bytes = vec![0; 100];
        bytes[60..70].copy_from_slice(b"name.there");
        let shown = around(&bytes, b"name.there", Style::plain());
        assert!(shown.contains("0030") && shown.contains("0040"), "{shown}");
        assert!(shown.contains("name") && !shown.contains("0010"), "{shown}");
    }

    #[test]
    fn a_name_that_is_not_there_shows_the_beginning() {
        assert!(around(&[1, 2, 3], b"", Style::plain()).starts_with("  0000  01 02 03"));
    }
}
