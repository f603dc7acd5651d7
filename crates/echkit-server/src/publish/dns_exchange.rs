//! Messages to a DNS server and back, over TCP.

use std::io;
use std::time::Duration;

use echkit_proto::dns::{DnsResponse, EdnsUse, Question, RecordType};
use echkit_proto::svcb::DomainName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dns_server::DnsServer;
use super::error::PublishError;

/// A server that is up answers a small message in much less.
const PATIENCE: Duration = Duration::from_secs(10);

impl DnsServer {
    /// Asks for the records of one type at one name.
    ///
    /// # Errors
    ///
    /// When there is no response, or one that is broken.
    pub async fn query(
        &self,
        name: &DomainName,
        kind: RecordType,
    ) -> Result<DnsResponse, PublishError> {
        let question = Question {
            name: name.clone(),
            kind,
        };
        let id = rand::random();
        let response = self.exchange(&question.encode(id, EdnsUse::Plain)).await;
        let response = response.map_err(|error| self.io(error))?;
        DnsResponse::parse(&response, &question, id).map_err(|error| PublishError::Response {
            server: self.clone(),
            error,
        })
    }

    /// Sends a message, and reads the one that comes back. TCP alone (RFC 7766): nothing is cut
    /// off, and nobody beside the way can forge a response.
    pub(super) async fn exchange(&self, message: &[u8]) -> io::Result<Vec<u8>> {
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "the message is too long");
        let length = u16::try_from(message.len()).map_err(too_long)?;
        let whole = async {
            let mut tcp = TcpStream::connect(self.address()).await?;
            let framed = [&length.to_be_bytes(), message].concat();
            tcp.write_all(&framed).await?;
            let mut response = vec![0; tcp.read_u16().await?.into()];
            tcp.read_exact(&mut response).await?;
            Ok(response)
        };
        match timeout(PATIENCE, whole).await {
            Ok(ended) => ended,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no response within {} s", PATIENCE.as_secs()),
            )),
        }
    }

    pub(super) fn io(&self, error: io::Error) -> PublishError {
        PublishError::Io {
            server: self.clone(),
            error,
        }
    }
}
