//! `-w`: curl's variables, and what ECH came to.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use echkit::Report;
use echkit::report::AttemptResult;
use http::Method;
use http::header::CONTENT_TYPE;

use super::head::Head;
use crate::failure::Failure;
use crate::{input, output};

/// What a transfer came to.
pub(super) struct Transfer {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) effective: String,
    pub(super) head: Option<Head>,
    pub(super) redirects: usize,
    pub(super) redirect_url: Option<String>,
    pub(super) downloaded: u64,
    pub(super) uploaded: u64,
    pub(super) report: Option<Report>,
    pub(super) file: Option<String>,
    pub(super) took: Duration,
}

/// Prints `format`.
pub(super) fn write_out(
    format: &str,
    transfer: &Transfer,
    failure: Option<&Failure>,
) -> Result<(), Failure> {
    let format = match format.starts_with('@') {
        true => String::from_utf8_lossy(&input::text_or_file(format)?).into_owned(),
        false => format.to_owned(),
    };
    let mut out = Out::default();
    let mut rest = format.as_str();
    while let Some(at) = rest.find(['%', '\\']) {
        out.push(&rest[..at]);
        rest = expand(&rest[at..], &mut out, transfer, failure);
    }
    out.push(rest);
    let Out { stdout, stderr, .. } = out;
    // When stderr is closed there is no place left to report to.
    let _ = std::io::stderr().write_all(stderr.as_bytes());
    output::stdout(stdout.as_bytes())
}

#[derive(Default)]
struct Out {
    stdout: String,
    stderr: String,
    to_stderr: bool,
}

impl Out {
    fn push(&mut self, text: &str) {
        match self.to_stderr {
            true => self.stderr.push_str(text),
            false => self.stdout.push_str(text),
        }
    }
}

/// Expands what `text` begins with; gives what follows.
fn expand<'a>(
    text: &'a str,
    out: &mut Out,
    transfer: &Transfer,
    failure: Option<&Failure>,
) -> &'a str {
    for (sequence, meaning) in [("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t"), ("%%", "%")] {
        if let Some(rest) = text.strip_prefix(sequence) {
            out.push(meaning);
            return rest;
        }
    }
    if let Some((name, rest)) = text
        .strip_prefix("%header{")
        .and_then(|t| t.split_once('}'))
    {
        let value = transfer
            .head
            .as_ref()
            .and_then(|head| head.headers.get(name));
        out.push(&value.map_or_else(String::new, |value| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        }));
        return rest;
    }
    if let Some((name, rest)) = text.strip_prefix("%{").and_then(|t| t.split_once('}')) {
        match name {
            "stdout" => out.to_stderr = false,
            "stderr" => out.to_stderr = true,
            // What follows is for a transfer that failed.
            "onerror" if failure.is_none() => return "",
            "onerror" => {}
            _ => match transfer.variable(name, failure) {
                Some(value) => out.push(&value),
                None => output::note(&format!("ech: warning: -w: unknown variable {name:?}")),
            },
        }
        return rest;
    }
    let first = text.chars().next().map_or(0, char::len_utf8);
    out.push(&text[..first]);
    &text[first..]
}

impl Transfer {
    fn variable(&self, name: &str, failure: Option<&Failure>) -> Option<String> {
        let status = self.head.as_ref().map_or(0, |head| head.status.as_u16());
        Some(match name {
            "http_code" | "response_code" => format!("{status:03}"),
            "http_version" => self.version().to_owned(),
            "method" => self.method.to_string(),
            "url" => self.url.clone(),
            "url_effective" => self.effective.clone(),
            "scheme" => self
                .effective
                .split(':')
                .next()
                .unwrap_or_default()
                .to_owned(),
            "num_redirects" => self.redirects.to_string(),
            "redirect_url" => self.redirect_url.clone().unwrap_or_default(),
            "num_connects" => u8::from(self.report.as_ref().is_some_and(is_new)).to_string(),
            "content_type" => self.header(CONTENT_TYPE.as_str()),
            "size_download" => self.downloaded.to_string(),
            "size_upload" => self.uploaded.to_string(),
            "speed_download" => per_second(self.downloaded, self.took),
            "speed_upload" => per_second(self.uploaded, self.took),
            "filename_effective" => self.file.clone().unwrap_or_default(),
            "exitcode" => failure.map_or(0, Failure::code).to_string(),
            "errormsg" => failure.and_then(Failure::line).unwrap_or_default(),
            "header_json" => {
                let headers = self.head.as_ref().map(Head::headers_json);
                serde_json::Value::Object(headers.unwrap_or_default()).to_string()
            }
            "remote_ip" => self
                .peer()
                .map_or_else(String::new, |peer| peer.ip().to_string()),
            "remote_port" => self
                .peer()
                .map_or_else(String::new, |peer| peer.port().to_string()),
            "time_namelookup" => self.time(0),
            "time_connect" => self.time(1),
            "time_appconnect" => self.time(2),
            "time_pretransfer" => self.time(2),
            "time_starttransfer" => self.time(3),
            "time_total" => format!("{:.6}", self.took.as_secs_f64()),
            "ech_status" => self.ech(|report| report.ech.status.to_string()),
            "ech_outer_sni" => self.ech(|report| report.ech.outer_sni.clone().unwrap_or_default()),
            _ => return None,
        })
    }

    fn version(&self) -> &str {
        match self.head.as_ref().map(|head| head.version.as_str()) {
            Some("HTTP/2.0") => "2",
            Some(version) => version.strip_prefix("HTTP/").unwrap_or(version),
            None => "0",
        }
    }

    fn header(&self, name: &str) -> String {
        let value = self.head.as_ref().and_then(|head| head.headers.get(name));
        value.map_or_else(String::new, |value| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        })
    }

    fn ech(&self, part: impl Fn(&Report) -> String) -> String {
        self.report.as_ref().map_or_else(String::new, part)
    }

    fn peer(&self) -> Option<SocketAddr> {
        let attempts = &self.report.as_ref()?.attempts;
        let won = attempts
            .iter()
            .find(|one| one.result == AttemptResult::Won)?;
        won.address.parse().ok()
    }

    /// The sum of the first steps of the last connection, as curl counts.
    fn time(&self, last: usize) -> String {
        let times = self.report.as_ref().map(|report| report.timings_ms);
        let steps = times.map_or([None; 4], |t| [t.dns, t.tcp, t.tls, t.first_byte]);
        let sum: f64 = steps[..=last].iter().flatten().sum();
        format!("{:.6}", sum / 1000.0)
    }
}

fn is_new(report: &Report) -> bool {
    !report.reused
}

fn per_second(bytes: u64, took: Duration) -> String {
    #[allow(clippy::cast_precision_loss)]
    let speed = bytes as f64 / took.as_secs_f64().max(1e-6);
    format!("{speed:.0}")
}
