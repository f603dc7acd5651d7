//! HTTP CONNECT (RFC 9110 §9.3.6).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::fault::ProxyFault;
use super::proxy_uri::Proxy;

/// The head of an answer to CONNECT is not longer than this, interim ones included.
const HEAD_LIMIT: usize = 32 * 1024;

/// Fields in such a head, at most.
const MAX_FIELDS: usize = 100;

/// Asks an HTTP proxy to connect to `target`.
pub(super) async fn http_connect(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    proxy: &Proxy,
    target: &str,
) -> Result<(), ProxyFault> {
    let broken = |source| ProxyFault::Broken { source };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    let authorization = proxy.authorization();
    if let Some(value) = &authorization {
        request.push_str(&format!("Proxy-Authorization: {value}\r\n"));
    }
    request.push_str("\r\n");
    io.write_all(request.as_bytes()).await.map_err(broken)?;
    io.flush().await.map_err(broken)?;
    match final_status(io).await? {
        200..300 => Ok(()),
        407 => Err(ProxyFault::Credentials {
            sent: authorization.is_some(),
        }),
        status => Err(ProxyFault::Refused {
            to: target.to_owned(),
            status,
        }),
    }
}

/// The status of the answer to CONNECT, after interim ones (RFC 9110 §15.2).
async fn final_status(io: &mut (impl AsyncRead + Unpin)) -> Result<u16, ProxyFault> {
    let malformed = |reason: &str| ProxyFault::Malformed {
        reason: reason.to_owned(),
    };
    let mut head = Vec::new();
    // Where the answer begins that has not been read to its end.
    let mut begin = 0;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut answer = httparse::Response::new(&mut fields);
        let parsed = answer
            .parse(&head[begin..])
            .map_err(|error| malformed(&error.to_string()))?;
        if let httparse::Status::Complete(len) = parsed {
            begin += len;
            match answer.code {
                Some(100..200) => continue,
                // In the protocols that we speak the client speaks first.
                Some(200..300) if begin < head.len() => {
                    return Err(malformed("there is more after its head"));
                }
                Some(status) => return Ok(status),
                None => return Err(malformed("it has no status")),
            }
        }
        if head.len() >= HEAD_LIMIT {
            return Err(malformed("its head is too long"));
        }
        let read = io.read_buf(&mut head).await;
        if read.map_err(|source| ProxyFault::Broken { source })? == 0 {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the proxy closed it");
            return Err(ProxyFault::Broken { source });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The result of an answer that arrives in pieces of this length, and then ends.
    async fn status(answer: &[u8], piece: usize) -> Result<u16, String> {
        let (mut client, mut proxy) = tokio::io::duplex(piece);
        let answer = answer.to_vec();
        let sending = tokio::spawn(async move {
            // The client may have heard enough.
            let _ = proxy.write_all(&answer).await;
        });
        let status = final_status(&mut client).await;
        drop(client);
        sending.await.unwrap();
        status.map_err(|fault| fault.to_string())
    }

    #[tokio::test]
    async fn an_answer_comes_to_the_same_however_it_is_cut_up() {
        let many = format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_FIELDS + 1)
        );
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(HEAD_LIMIT));
        let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_LIMIT / 8);
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Ok(200)),
            ("HTTP/1.0 200 Connection established\r\n\r\n", Ok(200)),
            (
                "HTTP/1.1 100 Go\r\na: b\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
                Ok(204),
            ),
            ("HTTP/1.1 407 No\r\ncontent-length: 3\r\n\r\nno!", Ok(407)),
            ("HTTP/1.1 503\r\n\r\n", Ok(503)),
            ("", Err("closed")),
            ("HTTP/1.1 200 OK\r\n", Err("closed")),
            ("HTTP/2.0 200 OK\r\n\r\n", Err("not one to CONNECT")),
            ("<html>", Err("not one to CONNECT")),
            (&*many, Err("not one to CONNECT")),
            (&*long, Err("its head is too long")),
            (&*endless, Err("its head is too long")),
        ] {
            for piece in [1, 7, 100_000] {
                let status = status(answer.as_bytes(), piece).await;
                match (&status, expected) {
                    (Ok(status), Ok(expected)) => assert_eq!(*status, expected),
                    (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{reason}"),
                    _ => panic!("{status:?}, not {expected:?}: {answer:.60}"),
                }
            }
        }
    }

    #[tokio::test]
    async fn bytes_after_the_head_of_a_success_are_refused() {
        let answer = b"HTTP/1.1 200 OK\r\n\r\nx";
        let reason = status(answer, 100).await.unwrap_err();
        assert!(reason.contains("after its head"), "{reason}");
    }
}
