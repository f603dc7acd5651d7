//! `ech decode --pcap`: the ClientHellos in a capture file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use echkit_check::{CaptureReadError, CapturedEch, CapturedHello, CapturedHellos, captured_hellos};
use serde_json::json;

use crate::commands::check::wrapped;
use crate::failure::Failure;
use crate::output;

/// A key log that is read at most.
const MAX_KEY_LOG: u64 = 64 << 20;

pub(super) fn run(path: &Path, key_log: Option<&Path>, as_json: bool) -> Result<(), Failure> {
    let key_log = match key_log {
        Some(path) => read_key_log(path)?,
        None => String::new(),
    };
    let found = match path.as_os_str() == "-" {
        true => captured_hellos(io::stdin(), &key_log),
        false => captured_hellos(open(path)?, &key_log),
    };
    let found = found.map_err(|error| {
        let message = format!("{}: {error}", path.display());
        match error {
            CaptureReadError::Read => Failure::read(message),
            _ => Failure::content(message),
        }
    })?;
    match as_json {
        true => {
            let mut document = json!(found);
            document["kind"] = json!("capture");
            output::json(&document)
        }
        false => output::stdout(text(&found).as_bytes()),
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path)
        .map_err(|error| Failure::read(format!("cannot read {}: {error}", path.display())))
}

fn read_key_log(path: &Path) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::read(format!("cannot read {}: {error}", path.display()))
    };
    let mut bytes = Vec::new();
    let read = open(path)?.take(MAX_KEY_LOG + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed(&error))?;
    if bytes.len() as u64 > MAX_KEY_LOG {
        return Err(failed(
            &"longer than 64 MiB; give the part about this capture",
        ));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn text(found: &CapturedHellos) -> String {
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let mut out = format!(
        "{} in {} packets\n",
        counted(found.hellos.len(), "ClientHello"),
        found.packets
    );
    for hello in &found.hellos {
        out.push_str(&hello_text(hello));
    }
    if found.left_out > 0 {
        let line = format!(
            "{} connections were not followed: give a capture with fewer",
            found.left_out
        );
        out.push_str(&wrapped(&line, ""));
    }
    if let Some(why) = &found.cut {
        out.push_str(&wrapped(&format!("Not read to the end: {why}"), ""));
    }
    out
}

fn hello_text(hello: &CapturedHello) -> String {
    let second = match hello.number {
        1 => String::new(),
        number => format!(", ClientHello {number} of the connection"),
    };
    let mut out = format!(
        "\npacket {}: {} to {}, {} bytes{second}\n",
        hello.packet, hello.client, hello.server, hello.len
    );
    let name = hello.server_name.as_deref().unwrap_or("none");
    out.push_str(&wrapped(&format!("server_name: {name}"), "  "));
    if let Some(alpn) = &hello.alpn {
        out.push_str(&wrapped(&format!("alpn: {}", alpn.join(" ")), "  "));
    }
    let mut ech = hello.ech.words();
    if let CapturedEch::Real {
        alpn: Some(alpn), ..
    } = &hello.ech
    {
        ech.push_str(&format!(", alpn inside: {}", alpn.join(" ")));
    }
    out.push_str(&wrapped(&format!("ECH: {ech}"), "  "));
    out
}
