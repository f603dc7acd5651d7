//! One candidate: TCP, TLS, and what RFC 9849 §6.1.6 lets follow a rejection at the same address.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use echkit_proto::client::{AfterRejection, RejectionPolicy, after_rejection};
use echkit_proto::race::Failure as Reach;
use rustls::{AlertDescription, PeerIncompatible};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::connector::Stream;
use super::handshake::{HandshakeError, HandshakeFault, handshake};
use super::kept::Kept;
use super::plan::Offer;
use super::race::Progress;
use super::record::{Attempt, Recorder};
use super::run::limit;
use crate::error::{Cause, Step};
use crate::policy::{EchMode, Policy};
use crate::report::{CertificateReport, EchReport, EchSource, EchStatus, TlsReport};
use crate::tls::{
    ClientHandshake, ClientTls, EchOffer, GuardError, Guarded, OfferOutcome, OuterName, RealOffer,
    SeenHello, SessionUse, TlsTarget,
};

/// A TLS stream over TCP.
type Tls = TlsStream<Guarded<TcpStream>>;

/// What attempts share.
pub(super) struct Setting<'a> {
    pub(super) policy: &'a Policy,
    pub(super) tls: &'a ClientTls,
    pub(super) outer_sni: Option<&'a OuterName>,
    pub(super) name: ServerName<'static>,
    pub(super) host: String,
    /// As errors name it.
    pub(super) origin: String,
    pub(super) port: u16,
    pub(super) alpn: &'a [Vec<u8>],
    pub(super) deadline: Option<tokio::time::Instant>,
    pub(super) kept: Kept,
    pub(super) recorder: &'a Recorder,
}

/// One place to try, and what to offer there.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) address: SocketAddr,
    pub(super) offer: Offer,
    /// The ECHConfigList in the record of the endpoint.
    pub(super) published: Option<Vec<u8>>,
    pub(super) progress: Progress,
}

/// A candidate that became the connection.
pub(super) struct Won {
    pub(super) stream: Stream,
    pub(super) tls: Option<TlsReport>,
    pub(super) ech: EchReport,
}

/// A candidate that failed.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) cause: Cause,
    /// What it says about the other candidates.
    pub(super) reach: Reach,
    pub(super) ech: EchReport,
}

/// Tries one candidate. `ech` is the report's part about ECH as far as it is known before.
pub(super) async fn attempt(
    setting: Arc<Setting<'_>>,
    candidate: Candidate,
    ech: EchReport,
) -> Result<Won, Box<Fault>> {
    let from_record = !matches!(
        &candidate.offer,
        Offer::Real { source, .. } if *source == EchSource::Manual
    );
    let mut state = State {
        from_record,
        setting: &setting,
        address: candidate.address,
        offer: candidate.offer,
        published: candidate.published,
        retry_configs: None,
        progress: candidate.progress,
        ech,
        resume: true,
        disabled: false,
        tls12_tried: false,
        reached: false,
    };
    loop {
        let attempt = setting.recorder.attempt(candidate.address);
        match state.connect().await {
            Ok((stream, tcp, tls)) => {
                state.keep();
                let report = describe(&stream);
                attempt.won(report.alpn.clone(), tcp, Some(tls));
                return Ok(Won {
                    stream: Stream::Tls(Box::new(stream)),
                    tls: Some(report),
                    ech: state.ech,
                });
            }
            Err(failure) => state.after(attempt, failure)?,
        }
    }
}

/// Connects without TLS: for an `http` origin.
pub(super) async fn attempt_plain(
    setting: Arc<Setting<'_>>,
    candidate: Candidate,
    ech: EchReport,
) -> Result<Won, Box<Fault>> {
    let attempt = setting.recorder.attempt(candidate.address);
    let begun = Instant::now();
    match connect(&setting, candidate.address).await {
        Ok(tcp) => {
            attempt.won(None, begun.elapsed(), None);
            let stream = Guarded::counting(tcp, setting.recorder.counts().clone());
            Ok(Won {
                stream: Stream::Plain(Box::new(stream)),
                tls: None,
                ech,
            })
        }
        Err(cause) => {
            attempt.failed(&cause);
            let reach = Reach::Unreachable;
            Err(Box::new(Fault { cause, reach, ech }))
        }
    }
}

async fn connect(setting: &Setting<'_>, address: SocketAddr) -> Result<TcpStream, Cause> {
    within(
        limit(setting.policy.timeouts.connect, setting.deadline),
        &setting.host,
        Step::Connect,
        TcpStream::connect(address),
    )
    .await?
    .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
    .map_err(|source| Cause::Connect {
        host: setting.host.clone(),
        address,
        source,
    })
}

struct State<'a> {
    setting: &'a Setting<'a>,
    address: SocketAddr,
    offer: Offer,
    published: Option<Vec<u8>>,
    /// Whether DNS is the reason for the first offer: not so for a list that the caller gave.
    from_record: bool,
    /// What the server sent and the offer was made from.
    retry_configs: Option<Vec<u8>>,
    progress: Progress,
    ech: EchReport,
    resume: bool,
    /// ECH was securely disabled by an authenticated server.
    disabled: bool,
    tls12_tried: bool,
    /// A connection to the address was made, at which a real offer was sent.
    reached: bool,
}

/// What follows a failed handshake.
enum Then {
    /// Another connection, which was prepared.
    Again,
    /// The end, for this reason.
    Stop(Cause),
    /// The end, for the reason that the handshake failed for.
    Fail,
}

enum Failure {
    Tcp(Cause),
    Setting(Cause),
    Tls(Box<HandshakeError>),
}

impl State<'_> {
    /// Keeps the retry configs that served, for later connections.
    fn keep(&self) {
        if let (true, Offer::Real { .. }, Some(configs)) =
            (self.from_record, &self.offer, &self.retry_configs)
        {
            self.setting.kept.keep(self.published.as_deref(), configs);
        }
    }

    async fn connect(&mut self) -> Result<(Tls, Duration, Duration), Failure> {
        let setting = self.setting;
        let timeouts = setting.policy.timeouts;
        let begun = Instant::now();
        let tcp = connect(setting, self.address).await.map_err(Failure::Tcp)?;
        let connected = Instant::now();
        self.progress.connected();
        self.reached |= self.offer.is_real();

        let ClientHandshake {
            connection, guard, ..
        } = setting
            .tls
            .handshake(&self.target())
            .map_err(|error| Failure::Setting(error.into()))?;
        let counts = setting.recorder.counts().clone();
        let limit = limit(timeouts.handshake, setting.deadline);
        match Box::pin(handshake(connection, guard, tcp, counts, limit)).await {
            Ok(stream) => {
                let hellos = stream.get_ref().0.guard().map(|g| g.hellos().to_vec());
                self.note_hellos(&hellos.unwrap_or_default());
                self.ech.status = match &self.offer {
                    Offer::Real { .. } => EchStatus::Accepted,
                    Offer::Grease | Offer::Learn(_) => EchStatus::Grease,
                    Offer::None if self.disabled => EchStatus::Disabled,
                    Offer::None => EchStatus::NotOffered,
                };
                Ok((stream, connected - begun, connected.elapsed()))
            }
            Err(error) => {
                self.note_hellos(&error.hellos);
                self.ech.status = self.status_after(&error);
                Err(Failure::Tls(error))
            }
        }
    }

    fn target(&self) -> TlsTarget {
        let mut target = TlsTarget::new(self.setting.name.clone());
        target.alpn = self.setting.alpn.to_vec();
        target.offer = match &self.offer {
            Offer::None => EchOffer::None,
            Offer::Grease => EchOffer::Grease,
            Offer::Real { chosen, .. } => {
                let mut offer = RealOffer::new((**chosen).clone());
                offer.outer_sni = self.setting.outer_sni.cloned();
                EchOffer::Real(Box::new(offer))
            }
            Offer::Learn(made_up) => EchOffer::real((**made_up).clone()),
        };
        // A server that is asked for its configs need not recognise the client.
        if self.resume && !matches!(self.offer, Offer::Learn(_)) {
            target.sessions = SessionUse::ByOrigin {
                port: self.setting.port,
            };
        }
        target
    }

    /// Puts what the last hello showed on the record.
    fn note_hellos(&mut self, hellos: &[SeenHello]) {
        let Some(seen) = hellos.last() else {
            return;
        };
        let ech = &mut self.ech;
        ech.config_id = seen.config_id;
        ech.suite.clone_from(&seen.suite);
        ech.outer_sni.clone_from(&seen.outer_sni);
        ech.outer_alpn.clone_from(&seen.outer_alpn);
        match &self.offer {
            Offer::Real { chosen, source } => {
                ech.source = *source;
                ech.public_name = Some(chosen.contents().public_name.to_string());
                ech.inner_sni = match &self.setting.name {
                    ServerName::DnsName(name) => Some(name.as_ref().to_owned()),
                    _ => None,
                };
            }
            Offer::Grease | Offer::None | Offer::Learn(_) => {
                ech.source = EchSource::None;
                ech.public_name = None;
                ech.inner_sni = None;
            }
        }
    }

    fn status_after(&self, error: &HandshakeError) -> EchStatus {
        match (&self.offer, &error.offer) {
            _ if error.hellos.is_empty() => self.ech.status,
            (Offer::Grease | Offer::Learn(_), _) => EchStatus::Grease,
            (Offer::None, _) => self.ech.status,
            (Offer::Real { .. }, OfferOutcome::Accepted) => EchStatus::Accepted,
            (Offer::Real { .. }, OfferOutcome::Rejected(_)) => EchStatus::Rejected,
            (Offer::Real { .. }, _) => EchStatus::Failed,
        }
    }

    /// Prepares the next connection, or ends the candidate.
    fn after(&mut self, attempt: Attempt<'_>, failure: Failure) -> Result<(), Box<Fault>> {
        let (cause, reach) = match failure {
            // A server that was reached before, and led here, is not out of reach.
            Failure::Tcp(cause) if self.reached => (cause, Reach::Broken),
            Failure::Tcp(cause) => (cause, Reach::Unreachable),
            Failure::Setting(cause) => (cause, Reach::Final),
            Failure::Tls(error) => match self.after_handshake(&error) {
                Then::Again => {
                    self.progress.restarted();
                    attempt.failed(Self::describe_fault(&error));
                    return Ok(());
                }
                Then::Stop(cause) => (cause, Reach::Final),
                Then::Fail => self.cause(*error),
            },
        };
        attempt.failed(&cause);
        Err(Box::new(Fault {
            cause,
            reach,
            ech: self.ech.clone(),
        }))
    }

    fn after_handshake(&mut self, error: &HandshakeError) -> Then {
        // What was kept did not serve: the next connection begins with the record again.
        if matches!(&self.offer, Offer::Real { source, .. } if *source == EchSource::Cache) {
            self.setting.kept.forget(self.published.as_deref());
        }
        if let OfferOutcome::Rejected(rejection) = &error.offer {
            return self.after_rejection(rejection.retry_configs.as_deref());
        }
        match (&self.offer, &error.fault) {
            // rustls 0.23.46 was about to show a ticket; it is spent, and the next hello has none.
            (Offer::Real { .. }, HandshakeFault::Guard(GuardError::Ticket)) if self.resume => {
                self.resume = false;
                self.ech.warnings.push(
                    "a session ticket would have been sent in the clear after a \
                     HelloRetryRequest; connected again without it"
                        .to_owned(),
                );
                Then::Again
            }
            // GREASE implies TLS 1.3 in rustls; the server may know no more than TLS 1.2.
            (Offer::Grease | Offer::Learn(_), HandshakeFault::Tls(tls))
                if !self.tls12_tried && refuses_version(tls) =>
            {
                self.tls12_tried = true;
                self.offer = Offer::None;
                self.ech.status = EchStatus::NotOffered;
                self.ech.warnings.push(
                    "the server refused TLS 1.3 with a GREASE extension; connected again without \
                     it and with TLS 1.2 allowed"
                        .to_owned(),
                );
                Then::Again
            }
            _ => Then::Fail,
        }
    }

    /// RFC 9849 §6.1.6, for a rejection that was authenticated.
    fn after_rejection(&mut self, configs: Option<&[u8]>) -> Then {
        let learning = matches!(self.offer, Offer::Learn(_));
        self.retry_configs = None;
        self.ech.retry_configs = configs.map(|list| data_encoding::BASE64.encode(list));
        let policy = RejectionPolicy {
            required: self.setting.policy.ech == EchMode::Require,
            retry: self.setting.policy.retry,
        };
        match after_rejection(policy, self.ech.retries, configs) {
            AfterRejection::Retry(chosen) => {
                self.ech.retries += 1;
                self.retry_configs = configs.map(<[u8]>::to_vec);
                let source = match learning {
                    true => EchSource::Learned,
                    false => EchSource::Retry,
                };
                self.offer = Offer::Real { chosen, source };
                Then::Again
            }
            AfterRejection::Grease(reason) => {
                self.ech.retries += 1;
                self.ech.warnings.push(format!(
                    "the server rejected ECH and {reason}; connected again with GREASE"
                ));
                self.offer = Offer::Grease;
                Then::Again
            }
            AfterRejection::WithoutEch if learning => {
                self.ech.warnings.push(
                    "the server sent no configs to learn; connected again with GREASE".to_owned(),
                );
                self.offer = Offer::Grease;
                Then::Again
            }
            AfterRejection::WithoutEch => {
                self.ech
                    .warnings
                    .push("the server has switched ECH off; connected again without it".to_owned());
                self.disabled = true;
                self.offer = Offer::None;
                Then::Again
            }
            AfterRejection::Stop(reason) => {
                let public_name = self.ech.public_name.clone().unwrap_or_default();
                Then::Stop(match reason.is_requirement() {
                    true => Cause::EchRequired {
                        origin: self.setting.origin.clone(),
                        reason: format!(
                            "the server rejected the offer, authenticated as {public_name}, and \
                             {reason}"
                        ),
                    },
                    false => Cause::EchRejected {
                        host: self.setting.host.clone(),
                        public_name,
                        reason: reason.to_string(),
                    },
                })
            }
        }
    }

    fn describe_fault(error: &HandshakeError) -> String {
        match &error.fault {
            HandshakeFault::Tls(tls) => match &error.offer {
                OfferOutcome::Rejected(rejection) => match rejection.retry_configs {
                    Some(_) => "ECH rejected, with retry configs".to_owned(),
                    None => "ECH rejected, without retry configs".to_owned(),
                },
                _ => in_words(tls),
            },
            HandshakeFault::Io(error) => error.to_string(),
            HandshakeFault::Guard(error) => error.to_string(),
            HandshakeFault::Timeout(after) => format!("timed out after {} ms", after.as_millis()),
        }
    }

    /// The error of a candidate whose handshake failed for good.
    fn cause(&self, error: HandshakeError) -> (Cause, Reach) {
        let host = self.setting.host.clone();
        match error.fault {
            HandshakeFault::Guard(source) => (Cause::Guard { host, source }, Reach::Final),
            HandshakeFault::Timeout(after) => {
                let step = Step::Handshake;
                (Cause::Timeout { host, step, after }, Reach::Broken)
            }
            HandshakeFault::Io(source) => {
                let cause = Cause::Tls {
                    host,
                    reason: source.to_string(),
                    source: None,
                };
                (cause, Reach::Broken)
            }
            HandshakeFault::Tls(source) => {
                let rejected = error.offer == OfferOutcome::RejectedUnauthenticated;
                let cause = match source {
                    source if error.offer == OfferOutcome::RejectedResumed => Cause::Tls {
                        host,
                        reason: "the server rejected ECH and resumed a session, which does not \
                                 authenticate it for the public_name (RFC 9849 §6.1.2)"
                            .to_owned(),
                        source: Some(source),
                    },
                    rustls::Error::InvalidCertificate(_)
                    | rustls::Error::NoCertificatesPresented => Cause::Certificate {
                        name: match (&self.offer, rejected) {
                            (Offer::Real { chosen, .. }, true) => {
                                format!("{}", chosen.contents().public_name)
                            }
                            _ => host.clone(),
                        },
                        host,
                        public_name: rejected,
                        source,
                    },
                    source => Cause::Tls {
                        host,
                        reason: in_words(&source),
                        source: Some(source),
                    },
                };
                (cause, Reach::Refused)
            }
        }
    }
}

/// Whether a server may have refused because it does not know TLS 1.3.
fn refuses_version(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure
        ) | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
        )
    )
}

fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::AlertReceived(alert) => {
            format!("the server refused with the alert {alert:?}")
        }
        rustls::Error::InvalidMessage(_) => {
            format!("the server's answer is no TLS: {error}")
        }
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the server answered with TLS 1.2, which cannot carry ECH".to_owned(),
        other => other.to_string(),
    }
}

/// Runs `step` within `limit`.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    host: &str,
    step: Step,
    work: impl Future<Output = T>,
) -> Result<T, Cause> {
    match limit {
        None => Ok(work.await),
        Some(after) => tokio::time::timeout(after, work)
            .await
            .map_err(|_| Cause::Timeout {
                host: host.to_owned(),
                step,
                after,
            }),
    }
}

fn describe(stream: &Tls) -> TlsReport {
    let (io, connection) = stream.get_ref();
    let hellos = io.guard().map_or(0, |guard| guard.hellos().len());
    TlsReport {
        version: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
            other => format!("{other:?}"),
        },
        cipher_suite: connection
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or("unknown")
            .to_owned(),
        group: connection
            .negotiated_key_exchange_group()
            .map(|group| format!("{:?}", group.name())),
        alpn: connection
            .alpn_protocol()
            .map(|id| id.escape_ascii().to_string()),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        hello_retry: hellos > 1,
        certificate: connection
            .peer_certificates()
            .and_then(<[_]>::first)
            .and_then(|der| CertificateReport::from_der(der)),
    }
}
