//! What a server answered in the clear: ServerHello, HelloRetryRequest, alerts.

use echkit_proto::accept::{SERVER_HELLO, is_hello_retry_request};
use echkit_proto::codec::Reader;
use echkit_proto::hello::{HANDSHAKE_HEADER_LEN, extension, handshake_len};
use echkit_proto::tls_record::{ALERT, APPLICATION_DATA, HANDSHAKE, RecordHeader, whole_records};
use serde::Serialize;

use super::names;

/// What a server sent that everyone can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServerAnswer {
    /// It wants another ClientHello (RFC 8446 §4.1.4).
    HelloRetryRequest {
        /// The group that it wants a key share of.
        group: Option<String>,
        /// Whether it has an `encrypted_client_hello` extension: so it does when the offer was
        /// accepted (RFC 9849 §7.2.1).
        ech: bool,
    },
    /// A ServerHello.
    ServerHello {
        /// The version chosen.
        version: String,
        /// The cipher suite chosen.
        cipher_suite: String,
        /// The group of its key share.
        group: Option<String>,
    },
    /// An alert that is not encrypted.
    Alert {
        /// Such as `handshake_failure`.
        description: String,
    },
    /// Records that only the peers can read.
    Encrypted {
        /// How many.
        records: usize,
        /// Their bytes, headers included.
        bytes: usize,
    },
    /// Something that is not TLS.
    NotTls {
        /// How many bytes.
        bytes: usize,
    },
}

/// Reads what a server sent, in order.
pub(super) fn answers(received: &[u8]) -> Vec<ServerAnswer> {
    let mut answers = Vec::new();
    let mut message = Vec::new();
    let mut records = whole_records(received);
    loop {
        if RecordHeader::read(records.rest()).is_some_and(|header| !header.is_tls()) {
            let bytes = records.rest().len();
            answers.push(ServerAnswer::NotTls { bytes });
            return answers;
        }
        let Some(record) = records.next() else {
            return answers;
        };
        match record.header.content_type {
            HANDSHAKE => {
                message.extend_from_slice(record.content());
                while let Some(len) = handshake_len(&message).filter(|len| *len <= message.len()) {
                    let rest = message.split_off(len);
                    answers.extend(hello(&message));
                    message = rest;
                }
            }
            ALERT => {
                if let [_, description] = *record.content() {
                    let description = names::alert(description);
                    answers.push(ServerAnswer::Alert { description });
                }
            }
            APPLICATION_DATA => match answers.last_mut() {
                Some(ServerAnswer::Encrypted { records, bytes }) => {
                    *records += 1;
                    *bytes += record.bytes.len();
                }
                _ => answers.push(ServerAnswer::Encrypted {
                    records: 1,
                    bytes: record.bytes.len(),
                }),
            },
            _ => {}
        }
    }
}

fn hello(message: &[u8]) -> Option<ServerAnswer> {
    if message.first() != Some(&SERVER_HELLO) {
        return None;
    }
    let mut reader = Reader::new(&message[HANDSHAKE_HEADER_LEN..]);
    let mut version = reader.u16().ok()?;
    reader.bytes(32).ok()?;
    reader.vec8().ok()?;
    let suite = reader.u16().ok()?;
    reader.u8().ok()?;
    let mut group = None;
    let mut ech = false;
    let mut extensions = Reader::new(reader.vec16().unwrap_or_default());
    while let (Ok(kind), Ok(body)) = (extensions.u16(), extensions.vec16()) {
        let mut body = Reader::new(body);
        match kind {
            extension::SUPPORTED_VERSIONS => version = body.u16().unwrap_or(version),
            extension::KEY_SHARE => group = body.u16().ok().map(names::group),
            extension::ENCRYPTED_CLIENT_HELLO => ech = true,
            _ => {}
        }
    }
    Some(match is_hello_retry_request(message) {
        true => ServerAnswer::HelloRetryRequest { group, ech },
        false => ServerAnswer::ServerHello {
            version: names::version(version),
            cipher_suite: names::cipher_suite(suite),
            group,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_and_foreign_answers_are_read_as_far_as_they_go() {
        assert!(answers(&[]).is_empty());
        assert!(answers(&[22, 3, 3, 0, 9, 2]).is_empty());
        assert_eq!(
            answers(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            [ServerAnswer::NotTls { bytes: 28 }]
        );
        assert_eq!(
            answers(&[0, 0, 0, 0, 0]),
            [ServerAnswer::NotTls { bytes: 5 }]
        );
        let expected = ServerAnswer::Alert {
            description: "handshake_failure".to_owned(),
        };
        assert_eq!(answers(&[21, 3, 3, 0, 2, 2, 40, 23, 3]), [expected]);
        // A ServerHello that ends inside its random.
        assert!(answers(&[22, 3, 3, 0, 6, 2, 0, 0, 2, 3, 3]).is_empty());
    }
}
