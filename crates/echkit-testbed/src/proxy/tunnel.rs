//! Tunnels, and what odd and hostile proxies do to them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, copy_bidirectional};

use super::habit::ProxyHabit;

/// The byte of what a server sends that [`ProxyHabit::Tampers`] changes: within its ServerHello.
const CHANGED: usize = 60;

/// What the two ends of a tunnel are.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Passes bytes in both directions.
pub(super) async fn tunnel(
    mut client: impl Stream,
    mut server: impl Stream,
    habit: ProxyHabit,
) -> io::Result<()> {
    match habit {
        ProxyHabit::ClosesMidTunnel { after } => {
            let (mut from_client, mut to_client) = tokio::io::split(&mut client);
            let (from_server, mut to_server) = tokio::io::split(&mut server);
            let mut few = from_server.take(after.saturating_sub(1));
            let down = async {
                copy(&mut few, &mut to_client).await?;
                to_client.flush().await?;
                few.into_inner().read_u8().await.map(drop)
            };
            let up = async {
                copy(&mut from_client, &mut to_server).await?;
                std::future::pending().await
            };
            tokio::select! {
                ended = up => ended,
                ended = down => ended,
            }
        }
        ProxyHabit::Drips => {
            let (from_client, to_client) = tokio::io::split(client);
            let (from_server, to_server) = tokio::io::split(server);
            tokio::try_join!(drip(from_client, to_server), drip(from_server, to_client)).map(drop)
        }
        ProxyHabit::Tampers => {
            let (mut from_client, mut to_client) = tokio::io::split(client);
            let (mut from_server, mut to_server) = tokio::io::split(server);
            let changed = async {
                let mut first = [0; CHANGED];
                from_server.read_exact(&mut first).await?;
                first[CHANGED - 1] ^= 1;
                to_client.write_all(&first).await?;
                copy(&mut from_server, &mut to_client).await
            };
            tokio::try_join!(copy(&mut from_client, &mut to_server), changed).map(drop)
        }
        _ => copy_bidirectional(&mut client, &mut server).await.map(drop),
    }
}

/// Writes one byte at a time, up to the end.
async fn drip(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        write_dripping(&mut to, &buffer[..length]).await?;
    }
}

pub(super) async fn write_dripping(
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> io::Result<()> {
    for byte in bytes {
        to.write_u8(*byte).await?;
        to.flush().await?;
    }
    Ok(())
}

/// Sends what ends a conversation. The rest is read: closed before it is, the connection would be
/// reset, and with it what was sent.
pub(super) async fn end_with(mut client: impl Stream, bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes).await?;
    client.flush().await?;
    read_on(client).await
}

pub(super) async fn read_on(mut client: impl Stream) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    while client.read(&mut buffer).await? > 0 {}
    Ok(())
}
