//! Proxies that speak HTTP/1.1: CONNECT (RFC 9110 §9.3.6) and absolute-form (RFC 9112 §3.2.2).

use std::io;

use data_encoding::BASE64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::capture::ProxyEntry;
use super::destination::destination;
use super::habit::{PROXY_PASSWORD, PROXY_USER, ProxyHabit};
use super::tunnel::{Stream, end_with, tunnel, write_dripping};

/// The longest head of a request that is read.
const HEAD_LIMIT: usize = 64 * 1024;
/// What fills a long head, in one field.
const FILLER: usize = 20 * 1024;
/// Where an endless head ends, so that no client is fed for ever.
const ENDLESS: usize = 1024 * 1024;

/// Serves the connection of a client whose first byte has been read.
pub(super) async fn serve(
    mut client: impl Stream,
    first: u8,
    habit: ProxyHabit,
    entry: &ProxyEntry,
) -> io::Result<()> {
    let head = head(&mut client, first).await?;
    let Some(request) = Request::parse(&head) else {
        return refuse(client, 400).await;
    };
    entry.asked(request.target);
    match habit {
        ProxyHabit::ClosesWhenAsked => return Ok(()),
        ProxyHabit::PasswordInVain => return refuse(client, 407).await,
        ProxyHabit::Password if !request.knows_password() => return refuse(client, 407).await,
        ProxyHabit::EndlessHead => return endless(client).await,
        ProxyHabit::Slow(pause) => tokio::time::sleep(pause).await,
        _ => {}
    }
    let place = match destination(habit, request.host, request.port) {
        Ok(place) => place,
        Err(refusal) => return refuse(client, refusal.status()).await,
    };
    let Ok(tcp) = TcpStream::connect(place).await else {
        return refuse(client, 502).await;
    };
    tcp.set_nodelay(true)?;
    let mut server = entry.tap_server(tcp);
    match request.method {
        "CONNECT" => {
            let answer = connected(habit);
            match habit {
                ProxyHabit::Drips => write_dripping(&mut client, &answer).await?,
                _ => client.write_all(&answer).await?,
            }
            client.flush().await?;
        }
        _ => {
            server
                .write_all(request.in_origin_form().as_bytes())
                .await?
        }
    }
    tunnel(client, server, habit).await
}

/// Reads a request's head up to its empty line.
async fn head(client: &mut (impl AsyncReadExt + Unpin), first: u8) -> io::Result<String> {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_LIMIT {
            return Err(io::Error::other("the head of the request is too long"));
        }
        head.push(client.read_u8().await?);
    }
    String::from_utf8(head).map_err(io::Error::other)
}

/// The answer that a tunnel begins with.
fn connected(habit: ProxyHabit) -> Vec<u8> {
    match habit {
        ProxyHabit::LongHead => {
            let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n".repeat(3);
            let filler = "a".repeat(FILLER);
            // The length counts for nothing in an answer to CONNECT (RFC 9110 §9.3.6).
            let last =
                format!("HTTP/1.1 200 OK\r\nx-filler: {filler}\r\ncontent-length: 3\r\n\r\n");
            format!("{interim}{last}").into_bytes()
        }
        ProxyHabit::TalksFirst => b"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x03".to_vec(),
        _ => b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
    }
}

async fn refuse(client: impl Stream, status: u16) -> io::Result<()> {
    let challenge = match status {
        407 => "proxy-authenticate: Basic realm=\"testbed\"\r\n",
        _ => "",
    };
    let answer = format!("HTTP/1.1 {status} Refused\r\n{challenge}content-length: 2\r\n\r\nno");
    end_with(client, answer.as_bytes()).await
}

async fn endless(mut client: impl Stream) -> io::Result<()> {
    client.write_all(b"HTTP/1.1 200 OK\r\n").await?;
    let field = format!("x-filler: {}\r\n", "a".repeat(1000));
    for _ in 0..ENDLESS / field.len() {
        client.write_all(field.as_bytes()).await?;
    }
    end_with(client, b"\r\n").await
}

/// The head of a request.
struct Request<'a> {
    head: &'a str,
    method: &'a str,
    /// As it was written.
    target: &'a str,
    host: &'a str,
    port: u16,
}

impl<'a> Request<'a> {
    fn parse(head: &'a str) -> Option<Self> {
        let mut line = head.lines().next()?.split(' ');
        let (method, target) = (line.next()?, line.next()?);
        let authority = match method {
            "CONNECT" => target,
            _ => target.strip_prefix("http://")?.split(['/', '?']).next()?,
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, 80),
        };
        Some(Self {
            head,
            method,
            target,
            host,
            port,
        })
    }

    fn knows_password(&self) -> bool {
        let pair = format!("{PROXY_USER}:{PROXY_PASSWORD}");
        let expected = format!("Basic {}", BASE64.encode(pair.as_bytes()));
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields
            .filter(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"))
            .any(|(_, value)| value.trim() == expected)
    }

    /// As it goes to the server: one request for each connection, without what was for the proxy.
    fn in_origin_form(&self) -> String {
        let authority_at = "http://".len();
        let path = self.target[authority_at..].find(['/', '?']);
        let path = path.map_or("/", |at| &self.target[authority_at + at..]);
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut text = format!("{} {slash}{path} HTTP/1.1\r\n", self.method);
        let fields = self.head.lines().skip(1).filter(|line| !line.is_empty());
        for field in fields {
            let name = field.split(':').next().unwrap_or_default();
            let ours = ["proxy-authorization", "proxy-connection", "connection"];
            if !ours.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
                text.push_str(&format!("{field}\r\n"));
            }
        }
        text.push_str("connection: close\r\n\r\n");
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn requests_are_passed_on_in_origin_form_without_what_was_for_the_proxy() {
        for (target, expected) in [
            ("http://a.test:81/b?c", ("a.test", 81, "/b?c")),
            ("http://a.test", ("a.test", 80, "/")),
            ("http://[::1]?c", ("[::1]", 80, "/?c")),
            ("http://[::1]:82/", ("[::1]", 82, "/")),
        ] {
            let head = format!(
                "GET {target} HTTP/1.1\r\nHost: a.test\r\nProxy-Authorization: Basic \
                 dXNlcjpodW50ZXIy\r\nConnection: keep-alive\r\n\r\n"
            );
            let request = Request::parse(&head).unwrap();
            let (host, port, path) = expected;
            assert_eq!((request.host, request.port), (host, port));
            assert!(request.knows_password());
            let passed =
                format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nconnection: close\r\n\r\n");
            assert_eq!(request.in_origin_form(), passed);
        }
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "CONNECT a:b HTTP/1.1\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert!(Request::parse(head).is_none(), "{head}");
        }
    }
}
