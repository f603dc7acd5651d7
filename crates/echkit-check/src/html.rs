//! What pages of HTML share: one file that needs nothing else, in light and dark.

/// A page with that title. `body` is HTML.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escaped(title)
    )
}

const STYLE: &str = "\
:root { color-scheme: light dark; --text: #1b1b1f; --back: #fff; --line: #c8c8d0; --faint: #5f5f6b;
  --good: #146c2e; --warning: #855400; --bad: #a4161a; --mark: #f1f0f7; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6ea; --back: #16161a; --line: #43434d; --faint: #a0a0ac; --good: #7bd88f;
    --warning: #f0c05a; --bad: #ff8f8f; --mark: #24242c; }
}
body { color: var(--text); background: var(--back); font: 16px/1.5 system-ui, sans-serif;
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; }
.good, .warning, .bad { font-weight: 600; }
.good { color: var(--good); } .warning { color: var(--warning); } .bad { color: var(--bad); }
.faint { color: var(--faint); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left;
  vertical-align: top; }
th { overflow-wrap: normal; }
td { font-family: ui-monospace, monospace; overflow-wrap: break-word; }
table.hello td { width: 50%; }
tr.matters { background: var(--mark); font-weight: 600; }
";

/// Text as HTML shows it. Control characters become question marks.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

/// The same for a cell of a table: a long name may be broken behind an underscore.
pub fn cell(text: &str) -> String {
    escaped(text).replace('_', "_<wbr>")
}

/// The same for a sentence, in which `code` stands between backticks.
pub fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split('`').peekable();
    let mut code = false;
    while let Some(part) = parts.next() {
        match (code, parts.peek()) {
            (false, _) => out.push_str(&escaped(part)),
            (true, Some(_)) => out.push_str(&format!("<code>{}</code>", escaped(part))),
            // Nothing closes it.
            (true, None) => out.push_str(&format!("`{}", escaped(part))),
        }
        code = !code;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_break_behind_underscores_and_backticks_mark_code() {
        assert_eq!(cell("a_b<"), "a_<wbr>b&lt;");
        assert_eq!(prose("a `b<` c"), "a <code>b&lt;</code> c");
        assert_eq!(prose("a `b` `c"), "a <code>b</code> `c");
        assert_eq!(prose("`a`"), "<code>a</code>");
    }

    #[test]
    fn nothing_that_was_read_becomes_markup() {
        let page = document("<b>", &format!("<p>{}</p>", escaped("<script>&\"'\u{1b}")));
        assert!(page.contains("<title>&lt;b&gt;</title>"));
        assert!(page.contains("<p>&lt;script&gt;&amp;&quot;&#39;?</p>"));
        assert!(!page.contains("http"), "it loads nothing");
    }
}
