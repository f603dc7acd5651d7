//! A ClientHello, field by field.

use echkit_proto::hello::{ClientHello, EchExtension, extension};
use serde::{Serialize, Serializer};

use super::names;

/// How many bytes of a value are shown in hexadecimal.
const SHOWN: usize = 16;

/// One ClientHello, as its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HelloFields {
    /// Its length as a handshake message.
    pub len: usize,
    /// The name in `server_name`.
    pub server_name: Option<String>,
    /// The fields in the order in which they were sent.
    pub fields: Vec<HelloField>,
    /// The whole message, in hexadecimal.
    #[serde(serialize_with = "hexadecimal")]
    pub message: Vec<u8>,
}

/// A field of a ClientHello: one of its fixed ones, or an extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HelloField {
    /// Its name, or `extension 0x1234`.
    pub name: String,
    /// The extension's number.
    pub extension: Option<u16>,
    /// How many bytes its value has.
    pub len: usize,
    /// The value, for people.
    pub value: String,
    #[serde(skip)]
    pub(super) bytes: Vec<u8>,
}

impl From<&ClientHello> for HelloFields {
    fn from(hello: &ClientHello) -> Self {
        let suites: Vec<u16> = hello.cipher_suites().collect();
        let mut fields = vec![
            field(
                "legacy_version",
                &hello.legacy_version().to_be_bytes(),
                names::version(hello.legacy_version()),
            ),
            field("random", &hello.random(), hex(&hello.random())),
            field(
                "legacy_session_id",
                hello.session_id(),
                hex(hello.session_id()),
            ),
            field(
                "cipher_suites",
                &suites
                    .iter()
                    .flat_map(|s| s.to_be_bytes())
                    .collect::<Vec<_>>(),
                listed(suites.iter().copied().map(names::cipher_suite)),
            ),
            field(
                "legacy_compression_methods",
                hello.compression_methods(),
                hex(hello.compression_methods()),
            ),
        ];
        fields.extend(hello.extensions().iter().map(|found| {
            let body = &hello.bytes()[found.body.clone()];
            let name = match names::extension(found.kind) {
                Some(name) => name.to_owned(),
                None if names::is_grease(found.kind) => format!("GREASE 0x{:04x}", found.kind),
                None => format!("extension 0x{:04x}", found.kind),
            };
            HelloField {
                name,
                extension: Some(found.kind),
                len: body.len(),
                value: value(hello, found.kind, body),
                bytes: body.to_vec(),
            }
        }));
        Self {
            len: hello.bytes().len(),
            server_name: hello.server_name().map(str::to_owned),
            fields,
            message: hello.bytes().to_vec(),
        }
    }
}

impl HelloFields {
    /// The field of that name, and of that extension.
    pub(super) fn like(&self, other: &HelloField) -> Option<&HelloField> {
        let mut fields = self.fields.iter();
        fields.find(|f| f.extension == other.extension && f.name == other.name)
    }
}

fn field(name: &str, bytes: &[u8], value: String) -> HelloField {
    HelloField {
        name: name.to_owned(),
        extension: None,
        len: bytes.len(),
        value,
        bytes: bytes.to_vec(),
    }
}

/// What an extension says, for people; its bytes where it is not known, or malformed.
fn value(hello: &ClientHello, kind: u16, body: &[u8]) -> String {
    let known = match kind {
        extension::SERVER_NAME => hello.server_name().map(printable),
        extension::ALPN => hello
            .alpn()
            .map(|names| listed(names.iter().map(|name| name.escape_ascii().to_string()))),
        extension::SUPPORTED_VERSIONS => hello
            .supported_versions()
            .map(|all| listed(all.into_iter().map(names::version))),
        extension::KEY_SHARE => hello
            .key_share_groups()
            .map(|all| listed(all.into_iter().map(names::group))),
        // supported_groups, signature_algorithms: `uint16 list<2..2^16-1>`.
        10 => numbers(body).map(|all| listed(all.into_iter().map(names::group))),
        13 | 50 => numbers(body).map(|all| listed(all.into_iter().map(names::signature_scheme))),
        extension::PRE_SHARED_KEY => Some(format!("offered, {} bytes", body.len())),
        extension::ENCRYPTED_CLIENT_HELLO => Some(match hello.ech() {
            Ok(Some(EchExtension::Outer(outer))) => format!(
                "outer: config_id {}, {}, enc {}, payload {} bytes",
                outer.config_id,
                outer.suite,
                match outer.enc.is_empty() {
                    true => "empty".to_owned(),
                    false => format!("{} bytes", outer.enc.len()),
                },
                outer.payload.len()
            ),
            Ok(Some(EchExtension::Inner)) => "inner".to_owned(),
            Ok(Some(EchExtension::Unknown(other))) => format!("type {other}, not known"),
            _ => format!("malformed: {}", hex(body)),
        }),
        _ => None,
    };
    known.unwrap_or_else(|| hex(body))
}

/// What is read from the network holds no control characters when it is shown.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c.is_control() {
            true => '?',
            false => c,
        })
        .collect()
}

fn numbers(body: &[u8]) -> Option<Vec<u16>> {
    let (len, list) = body.split_at_checked(2)?;
    let whole = usize::from(u16::from_be_bytes([len[0], len[1]])) == list.len();
    (whole && list.len().is_multiple_of(2)).then(|| {
        list.chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect()
    })
}

fn listed(values: impl Iterator<Item = String>) -> String {
    values.collect::<Vec<_>>().join(", ")
}

/// Bytes in hexadecimal, the first of many.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    match bytes.len() {
        0 => "empty".to_owned(),
        len if len <= SHOWN => digits(bytes),
        len => format!("{}… ({len} bytes)", digits(&bytes[..SHOWN / 2])),
    }
}

fn hexadecimal<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    serializer.serialize_str(&digits)
}
