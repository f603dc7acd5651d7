//! The same answers over TLS (RFC 7858).

use std::net::SocketAddr;

use futures_util::poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::accept::each_connection;
use crate::dns::Authority;

/// The protocol's name in TLS.
pub(crate) const ALPN: &[u8] = b"dot";

/// Answers under way per connection; more questions are left unread until then.
const ANSWERS: usize = 64;

/// Serves until aborted; its connections end with it.
pub(crate) async fn serve(listener: TcpListener, tls: TlsAcceptor, authority: Authority) {
    each_connection(listener, |tcp, client| {
        let (tls, authority) = (tls.clone(), authority.clone());
        async move {
            if let Ok(stream) = tls.accept(tcp).await {
                // The peer may leave whenever it likes.
                let _ = converse(stream, client, &authority).await;
            }
        }
    })
    .await;
}

/// Reads questions and writes each answer as soon as it is there (RFC 7766 §6.2.1.1).
async fn converse(
    stream: TlsStream<TcpStream>,
    client: SocketAddr,
    authority: &Authority,
) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (answers, mut ready) = mpsc::channel::<Vec<u8>>(ANSWERS);
    let read = async move {
        let mut running = JoinSet::new();
        while let Ok(length) = reader.read_u16().await {
            let mut query = vec![0; usize::from(length)];
            reader.read_exact(&mut query).await?;
            let (authority, answers) = (authority.clone(), answers.clone());
            let mut answering = Box::pin(async move {
                if let Ok(Some(answer)) = authority.answer(query, client).await {
                    let _ = answers.send(answer).await;
                }
            });
            // What is there at once is answered in the order of the questions.
            if poll!(&mut answering).is_pending() {
                running.spawn(answering);
            }
            while running.try_join_next().is_some() {}
            if running.len() >= ANSWERS {
                running.join_next().await;
            }
        }
        running.join_all().await;
        Ok(())
    };
    let write = async {
        while let Some(answer) = ready.recv().await {
            let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
            let message = [&length.to_be_bytes()[..], &answer].concat();
            writer.write_all(&message).await?;
            writer.flush().await?;
        }
        writer.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}
