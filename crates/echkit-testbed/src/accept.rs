//! The loop of each server over TCP.

use std::future::Future;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Serves each connection in a task of its own, until aborted; the connections end with it.
pub(crate) async fn each_connection<F>(
    listener: TcpListener,
    mut serve: impl FnMut(TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((tcp, client)) = listener.accept().await else {
            // Out of descriptors, most likely: others will be closed.
            tokio::task::yield_now().await;
            continue;
        };
        connections.spawn(serve(tcp, client));
    }
}
