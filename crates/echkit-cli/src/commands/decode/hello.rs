//! A ClientHello for people: what an eavesdropper reads in it.

use data_encoding::HEXLOWER;
use echkit_proto::hello::{ClientHello, EchExtension, HelloReader};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output;

/// Far above any hello that is sent.
const MAX_HELLO: usize = 1 << 17;

/// The contents of a ClientHello.
pub(super) struct Summary {
    hello: ClientHello,
}

impl Summary {
    /// Reads a handshake message, or the TLS records that carry one.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Failure> {
        let bad =
            |error: &dyn std::fmt::Display| Failure::content(format!("not a ClientHello: {error}"));
        let message = match bytes.first() {
            Some(0x16) => HelloReader::new(MAX_HELLO)
                .read(bytes)
                .map_err(|error| bad(&error))?
                .1
                .ok_or_else(|| bad(&"the TLS records end before the ClientHello is complete"))?,
            _ => bytes.to_vec(),
        };
        ClientHello::parse(message)
            .map(|hello| Self { hello })
            .map_err(|error| bad(&error))
    }

    fn alpn(&self) -> Option<Vec<String>> {
        let names = self.hello.alpn()?;
        Some(names.iter().map(|n| n.escape_ascii().to_string()).collect())
    }

    fn versions(&self) -> Option<Vec<String>> {
        let versions = self.hello.supported_versions()?;
        Some(versions.iter().map(|v| format!("0x{v:04x}")).collect())
    }

    fn ech(&self) -> Value {
        match self.hello.ech() {
            Ok(None) => Value::Null,
            Ok(Some(EchExtension::Outer(outer))) => json!({
                "type": "outer",
                "suite": outer.suite.to_string(),
                "config_id": outer.config_id,
                "enc": HEXLOWER.encode(outer.enc),
                "payload_len": outer.payload.len(),
            }),
            Ok(Some(EchExtension::Inner)) => json!({ "type": "inner" }),
            Ok(Some(EchExtension::Unknown(number))) => json!({ "type": number }),
            Err(error) => json!({ "type": null, "error": error.to_string() }),
        }
    }

    pub(super) fn json(&self) -> Value {
        let hello = &self.hello;
        json!({
            "kind": "client_hello",
            "len": hello.bytes().len(),
            "legacy_version": format!("0x{:04x}", hello.legacy_version()),
            "random": HEXLOWER.encode(&hello.random()),
            "session_id": HEXLOWER.encode(hello.session_id()),
            "cipher_suites": hello.cipher_suites().map(|s| format!("0x{s:04x}")).collect::<Vec<_>>(),
            "server_name": hello.server_name(),
            "alpn": self.alpn(),
            "supported_versions": self.versions(),
            "key_share_groups": hello.key_share_groups()
                .map(|all| all.iter().map(|g| format!("0x{g:04x}")).collect::<Vec<_>>()),
            "pre_shared_key": hello.has_pre_shared_key(),
            "ech": self.ech(),
            "extensions": hello.extensions().iter()
                .map(|e| json!({ "number": format!("0x{:04x}", e.kind), "len": e.body.len() }))
                .collect::<Vec<_>>(),
        })
    }

    pub(super) fn text(&self) -> String {
        let hello = &self.hello;
        let none = || "none".to_owned();
        let ech = match hello.ech() {
            Ok(None) => none(),
            Ok(Some(EchExtension::Outer(outer))) => format!(
                "outer: config_id {}, {}, {} bytes sealed",
                outer.config_id,
                outer.suite,
                outer.payload.len()
            ),
            Ok(Some(EchExtension::Inner)) => "inner: this is a ClientHelloInner".to_owned(),
            Ok(Some(EchExtension::Unknown(number))) => format!("of an unknown type, {number}"),
            Err(error) => format!("malformed: {error}"),
        };
        let groups = hello.key_share_groups().map(|all| {
            let all: Vec<String> = all.iter().map(|g| format!("0x{g:04x}")).collect();
            all.join(" ")
        });
        let rows = [
            (
                "server_name",
                hello.server_name().map_or_else(none, str::to_owned),
            ),
            ("alpn", self.alpn().map_or_else(none, |all| all.join(" "))),
            ("encrypted_client_hello", ech),
            (
                "supported_versions",
                self.versions().map_or_else(none, |all| all.join(" ")),
            ),
            ("key_share groups", groups.unwrap_or_else(none)),
            (
                "pre_shared_key",
                if hello.has_pre_shared_key() {
                    "yes"
                } else {
                    "no"
                }
                .to_owned(),
            ),
            ("random", HEXLOWER.encode(&hello.random())),
            ("extensions", hello.extensions().len().to_string()),
        ];
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|(name, value)| vec![format!("   {name}"), value])
            .collect();
        format!(
            "ClientHello, {} bytes\n{}",
            hello.bytes().len(),
            output::table(&rows)
        )
    }
}
