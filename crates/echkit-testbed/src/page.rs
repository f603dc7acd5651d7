//! The page at every server: what it saw of its visitor.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, STRICT_TRANSPORT_SECURITY};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use crate::case::{Case, Expectations, Expected, ServerWord};

/// What the server says of a request and of the connection that carried it; the JSON at
/// `?format=json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Page {
    /// The case whose server this is.
    pub case: String,
    /// The outcome expected of a correct client here.
    pub expect: Expectations,
    /// What it saw of ECH.
    pub ech: PageEch,
    /// The TLS connection.
    pub tls: PageTls,
    /// The request.
    pub http: PageHttp,
}

/// ECH, as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PageEch {
    /// What became of the visitor's ECH.
    pub status: ServerWord,
    /// The hidden name, where ECH was accepted.
    pub inner_sni: Option<String>,
    /// The name that stood in the clear.
    pub outer_sni: Option<String>,
    /// The key that opened the hello.
    pub config_id: Option<u8>,
    /// Its HPKE suite.
    pub suite: Option<String>,
    /// Whether the server answered with retry_configs.
    pub retry_configs: bool,
}

impl PageEch {
    /// What a server says that has had no ECH from this visitor.
    pub(crate) fn without(status: ServerWord, outer_sni: Option<String>) -> Self {
        Self {
            status,
            inner_sni: None,
            outer_sni,
            config_id: None,
            suite: None,
            retry_configs: false,
        }
    }
}

/// TLS, as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PageTls {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: Option<String>,
    /// The cipher suite.
    pub cipher_suite: Option<String>,
    /// The key exchange group.
    pub group: Option<String>,
    /// The protocol agreed on by ALPN.
    pub alpn: Option<String>,
    /// There was a HelloRetryRequest.
    pub hello_retry: bool,
    /// The session was resumed from a ticket.
    pub resumed: bool,
}

/// The request, as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PageHttp {
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub version: String,
    /// The method.
    pub method: String,
    /// The host that was asked for.
    pub host: Option<String>,
    /// The path, without the query.
    pub path: String,
    /// Bytes in the request's body.
    pub body_bytes: u64,
}

/// The half of the page that is the same for every request of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) case: String,
    pub(crate) about: String,
    pub(crate) expect: Expectations,
    pub(crate) directory: Directory,
    pub(crate) ech: PageEch,
    pub(crate) tls: PageTls,
}

/// The names and URLs of all cases that are served, once they are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory(Arc<OnceLock<Vec<(String, String)>>>);

impl Directory {
    pub(crate) fn fill(&self, cases: &[Case]) {
        let entries = cases
            .iter()
            .map(|case| (case.name.clone(), case.url.clone()));
        // Filled once, when the testbed starts.
        let _ = self.0.set(entries.collect());
    }

    fn entries(&self) -> &[(String, String)] {
        self.0.get().map_or(&[], Vec::as_slice)
    }
}

/// Answers any request with the page.
pub(crate) async fn answer(
    request: Request<Incoming>,
    visit: Arc<Visit>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let mut body_bytes = 0;
    // A client that gives up half-way gets an answer all the same, if it still listens.
    while let Some(Ok(frame)) = body.frame().await {
        body_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    let host = match head.uri.authority() {
        Some(authority) => Some(authority.to_string()),
        None => head
            .headers
            .get(HOST)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned),
    };
    let page = Page {
        case: visit.case.clone(),
        expect: visit.expect.clone(),
        ech: visit.ech.clone(),
        tls: visit.tls.clone(),
        http: PageHttp {
            version: format!("{:?}", head.version),
            method: head.method.to_string(),
            host,
            path: head.uri.path().to_owned(),
            body_bytes,
        },
    };
    let json = head
        .uri
        .query()
        .is_some_and(|q| q.split('&').any(|pair| pair == "format=json"));
    let (media_type, text) = match json {
        true => ("application/json", page.to_json()),
        false => (
            "text/html; charset=utf-8",
            page.to_html(&visit.about, &visit.directory),
        ),
    };
    let length = text.len();
    let mut response = Response::new(match head.method {
        Method::HEAD => Full::default(),
        _ => Full::from(text),
    });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // As a good site has it. An hour: a browser that keeps it keeps it from nothing else.
    let hsts = HeaderValue::from_static("max-age=3600");
    headers.insert(STRICT_TRANSPORT_SECURITY, hsts);
    Ok(response)
}

impl Page {
    fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }

    fn to_html(&self, about: &str, directory: &Directory) -> String {
        let as_expected = self.is_as_expected();
        let verdict = match self.ech.status {
            ServerWord::Accepted => "Your ClientHello was encrypted, and this server decrypted it.",
            ServerWord::Rejected => "You sent ECH or GREASE; no key of this server decrypts it.",
            ServerWord::NotOffered => "You did not offer ECH.",
            ServerWord::Off => "This server does not support ECH.",
        };
        let status = serde_json::to_value(self.ech.status).unwrap_or_default();
        let none = || "none".to_owned();
        let text = |value: &Option<String>| value.clone().unwrap_or_else(none);
        let rows = [
            ("ECH", status.as_str().unwrap_or_default().replace('_', " ")),
            ("Name inside", text(&self.ech.inner_sni)),
            ("Name in the clear", text(&self.ech.outer_sni)),
            (
                "Key (config_id)",
                self.ech.config_id.map_or_else(none, |id| id.to_string()),
            ),
            ("HPKE suite", text(&self.ech.suite)),
            ("retry_configs sent", yes_no(self.ech.retry_configs)),
            ("TLS", text(&self.tls.version)),
            ("Cipher suite", text(&self.tls.cipher_suite)),
            ("Key exchange", text(&self.tls.group)),
            ("ALPN", text(&self.tls.alpn)),
            ("HelloRetryRequest", yes_no(self.tls.hello_retry)),
            ("Resumed", yes_no(self.tls.resumed)),
            (
                "Request",
                format!("{} {}", self.http.method, self.http.path),
            ),
            ("Host", text(&self.http.host)),
            ("HTTP", self.http.version.clone()),
        ];
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>{case}: what the server saw</title>\n<style>{STYLE}</style>\n\
             <h1 class=\"{class}\">{case}: <span>{verdict}</span></h1>\n<p>{about}</p>\n\
             <p><b>{judgement}</b> {expected}</p>\n<table>\n",
            case = escape(&self.case),
            class = if as_expected { "expected" } else { "other" },
            about = escape(about),
            judgement = match as_expected {
                true => "As expected.",
                false => "Not the expected outcome for a client with ECH.",
            },
            expected = escape(&self.expectation()),
        );
        for (name, value) in rows {
            let _ = writeln!(html, "<tr><th>{name}<td>{}", escape(&value));
        }
        html.push_str("</table>\n<p><a href=\"?format=json\">As JSON</a>\n");
        let others = directory.entries().iter();
        let links: String = others
            .filter(|(name, _)| *name != self.case)
            .map(|(name, url)| format!("<a href=\"{}\">{}</a> ", escape(url), escape(name)))
            .collect();
        if !links.is_empty() {
            let _ = writeln!(
                html,
                "<details><summary>Other cases</summary><p>{links}</details>"
            );
        }
        html.push_str("</html>\n");
        html
    }

    /// Whether the server saw what a correct client shows it, in one of the modes.
    fn is_as_expected(&self) -> bool {
        self.outcomes()
            .any(|expected| expected.server == Some(self.ech.status))
    }

    fn outcomes(&self) -> impl Iterator<Item = &Expected> {
        let expect = &self.expect;
        let with_tls12 = expect.prefer_with_tls12.iter();
        [&expect.prefer, &expect.require]
            .into_iter()
            .chain(with_tls12)
    }

    /// The outcome expected of a correct client, in a sentence or two.
    fn expectation(&self) -> String {
        let mut out = match self.expect.prefer.server {
            Some(ServerWord::Accepted) => "A client with ECH is accepted here".to_owned(),
            Some(ServerWord::Rejected) => {
                "A client with ECH has no usable ECHConfig for this host and sends GREASE, which \
                    is rejected"
                    .to_owned()
            }
            Some(ServerWord::NotOffered) => "A client sends no ECH here".to_owned(),
            Some(ServerWord::Off) => "A client gets its page without ECH here".to_owned(),
            None => "A client with ECH gets no page here".to_owned(),
        };
        if self.expect.prefer.retries > 0 {
            out.push_str(
                ": its first connection is rejected, and it connects again with the retry_configs \
                 that this server sends",
            );
        }
        out.push('.');
        if self.expect.require.server != self.expect.prefer.server {
            out.push_str(match self.expect.require.server {
                Some(_) => " One that requires ECH gets another page.",
                None => " One that requires ECH refuses to connect.",
            });
        }
        out
    }
}

/// Words break only where a line has no room for one; narrow windows get one column.
const STYLE: &str = ":root{color-scheme:light dark;--good:#0a7d33;--bad:#a61c1c}\
    @media(prefers-color-scheme:dark){:root{--good:#5fd38a;--bad:#ff8a80}}\
    body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;\
    overflow-wrap:break-word}\
    .expected span{color:var(--good)}.other span{color:var(--bad)}\
    td,th{text-align:left;padding:.2rem 1rem .2rem 0;vertical-align:top}\
    td{font-family:ui-monospace,monospace}\
    details a{display:inline-block;margin-right:.7rem}\
    @media(max-width:32rem){th,td{display:block;padding:0}td{padding-bottom:.4rem;\
    max-width:calc(100vw - 2rem)}}";

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// Names and paths are the visitor's words: they are text here, never markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page {
            case: "nominal".into(),
            expect: Expectations {
                prefer: Expected::ACCEPTED,
                require: Expected::ACCEPTED,
                prefer_with_tls12: None,
            },
            ech: PageEch::without(ServerWord::NotOffered, Some("nominal.ech.test".into())),
            tls: PageTls {
                version: Some("TLSv1.3".into()),
                cipher_suite: None,
                group: None,
                alpn: None,
                hello_retry: false,
                resumed: false,
            },
            http: PageHttp {
                version: "HTTP/1.1".into(),
                method: "GET".into(),
                host: Some("<script>alert(1)</script>".into()),
                path: "/\"'&".into(),
                body_bytes: 0,
            },
        }
    }

    #[test]
    fn the_visitors_words_are_never_markup() {
        let html = page().to_html("About.", &Directory::default());
        assert!(!html.contains("<script"), "{html}");
        assert!(
            html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
            "{html}"
        );
        assert!(html.contains("/&quot;&#39;&amp;"), "{html}");
        assert!(html.contains("You did not offer ECH."), "{html}");
    }

    fn html(page: &Page) -> String {
        page.to_html("About.", &Directory::default())
    }

    #[test]
    fn the_page_says_what_the_case_expects_and_whether_it_came() {
        let mut page = page();
        assert!(html(&page).contains("Not the expected outcome for a client with ECH."));
        page.ech.status = ServerWord::Accepted;
        assert!(html(&page).contains("As expected."));
        page.expect.prefer = Expected::RETRIED;
        page.expect.require = Expected::RETRIED;
        assert!(html(&page).contains("connects again with the retry_configs"));
        // A host without a usable record: GREASE is rejected, and that is right.
        page.expect.prefer = Expected::GREASE;
        page.expect.require = Expected::REFUSED;
        page.ech.status = ServerWord::Rejected;
        let html = html(&page);
        assert!(
            html.contains("As expected.") && html.contains("sends GREASE"),
            "{html}"
        );
        assert!(html.contains("refuses to connect"), "{html}");
    }

    #[test]
    fn the_page_has_a_dark_mode_and_breaks_no_words_that_fit() {
        let html = html(&page());
        assert!(html.contains("color-scheme:light dark"));
        assert!(html.contains("overflow-wrap:break-word") && !html.contains("break-all"));
    }

    #[test]
    fn the_page_leads_to_the_other_cases() {
        let directory = Directory::default();
        let _ = directory.0.set(vec![
            ("nominal".into(), "https://nominal.ech.test:1/".into()),
            ("stale".into(), "https://stale.ech.test:2/".into()),
        ]);
        let html = page().to_html("About.", &directory);
        assert!(
            html.contains("<a href=\"https://stale.ech.test:2/\">stale</a>"),
            "{html}"
        );
        assert!(!html.contains("https://nominal.ech.test:1/"), "{html}");
    }

    #[test]
    fn json_reads_back_as_the_same_page() {
        let page = page();
        assert_eq!(serde_json::from_str::<Page>(&page.to_json()).unwrap(), page);
        assert!(page.to_json().contains("\"status\": \"not_offered\""));
    }
}
