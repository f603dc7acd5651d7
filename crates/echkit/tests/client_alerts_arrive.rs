//! The alert that ends a handshake reaches a server that writes first and reads late.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use echkit::{Client, EchMode, ErrorKind};
use echkit_proto::tls_record::{RECORD_HEADER_LEN, RecordHeader};
use echkit_test::lab::{HIDDEN, PUBLIC, Pki, ech_key, list};
use rustls::ServerConnection;

/// A server that finishes its handshake, writes tickets and data, waits, and only then reads what
/// follows the client's Finished.
fn late_reader(pki: &Pki) -> (SocketAddr, JoinHandle<Result<usize, rustls::Error>>) {
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
        // Long enough for a reset to come back, if the client's socket is gone.
        for _ in 0..3 {
            connection.writer().write_all(b"too early").unwrap();
            while connection.wants_write() {
                connection.write_tls(&mut tcp).unwrap();
            }
            std::thread::sleep(Duration::from_millis(50));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ech_required_reaches_a_server_that_writes_first_and_reads_late() {
    let pki = Pki::new();
    let (address, served) = late_reader(&pki);
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
    let served = tokio::task::spawn_blocking(|| served.join().unwrap()).await;
    let alert = served.unwrap().unwrap_err();
    assert_eq!(
        alert,
        rustls::Error::AlertReceived(rustls::AlertDescription::EncryptedClientHelloRequired)
    );
}
