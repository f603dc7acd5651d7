//! `ech decode`: the contents of an ECHConfigList, an HTTPS record or a ClientHello.

use data_encoding::HEXLOWER;
use echkit_proto::config::{
    ConfigInputError, ConfigListForm, ConfigListInput, EchConfig, EchConfigList,
};
use echkit_proto::encoding::{self, Encoding};
use echkit_proto::key::EchKeyFile;
use echkit_proto::pem;
use echkit_proto::svcb::{Record, looks_like_records, record_lines};
use serde_json::{Value, json};

use crate::cli::{DecodeArgs, DecodeKind};
use crate::failure::Failure;
use crate::input;
use crate::output;

pub(crate) fn run(args: DecodeArgs) -> Result<(), Failure> {
    if let Some(path) = &args.pcap {
        return pcap::run(path, args.keylog.as_deref(), args.json);
    }
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
        form: ConfigListForm,
        private_key: bool,
    },
    /// At least one.
    Records(Vec<OwnedRecord>),
    Hello(hello::Summary),
}

/// A record, with its owner where the input names one.
struct OwnedRecord {
    owner: Option<String>,
    record: Record,
}

fn decode(bytes: &[u8], kind: DecodeKind) -> Result<Decoded, Failure> {
    if bytes.trim_ascii().is_empty() {
        return Err(Failure::content(
            "nothing to decode: give an ECHConfigList, an HTTPS record or a ClientHello",
        ));
    }
    if matches!(kind, DecodeKind::Auto | DecodeKind::Record)
        && let Some(lines) = text(bytes).and_then(dns_json::lines)
    {
        return records(lines.as_bytes());
    }
    match kind {
        DecodeKind::Config => config(bytes),
        DecodeKind::Record => records(bytes),
        DecodeKind::Hello => hello(bytes),
        DecodeKind::Auto => auto(bytes),
    }
}

fn auto(bytes: &[u8]) -> Result<Decoded, Failure> {
    if pem::blocks(bytes).next().is_some() {
        return config(bytes);
    }
    if text(bytes).is_some_and(looks_like_records) {
        return records(bytes);
    }
    match ConfigListInput::read(bytes) {
        Ok(input) if !matches!(input.form, ConfigListForm::Rdata(_)) => Ok(input.into()),
        Ok(_) | Err(ConfigInputError::NoEch(_)) => records(bytes),
        Err(_) if is_hello(bytes) => hello(bytes),
        Err(error) => Err(not_a_list(&error)),
    }
}

/// The input as text, where it is some.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.trim_start_matches('\u{feff}').trim())
}

/// Whether the bytes begin as a ClientHello does, with its type and length or with a TLS record.
fn is_hello(bytes: &[u8]) -> bool {
    encoding::readings(bytes).is_ok_and(|readings| {
        readings
            .iter()
            .any(|reading| matches!(reading.bytes.as_slice(), [1, 0, ..] | [0x16, 3, ..]))
    })
}

fn not_a_list(error: &ConfigInputError) -> Failure {
    Failure::content(format!("not an ECHConfigList: {error}"))
}

fn config(bytes: &[u8]) -> Result<Decoded, Failure> {
    let input = ConfigListInput::read(bytes).map_err(|error| not_a_list(&error))?;
    let private_key = input.form == ConfigListForm::Pem
        && EchKeyFile::from_pem(bytes).is_ok_and(|file| !file.keys().is_empty());
    Ok(Decoded::List {
        list: input.list,
        form: input.form,
        private_key,
    })
}

fn records(bytes: &[u8]) -> Result<Decoded, Failure> {
    let bad =
        |error: &dyn std::fmt::Display| Failure::content(format!("not an HTTPS record: {error}"));
    let text = text(bytes);
    if !text.is_some_and(looks_like_records)
        && let Ok(readings) = encoding::readings(bytes)
    {
        let mut first_error = None;
        for reading in readings {
            match Record::parse(&reading.bytes) {
                Ok(record) => {
                    let owner = None;
                    return Ok(Decoded::Records(vec![OwnedRecord { owner, record }]));
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let Some(error) = first_error {
            return Err(bad(&error));
        }
    }
    let lines = record_lines(text.unwrap_or_default()).map_err(|error| bad(&error))?;
    let records: Vec<_> = lines
        .into_iter()
        .map(|line| OwnedRecord {
            owner: line.owner,
            record: line.record,
        })
        .collect();
    match records.is_empty() {
        true => Err(Failure::content("there is no HTTPS record in it")),
        false => Ok(Decoded::Records(records)),
    }
}

fn hello(bytes: &[u8]) -> Result<Decoded, Failure> {
    let readings = encoding::readings(bytes)
        .map_err(|error| Failure::content(format!("not a ClientHello: {error}")))?;
    let mut error = None;
    for reading in readings {
        match hello::Summary::read(&reading.bytes) {
            Ok(hello) => return Ok(Decoded::Hello(hello)),
            Err(other) => error = error.or(Some(other)),
        }
    }
    Err(error.unwrap_or_else(|| Failure::content("not a ClientHello")))
}

impl From<ConfigListInput> for Decoded {
    fn from(input: ConfigListInput) -> Self {
        Self::List {
            list: input.list,
            form: input.form,
            private_key: false,
        }
    }
}

fn form_json(form: ConfigListForm) -> Value {
    let (name, encoding) = match form {
        ConfigListForm::List(encoding) => ("list", Some(encoding)),
        ConfigListForm::Configs(encoding) => ("configs", Some(encoding)),
        ConfigListForm::Rdata(encoding) => ("rdata", Some(encoding)),
        ConfigListForm::Record => ("record", None),
        ConfigListForm::Pem => ("pem", None),
        _ => ("other", None),
    };
    json!({ "name": name, "encoding": encoding.map(|encoding: Encoding| encoding.to_string()) })
}

impl Decoded {
    fn json(&self) -> Value {
        match self {
            Self::List {
                list,
                form,
                private_key,
            } => {
                let mut value = list_json(list);
                value["kind"] = json!("ech_config_list");
                value["form"] = form_json(*form);
                value["private_key"] = json!(private_key);
                value
            }
            Self::Records(records) => match records.as_slice() {
                [one] => record_json(&one.record),
                several => json!({
                    "kind": "https_records",
                    "records": several.iter().map(|owned| {
                        let mut value = record_json(&owned.record);
                        value["owner"] = json!(owned.owner);
                        value
                    }).collect::<Vec<_>>(),
                }),
            },
            Self::Hello(hello) => hello.json(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::List {
                list,
                form,
                private_key,
            } => {
                let mut out = format!("Read as {form}.\n{}", list_text(list));
                if *private_key {
                    out.push_str("The file holds the private key.\n");
                }
                out
            }
            Self::Records(records) => records.iter().map(record_text).collect(),
            Self::Hello(hello) => hello.text(),
        }
    }
}

fn record_json(record: &Record) -> Value {
    json!({
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
    })
}

fn record_text(owned: &OwnedRecord) -> String {
    let mut out = match &owned.owner {
        Some(owner) => format!("{owner} {}\n", owned.record),
        None => format!("{}\n", owned.record),
    };
    if let Some(list) = &owned.record.params.ech {
        out.push_str(&list_text(list));
    }
    out
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

mod dns_json;
mod hello;
mod pcap;
