//! Proxies on loopback, good, odd and hostile, that keep every byte that passes: HTTP CONNECT and
//! absolute-form, over TCP or TLS, and SOCKS5.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::contains;
use crate::lab::listen;

/// The user and password that [`ProxyHabit::Credentials`] asks for.
pub const USER: &str = "user";
pub const PASSWORD: &str = "hunter2";
const BASIC: &str = "dXNlcjpodW50ZXIy";

/// What a proxy does.
#[derive(Clone, Copy, Debug)]
pub enum ProxyHabit {
    /// Connects to where it is told; every name is at 127.0.0.1.
    Good,
    /// The same, for those who know [`USER`] and [`PASSWORD`].
    Credentials,
    /// Connects to another place than it is told.
    LeadsTo(SocketAddr),
    /// Answers CONNECT with this status, and SOCKS5 with it as the reply code.
    Refuses(u16),
    /// Closes when it is connected to.
    ClosesAtOnce,
    /// Closes when it has been told where to connect to.
    ClosesWhenAsked,
    /// Reads all and says nothing.
    Silent,
    /// Says this when it is spoken to, whatever is said, and reads on.
    Says(&'static [u8]),
}

/// A proxy.
#[derive(Clone, Debug)]
pub struct TestProxy {
    pub address: SocketAddr,
    record: ProxyRecord,
}

/// What passed: the bytes of each connection and direction, and where it was to connect to.
#[derive(Clone, Debug, Default)]
struct ProxyRecord {
    passed: Arc<Mutex<Vec<Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    pub async fn start(habit: ProxyHabit) -> Self {
        Self::launch(habit, None).await
    }

    /// A proxy that is spoken to over TLS.
    pub async fn start_tls(habit: ProxyHabit, config: ServerConfig) -> Self {
        Self::launch(habit, Some(config)).await
    }

    async fn launch(habit: ProxyHabit, tls: Option<ServerConfig>) -> Self {
        let record = ProxyRecord::default();
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let shared = record.clone();
        let address = listen(move |tcp| {
            let (acceptor, record) = (acceptor.clone(), shared.clone());
            async move {
                // Clients that go away are part of what is tested.
                let _ = match acceptor {
                    Some(acceptor) => match acceptor.accept(tcp).await {
                        Ok(stream) => serve(stream, habit, &record).await,
                        Err(error) => Err(error),
                    },
                    None => serve(tcp, habit, &record).await,
                };
            }
        })
        .await;
        Self { address, record }
    }

    /// Its URI.
    pub fn uri(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// Its URI with [`USER`] and [`PASSWORD`].
    pub fn uri_with_credentials(&self, scheme: &str) -> String {
        format!("{scheme}://{USER}:{PASSWORD}@{}", self.address)
    }

    /// Where it was to connect to, in order.
    pub fn asked(&self) -> Vec<String> {
        self.record.asked.lock().unwrap().clone()
    }

    /// Whether `name` can be read in what passed, either way.
    pub fn shows(&self, name: &str) -> bool {
        let passed = self.record.passed.lock().unwrap();
        passed.iter().any(|bytes| contains(bytes, name))
    }

    /// How many bytes it has read from clients and servers.
    pub fn read(&self) -> usize {
        let passed = self.record.passed.lock().unwrap();
        passed.iter().map(Vec::len).sum()
    }
}

impl ProxyRecord {
    fn tap<S>(&self, stream: S) -> Tap<S> {
        let mut passed = self.passed.lock().unwrap();
        passed.push(Vec::new());
        Tap {
            stream,
            passed: Arc::clone(&self.passed),
            index: passed.len() - 1,
        }
    }
}

/// A stream of which all that is read is kept.
struct Tap<S> {
    stream: S,
    passed: Arc<Mutex<Vec<Vec<u8>>>>,
    index: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.passed.lock().unwrap()[self.index].extend_from_slice(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    habit: ProxyHabit,
    record: &ProxyRecord,
) -> io::Result<()> {
    if matches!(habit, ProxyHabit::ClosesAtOnce) {
        return Ok(());
    }
    let mut client = record.tap(stream);
    let first = client.read_u8().await?;
    match habit {
        ProxyHabit::Silent => read_on(client).await,
        ProxyHabit::Says(bytes) => {
            client.write_all(bytes).await?;
            client.flush().await?;
            read_on(client).await
        }
        _ if first == 5 => socks(client, habit, record).await,
        _ => http(client, first, habit, record).await,
    }
}

async fn read_on(mut client: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    while client.read_buf(&mut Vec::with_capacity(4096)).await? > 0 {}
    Ok(())
}

async fn http<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: Tap<S>,
    first: u8,
    habit: ProxyHabit,
    record: &ProxyRecord,
) -> io::Result<()> {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut line = text.split(' ');
    let (method, target) = (line.next().unwrap(), line.next().unwrap());
    record.asked.lock().unwrap().push(target.to_owned());
    let known = text.contains(&format!("\r\nProxy-Authorization: Basic {BASIC}\r\n"))
        || text.contains(&format!("\r\nproxy-authorization: Basic {BASIC}\r\n"));
    match habit {
        ProxyHabit::ClosesWhenAsked => return Ok(()),
        ProxyHabit::Refuses(status) => return refuse(client, status).await,
        ProxyHabit::Credentials if !known => return refuse(client, 407).await,
        _ => {}
    }
    let authority = match method {
        "CONNECT" => target,
        _ => target
            .strip_prefix("http://")
            .and_then(|rest| rest.split('/').next())
            .unwrap(),
    };
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let place = place(habit, host, port.parse().unwrap());
    let Ok(server) = TcpStream::connect(place).await else {
        return refuse(client, 502).await;
    };
    let mut server = record.tap(server);
    match method {
        "CONNECT" => {
            // With an interim answer and a length that counts for nothing (RFC 9110 §9.3.6).
            let answer = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 Connected\r\n\
                           content-length: 3\r\n\r\n";
            client.write_all(answer).await?;
            client.flush().await?;
        }
        _ => server.write_all(&head).await?,
    }
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

async fn refuse(mut client: impl AsyncRead + AsyncWrite + Unpin, status: u16) -> io::Result<()> {
    let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 2\r\n\r\nno");
    client.write_all(answer.as_bytes()).await?;
    client.flush().await?;
    read_on(client).await
}

fn place(habit: ProxyHabit, host: &str, port: u16) -> SocketAddr {
    match habit {
        ProxyHabit::LeadsTo(elsewhere) => elsewhere,
        _ => {
            let address = host.trim_matches(['[', ']']).parse();
            SocketAddr::new(address.unwrap_or(Ipv4Addr::LOCALHOST.into()), port)
        }
    }
}

async fn socks<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: Tap<S>,
    habit: ProxyHabit,
    record: &ProxyRecord,
) -> io::Result<()> {
    let methods = read_counted(&mut client).await?;
    match habit {
        ProxyHabit::Credentials if !methods.contains(&2) => {
            client.write_all(&[5, 0xff]).await?;
            return read_on(client).await;
        }
        ProxyHabit::Credentials => {
            client.write_all(&[5, 2]).await?;
            client.read_u8().await?;
            let user = read_counted(&mut client).await?;
            let password = read_counted(&mut client).await?;
            let known = user == USER.as_bytes() && password == PASSWORD.as_bytes();
            client.write_all(&[1, u8::from(!known)]).await?;
            if !known {
                return read_on(client).await;
            }
        }
        _ => client.write_all(&[5, 0]).await?,
    }
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => Ipv4Addr::from(client.read_u32().await?).to_string(),
        4 => format!("[{}]", Ipv6Addr::from(client.read_u128().await?)),
        _ => String::from_utf8(read_counted(&mut client).await?).unwrap(),
    };
    let port = client.read_u16().await?;
    record.asked.lock().unwrap().push(format!("{host}:{port}"));
    let reply = |code: u8| [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    match habit {
        ProxyHabit::ClosesWhenAsked => return Ok(()),
        ProxyHabit::Refuses(code) => {
            client
                .write_all(&reply(u8::try_from(code).unwrap()))
                .await?;
            return read_on(client).await;
        }
        _ => {}
    }
    let Ok(server) = TcpStream::connect(place(habit, &host, port)).await else {
        client.write_all(&reply(5)).await?;
        return read_on(client).await;
    };
    let mut server = record.tap(server);
    client.write_all(&reply(0)).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

async fn read_counted(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let count = stream.read_u8().await?;
    let mut bytes = vec![0; usize::from(count)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}
