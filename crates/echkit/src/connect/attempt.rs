//! One candidate: TCP, TLS, and what RFC 9849 §6.1.6 lets follow a rejection at the same address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use echkit_proto::client::{AfterRejection, RejectionPolicy, after_rejection};
use echkit_proto::config::Chosen;
use echkit_proto::race::Failure as Reach;
use echkit_tls::client::{
    ClientTls, EchOffer, GuardError, OfferOutcome, OuterName, RealOffer, SeenHello, SessionUse,
    TlsTarget,
};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use super::attempt_outcome::{AttemptFault, AttemptWon};
use super::attempt_progress::AttemptProgress;
use super::candidate::Offer;
use super::deadline::{limit, within};
use super::grease_refusal::{answer_limit, refusal};
use super::guarded::{Guarded, WireLog};
use super::handshake::{HandshakeError, HandshakeFault, HandshakeLimits, handshake};
use super::handshake_words::{
    REJECTED_RESUMED, describe_fault, in_words, shown_instead, unauthenticated_rejection,
};
use super::origin_retry_configs::OriginRetryConfigs;
use super::report_recorder::{RecordedAttempt, ReportRecorder};
use super::stream::{Stream, TlsOverTcp};
use super::tls_report::tls_report;
use crate::error::{Cause, Step};
use crate::policy::{EchMode, Policy};
use crate::report::{EchReport, EchSource, EchStatus};

/// What attempts share.
pub(super) struct AttemptContext<'a> {
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
    pub(super) retry_configs: OriginRetryConfigs,
    pub(super) recorder: &'a ReportRecorder,
}

/// One place to try, and what to offer there.
#[derive(Clone, Debug)]
pub(super) struct AttemptTarget {
    pub(super) address: SocketAddr,
    pub(super) offer: Offer,
    /// The ECHConfigList in the record of the endpoint.
    pub(super) published: Option<Vec<u8>>,
    pub(super) progress: AttemptProgress,
}

/// Tries one candidate. `ech` is the report's part about ECH as far as it is known before.
pub(super) async fn attempt(
    context: Arc<AttemptContext<'_>>,
    candidate: AttemptTarget,
    ech: EchReport,
) -> Result<AttemptWon, Box<AttemptFault>> {
    let from_record = !matches!(
        &candidate.offer,
        Offer::Real { source, .. } if *source == EchSource::Manual
    );
    let mut state = AttemptState {
        from_record,
        context: &context,
        address: candidate.address,
        offer: candidate.offer,
        published: candidate.published,
        retry_configs: None,
        progress: candidate.progress,
        ech,
        resume: true,
        disabled: false,
        grease_dropped: false,
        reached: false,
    };
    loop {
        let attempt = context.recorder.attempt(candidate.address);
        match state.connect(attempt.log()).await {
            Ok((stream, tcp, tls)) => {
                state.keep();
                let report = tls_report(&stream);
                attempt.won(report.alpn.clone(), tcp, Some(tls));
                return Ok(AttemptWon {
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
    context: Arc<AttemptContext<'_>>,
    candidate: AttemptTarget,
    ech: EchReport,
) -> Result<AttemptWon, Box<AttemptFault>> {
    let attempt = context.recorder.attempt(candidate.address);
    let begun = Instant::now();
    match connect(&context, candidate.address).await {
        Ok(tcp) => {
            attempt.won(None, begun.elapsed(), None);
            let stream = Guarded::counting(tcp, context.recorder.counts().clone());
            Ok(AttemptWon {
                stream: Stream::Plain(Box::new(stream)),
                tls: None,
                ech,
            })
        }
        Err(cause) => {
            attempt.failed(&cause);
            let reach = Reach::Unreachable;
            Err(Box::new(AttemptFault { cause, reach, ech }))
        }
    }
}

async fn connect(context: &AttemptContext<'_>, address: SocketAddr) -> Result<TcpStream, Cause> {
    within(
        limit(context.policy.timeouts.connect, context.deadline),
        &context.host,
        Step::Connect,
        TcpStream::connect(address),
    )
    .await?
    .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
    .map_err(|source| Cause::Connect {
        host: context.host.clone(),
        address,
        source,
    })
}

struct AttemptState<'a> {
    context: &'a AttemptContext<'a>,
    address: SocketAddr,
    offer: Offer,
    published: Option<Vec<u8>>,
    /// Whether DNS is the reason for the first offer: not so for a list that the caller gave.
    from_record: bool,
    /// What the server sent and the offer was made from.
    retry_configs: Option<Vec<u8>>,
    progress: AttemptProgress,
    ech: EchReport,
    resume: bool,
    /// ECH was securely disabled by an authenticated server.
    disabled: bool,
    grease_dropped: bool,
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

enum AttemptFailure {
    Tcp(Cause),
    Setting(Cause),
    Tls(Box<HandshakeError>),
}

impl AttemptState<'_> {
    /// Keeps the retry configs that served, for later connections.
    fn keep(&self) {
        if let (true, Offer::Real { .. }, Some(configs)) =
            (self.from_record, &self.offer, &self.retry_configs)
        {
            self.context
                .retry_configs
                .keep(self.published.as_deref(), configs);
        }
    }

    async fn connect(
        &mut self,
        log: &WireLog,
    ) -> Result<(TlsOverTcp, Duration, Duration), AttemptFailure> {
        let context = self.context;
        let timeouts = context.policy.timeouts;
        let begun = Instant::now();
        let tcp = connect(context, self.address)
            .await
            .map_err(AttemptFailure::Tcp)?;
        let connected = Instant::now();
        self.progress.connected();
        self.reached |= self.offer.is_real();

        let started = context
            .tls
            .handshake(&self.target())
            .map_err(|error| AttemptFailure::Setting(error.into()))?;
        self.note_offered(started.offered);
        let whole = limit(timeouts.handshake, context.deadline);
        let limits = HandshakeLimits {
            whole,
            answer: self.may_drop_grease().then(|| answer_limit(whole)),
        };
        let work = handshake(started.connection, started.guard, tcp, log, limits);
        match Box::pin(work).await {
            Ok(stream) => {
                self.note_hellos(&log.hellos());
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
                Err(AttemptFailure::Tls(error))
            }
        }
    }

    fn target(&self) -> TlsTarget {
        let mut target = TlsTarget::new(self.context.name.clone());
        target.alpn = self.context.alpn.to_vec();
        target.offer = match &self.offer {
            Offer::None => EchOffer::None,
            Offer::Grease => EchOffer::Grease,
            Offer::Real { chosen, others, .. } => {
                let mut offer = RealOffer::new((**chosen).clone());
                offer.others.clone_from(others);
                offer.outer_sni = self.context.outer_sni.cloned();
                EchOffer::Real(Box::new(offer))
            }
            Offer::Learn(made_up) => EchOffer::real((**made_up).clone()),
        };
        // A server that is asked for its configs need not recognise the client.
        if self.resume && !matches!(self.offer, Offer::Learn(_)) {
            target.sessions = SessionUse::ByOrigin {
                port: self.context.port,
            };
        }
        target
    }

    /// Whether a server that does not bear the hello gets one without GREASE.
    fn may_drop_grease(&self) -> bool {
        matches!(self.offer, Offer::Grease | Offer::Learn(_)) && !self.grease_dropped
    }

    /// Takes over the config that was offered, where the key of the one chosen could not be used.
    fn note_offered(&mut self, offered: Option<Chosen>) {
        if let (Offer::Real { chosen, .. }, Some(offered)) = (&mut self.offer, offered)
            && chosen.config() != offered.config()
        {
            self.ech.warnings.push(format!(
                "the key of ECHConfig {} cannot be used; {} was offered",
                chosen.contents().config_id,
                offered.contents().config_id
            ));
            **chosen = offered;
        }
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
            Offer::Real { chosen, source, .. } => {
                ech.source = *source;
                ech.public_name = Some(chosen.contents().public_name.to_string());
                ech.inner_sni = match &self.context.name {
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
        if let (Offer::Learn(_), Some(shown)) = (&self.offer, &seen.outer_sni) {
            ech.warnings.push(format!(
                "to learn its ECHConfigs, the server was asked with {shown} in the clear"
            ));
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
    fn after(
        &mut self,
        attempt: RecordedAttempt<'_>,
        failure: AttemptFailure,
    ) -> Result<(), Box<AttemptFault>> {
        let (cause, reach) = match failure {
            // A server that was reached before, and led here, is not out of reach.
            AttemptFailure::Tcp(cause) if self.reached => (cause, Reach::Broken),
            AttemptFailure::Tcp(cause) => (cause, Reach::Unreachable),
            AttemptFailure::Setting(cause) => (cause, Reach::Final),
            AttemptFailure::Tls(error) => match self.after_handshake(&error) {
                Then::Again => {
                    self.progress.restarted();
                    attempt.failed(describe_fault(&error));
                    return Ok(());
                }
                Then::Stop(cause) => (cause, Reach::Final),
                Then::Fail => self.cause(*error),
            },
        };
        attempt.failed(&cause);
        Err(Box::new(AttemptFault {
            cause,
            reach,
            ech: self.ech.clone(),
        }))
    }

    fn after_handshake(&mut self, error: &HandshakeError) -> Then {
        // What was kept did not serve: the next connection begins with the record again.
        if matches!(&self.offer, Offer::Real { source, .. } if *source == EchSource::Cache) {
            self.context.retry_configs.forget(self.published.as_deref());
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
            _ if self.may_drop_grease() => match refusal(error) {
                Some(refused) => {
                    self.grease_dropped = true;
                    self.offer = Offer::None;
                    self.ech.status = EchStatus::NotOffered;
                    self.ech.warnings.push(format!(
                        "the server {refused} a hello with a GREASE extension; connected again \
                         without it and with TLS 1.2 allowed"
                    ));
                    Then::Again
                }
                None => Then::Fail,
            },
            _ => Then::Fail,
        }
    }

    /// RFC 9849 §6.1.6, for a rejection that was authenticated.
    fn after_rejection(&mut self, configs: Option<&[u8]>) -> Then {
        let learning = matches!(self.offer, Offer::Learn(_));
        self.retry_configs = None;
        self.ech.retry_configs = configs.map(|list| data_encoding::BASE64.encode(list));
        let policy = RejectionPolicy {
            required: self.context.policy.ech == EchMode::Require,
            retry: self.context.policy.retry,
        };
        match after_rejection(policy, self.ech.retries, configs) {
            AfterRejection::Retry(chosen) => {
                self.ech.retries += 1;
                self.retry_configs = configs.map(<[u8]>::to_vec);
                let source = match learning {
                    true => EchSource::Learned,
                    false => EchSource::Retry,
                };
                self.offer = Offer::Real {
                    chosen,
                    others: Vec::new(),
                    source,
                };
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
                        origin: self.context.origin.clone(),
                        reason: format!(
                            "the server rejected the offer, authenticated as {public_name}, and \
                             {reason}"
                        ),
                    },
                    false => Cause::EchRejected {
                        host: self.context.host.clone(),
                        public_name,
                        reason: reason.to_string(),
                    },
                })
            }
        }
    }

    /// The error of a candidate whose handshake failed for good.
    fn cause(&self, error: HandshakeError) -> (Cause, Reach) {
        let host = self.context.host.clone();
        let (source, outer_sni) = (self.ech.source, self.ech.outer_sni.as_deref());
        let tls = |reason: String, error: Option<rustls::Error>| Cause::Tls {
            host: host.clone(),
            reason: reason + &shown_instead(source, outer_sni),
            source: error,
        };
        match error.fault {
            HandshakeFault::Guard(source) => (Cause::Guard { host, source }, Reach::Final),
            HandshakeFault::Timeout(after) | HandshakeFault::Silent(after) => {
                let step = Step::Handshake;
                (Cause::Timeout { host, step, after }, Reach::Broken)
            }
            HandshakeFault::Io(error) => (tls(error.to_string(), None), Reach::Broken),
            HandshakeFault::Tls(fault) => {
                let outcome = error.offer;
                let cause = match (&self.offer, &outcome, fault) {
                    (_, OfferOutcome::RejectedResumed, error) => {
                        tls(REJECTED_RESUMED.to_owned(), Some(error))
                    }
                    (
                        Offer::Real { chosen, .. },
                        OfferOutcome::RejectedUnauthenticated,
                        error @ (rustls::Error::InvalidCertificate(_)
                        | rustls::Error::NoCertificatesPresented),
                    ) => {
                        let public_name = chosen.contents().public_name.to_string();
                        Cause::Certificate {
                            meaning: Some(unauthenticated_rejection(
                                self.address,
                                source,
                                &public_name,
                                outer_sni,
                                &error,
                            )),
                            host,
                            name: public_name,
                            public_name: true,
                            source: error,
                        }
                    }
                    (
                        _,
                        _,
                        error @ (rustls::Error::InvalidCertificate(_)
                        | rustls::Error::NoCertificatesPresented),
                    ) => Cause::Certificate {
                        name: host.clone(),
                        host,
                        public_name: outcome == OfferOutcome::RejectedUnauthenticated,
                        meaning: None,
                        source: error,
                    },
                    (_, _, error) => tls(in_words(&error), Some(error)),
                };
                (cause, Reach::Refused)
            }
        }
    }
}
