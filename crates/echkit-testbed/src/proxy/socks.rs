//! Proxies that speak SOCKS5 (RFC 1928), with user and password (RFC 1929).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::capture::ProxyEntry;
use super::destination::destination;
use super::habit::{PROXY_PASSWORD, PROXY_USER, ProxyHabit};
use super::tunnel::{Stream, end_with, tunnel, write_dripping};

/// The first byte of a client.
pub(super) const VERSION: u8 = 5;

/// The method of RFC 1929.
const WITH_PASSWORD: u8 = 2;
/// No method that the proxy accepts.
const NO_METHOD: u8 = 0xff;

const SUCCEEDED: u8 = 0;
const CONNECTION_REFUSED: u8 = 5;

/// Serves the connection of a client whose first byte has been read.
pub(super) async fn serve(
    mut client: impl Stream,
    habit: ProxyHabit,
    entry: &ProxyEntry,
) -> io::Result<()> {
    let methods = counted(&mut client).await?;
    if matches!(habit, ProxyHabit::Password | ProxyHabit::PasswordInVain) {
        if !methods.contains(&WITH_PASSWORD) {
            return end_with(client, &[VERSION, NO_METHOD]).await;
        }
        client.write_all(&[VERSION, WITH_PASSWORD]).await?;
        client.read_u8().await?;
        let user = counted(&mut client).await?;
        let password = counted(&mut client).await?;
        let known = user == PROXY_USER.as_bytes() && password == PROXY_PASSWORD.as_bytes();
        if !known || habit == ProxyHabit::PasswordInVain {
            return end_with(client, &[1, 1]).await;
        }
        client.write_all(&[1, 0]).await?;
    } else {
        client.write_all(&[VERSION, 0]).await?;
    }
    client.flush().await?;

    let (host, port) = target(&mut client).await?;
    entry.asked(&format!("{host}:{port}"));
    match habit {
        ProxyHabit::ClosesWhenAsked => return Ok(()),
        ProxyHabit::Slow(pause) => tokio::time::sleep(pause).await,
        _ => {}
    }
    let place = match destination(habit, &host, port) {
        Ok(place) => place,
        Err(refusal) => return end_with(client, &reply(refusal.reply())).await,
    };
    let Ok(tcp) = TcpStream::connect(place).await else {
        return end_with(client, &reply(CONNECTION_REFUSED)).await;
    };
    tcp.set_nodelay(true)?;
    let server = entry.tap_server(tcp);
    let mut answer = reply(SUCCEEDED).to_vec();
    match habit {
        ProxyHabit::Drips => write_dripping(&mut client, &answer).await?,
        ProxyHabit::TalksFirst => {
            answer.extend_from_slice(b"hello");
            client.write_all(&answer).await?;
        }
        _ => client.write_all(&answer).await?,
    }
    client.flush().await?;
    tunnel(client, server, habit).await
}

/// The host and port of a request (RFC 1928 §4).
async fn target(client: &mut (impl AsyncRead + Unpin)) -> io::Result<(String, u16)> {
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => Ipv4Addr::from(client.read_u32().await?).to_string(),
        4 => format!("[{}]", Ipv6Addr::from(client.read_u128().await?)),
        _ => String::from_utf8(counted(client).await?).map_err(io::Error::other)?,
    };
    Ok((host, client.read_u16().await?))
}

/// A reply without the address that the proxy connected from.
fn reply(code: u8) -> [u8; 10] {
    [VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// Bytes after their count.
async fn counted(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let count = stream.read_u8().await?;
    let mut bytes = vec![0; usize::from(count)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}
