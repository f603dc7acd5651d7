//! `ech decode`: what stands in an ECHConfigList, an HTTPS record or a ClientHello.

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use echkit_proto::config::{EchConfig, EchConfigList};
use echkit_proto::key::EchKeyFile;
use echkit_proto::svcb::Record;
use serde_json::{Value, json};

use crate::cli::{DecodeArgs, DecodeKind};
use crate::failure::Failure;
use crate::input;
use crate::output;

pub(crate) fn run(args: DecodeArgs) -> Result<(), Failure> {
    let bytes = input::text_or_file(&args.input)?;
    let decoded = decode(&bytes, args.kind)?;
    if args.json {
        return output::json(&decoded.json());
    }
    output::stdout(decoded.text().as_bytes())
}

/// What the input turned out to be.
enum Decoded {
    List {
        list: EchConfigList,
        private_key: bool,
    },
    Record(Record),
    Hello(hello::Summary),
}

fn decode(bytes: &[u8], kind: DecodeKind) -> Result<Decoded, Failure> {
    let text = std::str::from_utf8(bytes).ok().map(str::trim);
    if bytes.is_empty() || text == Some("") {
        return Err(Failure::content("there is nothing to decode"));
    }
    match kind {
        DecodeKind::Config => config(bytes, text),
        DecodeKind::Record => record(text),
        DecodeKind::Hello => hello(bytes, text),
        DecodeKind::Auto => auto(bytes, text),
    }
}

fn auto(bytes: &[u8], text: Option<&str>) -> Result<Decoded, Failure> {
    let looks_like_record = text.is_some_and(|t| {
        let first = t.split_ascii_whitespace().next().unwrap_or_default();
        t.contains(char::is_whitespace)
            && !t.contains("-----BEGIN")
            && (first == "\\#" || first.ends_with('.') || first.parse::<u16>().is_ok())
    });
    if looks_like_record {
        return record(text);
    }
    // A ClientHello begins with its type and length, 1 and 0, or a handshake record; an
    // ECHConfigList with a length and a version.
    let raw = packed(bytes, text);
    match raw.as_deref() {
        Some([1, 0, ..] | [0x16, 3, ..]) => hello(bytes, text),
        _ => config(bytes, text),
    }
}

/// Bytes out of base64 or hexadecimal, or the input itself where it is no text.
fn packed(bytes: &[u8], text: Option<&str>) -> Option<Vec<u8>> {
    let Some(text) = text else {
        return Some(bytes.to_vec());
    };
    let packed: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    HEXLOWER_PERMISSIVE
        .decode(&packed)
        .or_else(|_| BASE64.decode(&packed))
        .ok()
}

fn config(bytes: &[u8], text: Option<&str>) -> Result<Decoded, Failure> {
    let bad =
        |error: &dyn std::fmt::Display| Failure::content(format!("not an ECHConfigList: {error}"));
    let list = match text {
        Some(pem) if pem.contains("-----BEGIN") => {
            let file = EchKeyFile::from_pem(pem)
                .map_err(|error| Failure::content(format!("not an ECH key file: {error}")))?;
            return Ok(Decoded::List {
                list: file.list().clone(),
                private_key: !file.keys().is_empty(),
            });
        }
        Some(text) => EchConfigList::from_text(text).map_err(|e| bad(&e))?,
        None => EchConfigList::parse(bytes).map_err(|e| bad(&e))?,
    };
    Ok(Decoded::List {
        list,
        private_key: false,
    })
}

fn record(text: Option<&str>) -> Result<Decoded, Failure> {
    let text = text.ok_or_else(|| Failure::content("an HTTPS record is text, this is not"))?;
    // `dig` and zone files have owner, TTL, class and type before the data.
    let data = text
        .split_once("HTTPS")
        .or_else(|| text.split_once("TYPE65"))
        .map_or(text, |(_, data)| data.trim());
    data.parse()
        .map(Decoded::Record)
        .map_err(|error| Failure::content(format!("not an HTTPS record: {error}")))
}

fn hello(bytes: &[u8], text: Option<&str>) -> Result<Decoded, Failure> {
    let raw = packed(bytes, text)
        .ok_or_else(|| Failure::content("a ClientHello is given in hex, base64 or binary"))?;
    hello::Summary::read(&raw).map(Decoded::Hello)
}

impl Decoded {
    fn json(&self) -> Value {
        match self {
            Self::List { list, private_key } => {
                let mut value = list_json(list);
                value["kind"] = json!("ech_config_list");
                value["private_key"] = json!(private_key);
                value
            }
            Self::Record(record) => json!({
                "kind": "https_record",
                "priority": record.priority,
                "mode": if record.is_alias() { "alias" } else { "service" },
                "target": record.target.to_string(),
                "presentation": record.to_string(),
                "mandatory": record.params.mandatory.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "alpn": record.params.alpn.iter().map(|id| id.escape_ascii().to_string()).collect::<Vec<_>>(),
                "no_default_alpn": record.params.no_default_alpn,
                "port": record.params.port,
                "ipv4hint": record.params.ipv4hint,
                "ipv6hint": record.params.ipv6hint,
                "dohpath": record.params.dohpath,
                "other": record.params.other.iter()
                    .map(|(key, value)| (key.to_string(), json!(HEXLOWER.encode(value))))
                    .collect::<serde_json::Map<_, _>>(),
                "ech": record.params.ech.as_ref().map(EchConfigList::to_base64),
                "ech_config_list": record.params.ech.as_ref().map(list_json),
            }),
            Self::Hello(hello) => hello.json(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::List { list, private_key } => {
                let mut out = list_text(list);
                if *private_key {
                    out.push_str("The file holds the private key.\n");
                }
                out
            }
            Self::Record(record) => {
                let mut out = format!("{record}\n");
                if let Some(list) = &record.params.ech {
                    out.push_str(&list_text(list));
                }
                out
            }
            Self::Hello(hello) => hello.text(),
        }
    }
}

fn list_json(list: &EchConfigList) -> Value {
    json!({
        "ech": list.to_base64(),
        "configs": list.configs().iter().map(config_json).collect::<Vec<_>>(),
        "chosen": list.select().chosen.map(|chosen| json!({
            "index": chosen.index(),
            "suite": chosen.suite().to_string(),
        })),
    })
}

fn config_json(config: &EchConfig) -> Value {
    let why_not = config.why_not().map(|why| why.to_string());
    let mut value = json!({
        "version": format!("0x{:04x}", config.version()),
        "config_id": config.config_id(),
        "usable": why_not.is_none(),
        "why_not": why_not,
    });
    if let Some(contents) = config.contents() {
        value["kem"] = json!(contents.kem.to_string());
        value["public_key"] = json!(HEXLOWER.encode(&contents.public_key));
        value["suites"] = contents
            .cipher_suites
            .iter()
            .map(ToString::to_string)
            .collect();
        value["maximum_name_length"] = json!(contents.maximum_name_length);
        value["public_name"] = json!(contents.public_name.to_string());
        value["extensions"] = contents
            .extensions
            .iter()
            .map(|e| {
                json!({
                    "number": format!("0x{:04x}", e.number),
                    "mandatory": e.is_mandatory(),
                    "data": HEXLOWER.encode(&e.data),
                })
            })
            .collect();
    }
    value
}

fn list_text(list: &EchConfigList) -> String {
    let style = output::Style::stdout();
    let selection = list.select();
    let mut out = format!(
        "ECHConfigList, {} bytes, {} config(s)\n",
        list.encode().len(),
        list.configs().len()
    );
    for (i, (config, verdict)) in list.configs().iter().zip(&selection.verdicts).enumerate() {
        let mark = match (&verdict.why_not, &selection.chosen) {
            (Some(why), _) => style.bad(&format!("passed over: {why}")),
            (None, Some(chosen)) if chosen.index() == i => style.good(&format!(
                "a client offers this one, with {}",
                chosen.suite()
            )),
            (None, _) => "usable".to_owned(),
        };
        out.push_str(&format!(
            "{}. version 0x{:04x}: {mark}\n",
            i + 1,
            config.version()
        ));
        let Some(c) = config.contents() else { continue };
        let suites: Vec<String> = c.cipher_suites.iter().map(ToString::to_string).collect();
        let mut rows = vec![
            ["config_id", &c.config_id.to_string()].map(str::to_owned),
            ["public_name", &c.public_name.to_string()].map(str::to_owned),
            ["KEM", &c.kem.to_string()].map(str::to_owned),
            ["suites", &suites.join("  ")].map(str::to_owned),
            ["maximum_name_length", &c.maximum_name_length.to_string()].map(str::to_owned),
            ["public_key", &HEXLOWER.encode(&c.public_key)].map(str::to_owned),
        ];
        rows.extend(c.extensions.iter().map(|e| {
            let kind = if e.is_mandatory() {
                "mandatory extension"
            } else {
                "extension"
            };
            [
                format!("{kind} 0x{:04x}", e.number),
                HEXLOWER.encode(&e.data),
            ]
        }));
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|[name, value]| vec![format!("   {name}"), value])
            .collect();
        out.push_str(&output::table(&rows));
    }
    out
}

mod hello;
