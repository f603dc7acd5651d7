//! Changes to hellos on their way.

use echkit_proto::hello::ClientHello;
use echkit_proto::hello::HelloReader;
use echkit_proto::tls_record::wrap_handshake;

use super::{SECRET, connect};

/// The config_id lies six bytes into the ECH extension: type, length, ECHClientHelloType, suite.
pub fn rename_config_id(mut wire: Vec<u8>, id: u8) -> Vec<u8> {
    let at = ech_extension_at(&wire);
    wire[at + 9] = id;
    wire
}

pub fn ech_extension_at(wire: &[u8]) -> usize {
    let (_, hello) = HelloReader::default().read(wire).unwrap();
    let hello = ClientHello::parse(hello.unwrap()).unwrap();
    let found = hello
        .extensions()
        .iter()
        .find(|e| e.kind == 0xfe0d)
        .unwrap();
    // One record: its header comes before the message.
    found.whole().start + 5
}

pub fn first_flight(client: rustls::ClientConfig) -> Vec<u8> {
    let mut wire = Vec::new();
    connect(client, SECRET).write_tls(&mut wire).unwrap();
    wire
}

/// The hello with its ECH extension's body replaced, lengths corrected.
pub fn with_ech_body(wire: &[u8], body: &[u8]) -> Vec<u8> {
    with_extensions(wire, |kind, whole| match kind {
        0xfe0d => ech_extension(body),
        _ => whole.to_vec(),
    })
}

/// The hello with an ECH extension before all others.
pub fn with_added_ech(wire: &[u8], body: &[u8]) -> Vec<u8> {
    let mut added = Some(ech_extension(body));
    with_extensions(wire, |_, whole| {
        [&added.take().unwrap_or_default()[..], whole].concat()
    })
}

/// The hello without its ECH extension.
pub fn without_ech(wire: &[u8]) -> Vec<u8> {
    with_extensions(wire, |kind, whole| match kind {
        0xfe0d => Vec::new(),
        _ => whole.to_vec(),
    })
}

fn ech_extension(body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u16).to_be_bytes();
    [&[0xfe, 0x0d], &len[..], body].concat()
}

fn with_extensions(wire: &[u8], mut change: impl FnMut(u16, &[u8]) -> Vec<u8>) -> Vec<u8> {
    let (_, hello) = HelloReader::default().read(wire).unwrap();
    let hello = ClientHello::parse(hello.unwrap()).unwrap();
    let mut block = Vec::new();
    for extension in hello.extensions() {
        block.extend(change(extension.kind, &hello.bytes()[extension.whole()]));
    }
    let start = hello.extensions()[0].whole().start;
    let mut message = hello.bytes()[..start - 2].to_vec();
    message.extend_from_slice(&(block.len() as u16).to_be_bytes());
    message.extend(block);
    let len = message.len() as u32 - 4;
    message[1..4].copy_from_slice(&len.to_be_bytes()[1..]);
    wrap_handshake(&message, 16384)
}
