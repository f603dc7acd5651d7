//! Connections to the server behind a reverse proxy.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;
use tower_service::Service;

use super::config::ProxyTarget;

/// How long a connection to a backend may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Connects to one backend, whatever the request says.
#[derive(Clone)]
pub(super) struct BackendConnector(pub(super) ProxyTarget);

impl Service<Uri> for BackendConnector {
    type Response = TokioIo<BackendStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let target = self.0.clone();
        Box::pin(async move {
            let connect = async {
                io::Result::Ok(match target {
                    ProxyTarget::Unix(path) => Either::Right(UnixStream::connect(path).await?),
                    ProxyTarget::Tcp { host, port, .. } => {
                        let bare = host.trim_start_matches('[').trim_end_matches(']');
                        let tcp = TcpStream::connect((bare, port)).await?;
                        tcp.set_nodelay(true)?;
                        Either::Left(tcp)
                    }
                })
            };
            let stream = tokio::time::timeout(CONNECT_TIME, connect).await??;
            Ok(TokioIo::new(BackendStream(stream)))
        })
    }
}

/// TCP or a Unix socket.
pub(super) struct BackendStream(Either<TcpStream, UnixStream>);

impl Connection for BackendStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for BackendStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for BackendStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
