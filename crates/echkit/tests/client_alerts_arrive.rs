//! The alert that ends a handshake reaches a server that writes first and reads late.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use echkit::{Client, EchMode, ErrorKind};
use echkit_proto::tls_record::{RECORD_HEADER_LEN, RecordHeader};
use echkit_test::clock::StoppedClock;
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, ech_key, list};
use rustls::ServerConnection;

/// A server that finishes its handshake, writes tickets, waits until it is told that the client has
/// given up, writes data, and only then reads what follows the client's Finished.
fn late_reader(
    pki: &Pki,
    given_up: Receiver<()>,
) -> (SocketAddr, JoinHandle<Result<usize, rustls::Error>>) {
    let mut config = pki.server(&[HIDDEN, PUBLIC]);
    config.send_tls13_tickets = 2;
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(config).unwrap();
        while connection.is_handshaking() {
            read_record(&mut tcp, &mut connection).unwrap()?;
            while connection.wants_write() {
                connection.write_tls(&mut tcp).unwrap();
            }
        }
        given_up.recv().unwrap();
        // If the client's socket is gone, a reset comes back to the first and is met by the others.
        for _ in 0..3 {
            connection.writer().write_all(b"too early").unwrap();
            while connection.wants_write() {
                connection.write_tls(&mut tcp).unwrap();
            }
        }
        loop {
            match read_record(&mut tcp, &mut connection) {
                Ok(read) => read?,
                Err(error) => panic!("the alert did not arrive: {error}"),
            };
        }
    });
    (address, served)
}

/// Reads one record, and no byte of the next.
fn read_record(
    tcp: &mut impl Read,
    connection: &mut ServerConnection,
) -> std::io::Result<Result<usize, rustls::Error>> {
    let mut record = vec![0; RECORD_HEADER_LEN];
    tcp.read_exact(&mut record)?;
    let header = RecordHeader::read(&record).unwrap();
    record.resize(header.record_len(), 0);
    tcp.read_exact(&mut record[RECORD_HEADER_LEN..])?;
    connection.read_tls(&mut &record[..])?;
    Ok(connection.process_new_packets().map(|_| header.len.into()))
}

#[tokio::test]
async fn ech_required_reaches_a_server_that_writes_first_and_reads_late() {
    // However long the server takes, the client's socket lingers.
    let _clock = StoppedClock::new();
    let pki = Pki::new();
    let (give_up, given_up) = mpsc::channel();
    let (address, served) = late_reader(&pki, given_up);
    let client = Client::builder()
        .tls(pki.tls())
        .ech(EchMode::Require)
        .ech_config(list(&ech_key()))
        .connect_to(HIDDEN, 443, "127.0.0.1", address.port())
        .build()
        .unwrap();
    let url = format!("https://{HIDDEN}/");
    let error = client.get(&url).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EchRequired);
    give_up.send(()).unwrap();
    let served = tokio::task::spawn_blocking(|| served.join().unwrap()).await;
    let alert = served.unwrap().unwrap_err();
    assert_eq!(
        alert,
        rustls::Error::AlertReceived(rustls::AlertDescription::EncryptedClientHelloRequired)
    );
}
