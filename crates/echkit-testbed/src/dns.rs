//! The authoritative DNS of the testbed, over UDP and TCP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::ProtoError;
use hickory_proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{LowerName, Name, RData, Record};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::Server;
use hickory_server::net::NetError;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider, TokioTime};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{
    AxfrPolicy, Catalog, MessageResponse, MessageResponseBuilder, ZoneType,
};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

use crate::designated;
use crate::names::{ZONE, in_zone};
use crate::zone::{self, TTL, ZoneRecord};

/// The HTTPS record's type (RFC 9460 §14.2).
const HTTPS: u16 = 65;

/// How long a TCP client may sit idle. Resolvers keep connections open between queries.
const TCP_IDLE: Duration = Duration::from_secs(30);

/// Answers under way per TCP connection.
const TCP_RESPONSES: usize = 32;

/// How the server treats a question, other than answering it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answers SERVFAIL.
    ServFail,
    /// Does not say that the answer was validated by DNSSEC, as it says of all others.
    Unauthenticated,
}

/// Names whose HTTPS questions are not answered as they should be.
pub(crate) type Faults = BTreeMap<LowerName, Fault>;

/// The zone, ready to answer.
#[derive(Clone)]
pub(crate) struct Authority {
    catalog: Arc<Catalog>,
    faults: Arc<Faults>,
}

impl Authority {
    /// Builds the zone `ech.test` from the records of the cases, and the one in which the resolver
    /// designates its encrypted forms.
    pub(crate) async fn new(
        records: impl IntoIterator<Item = &ZoneRecord>,
        designations: &[Record],
        faults: Faults,
    ) -> Result<Self, String> {
        let origin = zone::name(ZONE)?;
        let handler = empty_zone(&origin).await?;
        for record in records {
            if !handler.upsert(record.to_record()?, 0).await {
                return Err(format!("`{record}` contradicts another record"));
            }
        }
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::new(&origin), vec![Arc::new(handler)]);
        let origin = zone::name(designated::ZONE)?;
        let handler = empty_zone(&origin).await?;
        for record in designations {
            handler.upsert(record.clone(), 0).await;
        }
        catalog.upsert(LowerName::new(&origin), vec![Arc::new(handler)]);
        Ok(Self {
            catalog: Arc::new(catalog),
            faults: Arc::new(faults),
        })
    }

    /// Starts to answer on the given sockets, until the server is dropped.
    pub(crate) fn serve(&self, udp: UdpSocket, tcp: TcpListener) -> Server<Self> {
        let mut server = Server::new(self.clone());
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE, TCP_RESPONSES);
        server
    }

    /// Answers one message, for transports that frame messages themselves. `None` is silence.
    pub(crate) async fn answer(
        &self,
        query: Vec<u8>,
        from: SocketAddr,
    ) -> Result<Option<Vec<u8>>, ProtoError> {
        // Over a stream there is no limit but the length field, as with TCP.
        let request = Request::from_bytes(query, from, Protocol::Tcp)?;
        let (sink, mut answers) = mpsc::unbounded_channel();
        self.handle_request::<_, TokioTime>(&request, Collect(sink))
            .await;
        Ok(answers.recv().await)
    }
}

/// A zone with nothing but its SOA record.
async fn empty_zone(origin: &Name) -> Result<InMemoryZoneHandler<TokioRuntimeProvider>, String> {
    let handler = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
        origin.clone(),
        ZoneType::Primary,
        AxfrPolicy::Deny,
    );
    let soa = SOA::new(
        zone::name(&in_zone("dns"))?,
        zone::name(&in_zone("hostmaster"))?,
        1,
        3600,
        600,
        86400,
        // Negative answers live as long as the others (RFC 2308 §4).
        TTL,
    );
    let soa = Record::from_rdata(origin.clone(), TTL, RData::SOA(soa));
    handler.upsert(soa, 0).await;
    Ok(handler)
}

#[async_trait::async_trait]
impl RequestHandler for Authority {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let fault = match request.request_info() {
            Ok(info) if u16::from(info.query.query_type()) == HTTPS => {
                self.faults.get(info.query.name()).copied()
            }
            _ => None,
        };
        match fault {
            None if request.metadata.authentic_data => {
                let response = Authentic(response);
                self.catalog.handle_request::<_, T>(request, response).await
            }
            None | Some(Fault::Unauthenticated) => {
                self.catalog.handle_request::<R, T>(request, response).await
            }
            Some(Fault::ServFail) => {
                let answer = MessageResponseBuilder::new(&request.queries, None)
                    .error_msg(&request.metadata, ResponseCode::ServFail);
                match response.send_response(answer).await {
                    Ok(info) => info,
                    Err(_) => nothing_sent(request),
                }
            }
        }
    }
}

fn nothing_sent(request: &Request) -> ResponseInfo {
    let metadata = Metadata::response_from_request(&request.metadata);
    Header {
        metadata,
        counts: HeaderCounts::default(),
    }
    .into()
}

/// Says of every answer what a validating resolver says of a signed zone (AD, RFC 4035 §3.2.3).
#[derive(Clone)]
struct Authentic<R>(R);

#[async_trait::async_trait]
impl<R: ResponseHandler> ResponseHandler for Authentic<R> {
    async fn send_response<'a>(
        &mut self,
        mut response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        response.metadata_mut().authentic_data = true;
        self.0.send_response(response).await
    }
}

/// Hands encoded answers to the transport that frames them.
#[derive(Clone)]
struct Collect(mpsc::UnboundedSender<Vec<u8>>);

#[async_trait::async_trait]
impl ResponseHandler for Collect {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(u16::MAX);
        let info = response.destructive_emit(&mut encoder)?;
        self.0
            .send(bytes)
            .map_err(|_| NetError::from("the answer is no longer waited for"))?;
        Ok(info)
    }
}
