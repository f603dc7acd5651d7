//! `-F`: multipart/form-data (RFC 7578).

use std::path::Path;

use bytes::Bytes;
use rand::Rng;
use rand::distr::Alphanumeric;

use super::upload::{Part, Upload};
use crate::cli::curl_flags::CurlArgs;
use crate::failure::Failure;
use crate::input;

/// The form, and its content type.
pub(super) fn form(args: &CurlArgs) -> Result<(Upload, String), Failure> {
    let boundary: String = rand::rng()
        .sample_iter(Alphanumeric)
        .take(22)
        .map(char::from)
        .collect();
    let boundary = format!("------------------------{boundary}");
    let mut upload = Upload::default();
    for field in &args.form {
        add(&mut upload, &boundary, Field::read(field)?)?;
    }
    for text in &args.form_string {
        let (name, text) = text.split_once('=').ok_or_else(|| bad(text))?;
        let field = Field {
            name,
            content: Content::Text(text),
            kind: None,
            file_name: None,
        };
        add(&mut upload, &boundary, field)?;
    }
    let end = format!("--{boundary}--\r\n");
    upload.parts.push(Part::Bytes(end.into()));
    Ok((upload, format!("multipart/form-data; boundary={boundary}")))
}

fn bad(text: &str) -> Failure {
    // The value may be a secret.
    let name = text.split('=').next().unwrap_or_default();
    Failure::usage(format!(
        "-F {name:?}: write NAME=TEXT, NAME=@FILE or NAME=<FILE"
    ))
}

struct Field<'a> {
    name: &'a str,
    content: Content<'a>,
    kind: Option<&'a str>,
    file_name: Option<&'a str>,
}

enum Content<'a> {
    Text(&'a str),
    /// A file that is uploaded.
    Upload(&'a str),
    /// A file whose text is the value.
    Read(&'a str),
}

impl<'a> Field<'a> {
    fn read(text: &'a str) -> Result<Self, Failure> {
        let (name, mut rest) = text.split_once('=').ok_or_else(|| bad(text))?;
        let (mut kind, mut file_name) = (None, None);
        // From the end, so that a text may hold semicolons.
        while let Some((before, option)) = rest.rsplit_once(';') {
            match option.trim_start().split_once('=') {
                Some(("type", value)) => kind = Some(value),
                Some(("filename", value)) => file_name = Some(value.trim_matches('"')),
                _ => break,
            }
            rest = before;
        }
        let content = match (rest.strip_prefix('@'), rest.strip_prefix('<')) {
            (Some(path), _) => Content::Upload(path),
            (_, Some(path)) => Content::Read(path),
            _ => Content::Text(rest),
        };
        Ok(Self {
            name,
            content,
            kind,
            file_name,
        })
    }
}

fn add(upload: &mut Upload, boundary: &str, field: Field<'_>) -> Result<(), Failure> {
    let (part, own_name) = match field.content {
        Content::Text(text) => (Part::Bytes(Bytes::copy_from_slice(text.as_bytes())), None),
        Content::Upload("-") => (Part::Bytes(input::stdin()?.into()), Some("-".to_owned())),
        Content::Upload(path) => {
            let path = Path::new(path);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            (Part::file(path)?, Some(name.into_owned()))
        }
        Content::Read(path) => (
            Part::Bytes(input::text_or_file(&format!("@{path}"))?.into()),
            None,
        ),
    };
    let mut head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"",
        escaped(field.name)
    );
    let is_file = own_name.is_some();
    if let Some(name) = field.file_name.map(str::to_owned).or(own_name) {
        head.push_str(&format!("; filename=\"{}\"", escaped(&name)));
        let kind = field.kind.unwrap_or_else(|| match is_file {
            true => kind_of(&name),
            false => "text/plain",
        });
        head.push_str(&format!("\r\nContent-Type: {}", on_one_line(kind)?));
    } else if let Some(kind) = field.kind {
        head.push_str(&format!("\r\nContent-Type: {}", on_one_line(kind)?));
    }
    head.push_str("\r\n\r\n");
    upload.parts.push(Part::Bytes(head.into()));
    upload.parts.push(part);
    upload.parts.push(Part::Bytes(Bytes::from_static(b"\r\n")));
    Ok(())
}

/// As browsers and curl write names.
fn escaped(name: &str) -> String {
    name.replace('"', "%22")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn on_one_line(kind: &str) -> Result<&str, Failure> {
    match kind.contains(['\r', '\n']) {
        true => Err(Failure::usage("-F: a type cannot contain a line break")),
        false => Ok(kind),
    }
}

/// The types that curl knows by a file's name.
fn kind_of(name: &str) -> &'static str {
    let ending = name
        .rsplit_once('.')
        .map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.as_deref() {
        Some("gif") => "image/gif",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain",
        Some("htm" | "html") => "text/html",
        Some("pdf") => "application/pdf",
        Some("xml") => "application/xml",
        _ => "application/octet-stream",
    }
}
