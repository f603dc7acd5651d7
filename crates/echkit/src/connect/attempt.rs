//! One candidate: TCP, TLS, and what RFC 9849 §6.1.6 lets follow a rejection at the same address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use echkit_proto::client::{
    AfterRejection, ConfigSource, EchOffer, RejectionPolicy, after_rejection,
};
use echkit_proto::config::Chosen;
use echkit_proto::race::Failure as Reach;
use echkit_tls::client::{
    ClientTls, GuardError, OfferOutcome, OuterName, SeenHello, SessionUse, TlsTarget,
};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::attempt_log::{AttemptLog, LoggedAttempt};
use super::attempt_outcome::{AttemptFault, AttemptWon};
use super::attempt_progress::AttemptProgress;
use super::candidate::Candidate;
use super::ech_findings::public_name_warning;
use super::grease_refusal::{answer_limit, refusal};
use super::guarded::{Guarded, WireLog};
use super::handshake::{ClientHandshakeError, HandshakeFault, HandshakeLimits, handshake};
use super::handshake_words::{
    REJECTED_RESUMED, REJECTED_UNVERIFIED, describe_fault, in_words, shown_instead, through,
    unauthenticated_rejection,
};
use super::offer_event::OfferEvent;
use super::origin_retry_configs::OriginRetryConfigs;
use super::proxy_tunnel::ProxyTunnel;
use super::stream::{Stream, TlsOverTcp};
use super::tls_report::tls_report;
use crate::deadline::Deadline;
use crate::error::{Cause, Step};
use crate::policy::{EchMode, Policy};
use crate::proxy::Wire;
use crate::report::{EchReport, EchSource, EchStatus};
use crate::wire::{ConnectionTap, WireRecorder};

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
    pub(super) deadline: Deadline,
    pub(super) retry_configs: OriginRetryConfigs,
    pub(super) log: &'a AttemptLog,
    pub(super) proxy: Option<Arc<ProxyTunnel>>,
    pub(super) recorder: Option<&'a WireRecorder>,
}

impl AttemptContext<'_> {
    /// The address as reports show it.
    fn place(&self, address: SocketAddr) -> String {
        match &self.proxy {
            Some(proxy) => proxy.target(address).to_string(),
            None => address.to_string(),
        }
    }

    /// Where the bytes of a new connection are recorded, if anywhere.
    fn tap(&self, address: SocketAddr, wire: &Wire) -> Option<ConnectionTap> {
        let recorder = self.recorder?;
        Some(recorder.begin(&self.origin, wire.tcp().local_addr().ok(), address))
    }

    /// The address for events; none where a proxy connects, which may look the name up.
    fn shown(&self, address: SocketAddr) -> Option<SocketAddr> {
        self.proxy.is_none().then_some(address)
    }
}

/// One place to try, and what to do there.
#[derive(Clone, Debug)]
pub(super) struct AttemptTarget {
    pub(super) address: SocketAddr,
    pub(super) candidate: Arc<Candidate>,
    pub(super) progress: AttemptProgress,
}

/// Tries one address. `ech` is the report's part about ECH as far as it is known before.
pub(super) async fn attempt(
    context: Arc<AttemptContext<'_>>,
    target: AttemptTarget,
    ech: EchReport,
) -> Result<AttemptWon, Box<AttemptFault>> {
    let AttemptTarget {
        address,
        candidate,
        progress,
    } = target;
    let mut state = AttemptState {
        from_record: candidate.offer.source() != Some(ConfigSource::Manual),
        context: &context,
        address,
        offer: candidate.offer.clone(),
        published: candidate.published.clone(),
        retry_configs: None,
        progress,
        ech,
        resume: true,
        disabled: false,
        grease_dropped: false,
        reached: false,
    };
    loop {
        let attempt = context
            .log
            .begin(context.place(address), context.shown(address));
        match state.connect(attempt.wire()).await {
            Ok((stream, tcp, took)) => {
                state.keep();
                let report = tls_report(&stream);
                attempt.won(report.alpn.clone());
                return Ok(AttemptWon {
                    stream: Stream::tls(stream),
                    tcp,
                    tls: Some((report, took)),
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
    target: AttemptTarget,
    ech: EchReport,
) -> Result<AttemptWon, Box<AttemptFault>> {
    let attempt = (context.log).begin(context.place(target.address), context.shown(target.address));
    let begun = Instant::now();
    match connect(&context, target.address).await {
        Ok(tcp) => {
            attempt.won(None);
            let log = WireLog::new(context.log.meter().counts.clone());
            let tap = context.tap(target.address, &tcp);
            let stream = Guarded::counting(tcp, log.recorded(tap));
            Ok(AttemptWon {
                stream: Stream::plain(stream),
                tcp: begun.elapsed(),
                tls: None,
                ech,
            })
        }
        Err(cause) => {
            attempt.failed(&cause);
            let reach = reach_without_connection(&cause);
            Err(Box::new(AttemptFault { cause, reach, ech }))
        }
    }
}

async fn connect(context: &AttemptContext<'_>, address: SocketAddr) -> Result<Wire, Cause> {
    let limit = context.deadline.step(context.policy.timeouts.tcp);
    if let Some(proxy) = &context.proxy {
        return proxy.connect(&context.host, address, limit).await;
    }
    let scoped = context.policy.scoped(address);
    let work = limit.run_step(&context.host, Step::Connect, TcpStream::connect(scoped));
    work.await?
        .and_then(|stream| stream.set_nodelay(true).map(|()| Wire::Tcp(stream)))
        .map_err(|source| Cause::Connect {
            host: context.host.clone(),
            address,
            source,
        })
}

/// What it says about the other endpoints that no connection to one was made.
fn reach_without_connection(cause: &Cause) -> Reach {
    match cause {
        Cause::Proxy { fault, .. } if fault.is_about_proxy() => Reach::Final,
        _ => Reach::Unreachable,
    }
}

struct AttemptState<'a> {
    context: &'a AttemptContext<'a>,
    address: SocketAddr,
    offer: EchOffer,
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
    Tls(Box<ClientHandshakeError>),
}

impl AttemptState<'_> {
    /// Keeps the retry configs that served, for later connections.
    fn keep(&self) {
        if self.from_record
            && self.offer.is_real()
            && let Some(configs) = &self.retry_configs
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
        let begun = Instant::now();
        let tcp = connect(context, self.address)
            .await
            .map_err(AttemptFailure::Tcp)?;
        let connected = Instant::now();
        self.progress.connected();
        self.reached |= self.offer.is_real();
        let log = log.clone().recorded(context.tap(self.address, &tcp));

        let started = context
            .tls
            .handshake(&self.target())
            .map_err(|error| AttemptFailure::Setting(error.into()))?;
        self.note_offered(started.offered);
        let limit = context.deadline.step(context.policy.timeouts.handshake);
        let whole = limit.left();
        let limits = HandshakeLimits {
            whole,
            answer: self.may_drop_grease().then(|| answer_limit(whole)),
        };
        let work = handshake(started.connection, started.guard, tcp, &log, limits);
        match Box::pin(work).await {
            Ok(stream) => {
                self.note_hellos(&log.hellos());
                tracing::debug!(
                    address = %self.address,
                    config_id = self.ech.config_id,
                    suite = self.ech.suite,
                    "TLS handshake finished"
                );
                if context.tls.accepts_any_certificate() {
                    let warning = "the server's certificate was not verified";
                    self.ech.warnings.push(warning.to_owned());
                }
                self.ech.status = match &self.offer {
                    EchOffer::Real(_) => EchStatus::Accepted,
                    EchOffer::Grease | EchOffer::Learn(_) => EchStatus::Grease,
                    EchOffer::None if self.disabled => EchStatus::Disabled,
                    EchOffer::None => EchStatus::NotOffered,
                };
                Ok((stream, connected - begun, connected.elapsed()))
            }
            Err(mut error) => {
                if let HandshakeFault::Timeout(after) = &mut error.fault {
                    *after = limit.limit;
                }
                self.note_hellos(&error.hellos);
                self.ech.status = self.status_after(&error);
                tracing::debug!(
                    address = %self.address,
                    ech = %self.ech.status,
                    config_id = self.ech.config_id,
                    "TLS handshake failed"
                );
                Err(AttemptFailure::Tls(error))
            }
        }
    }

    fn target(&self) -> TlsTarget {
        let mut target = TlsTarget::new(self.context.name.clone());
        target.alpn = self.context.alpn.to_vec();
        target.offer = self.offer.clone();
        target.outer_sni = self.context.outer_sni.cloned();
        // A server that is asked for its configs need not recognise the client.
        if self.resume && !self.offer.is_learning() {
            target.sessions = SessionUse::ByOrigin {
                port: self.context.port,
            };
        }
        target
    }

    /// Whether a server that does not bear the hello gets one without GREASE.
    fn may_drop_grease(&self) -> bool {
        matches!(self.offer, EchOffer::Grease | EchOffer::Learn(_)) && !self.grease_dropped
    }

    /// Takes over the config that was offered, where the key of the one chosen could not be used.
    fn note_offered(&mut self, offered: Option<Chosen>) {
        if let (EchOffer::Real(offer), Some(offered)) = (&mut self.offer, offered)
            && offer.chosen.config() != offered.config()
        {
            self.ech.warnings.push(format!(
                "the key of ECHConfig {} cannot be used; {} was offered",
                offer.chosen.contents().config_id,
                offered.contents().config_id
            ));
            let warning = public_name_warning(&offered, &self.context.host);
            self.ech.warnings.extend(warning);
            offer.chosen = offered;
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
            EchOffer::Real(offer) => {
                ech.source = offer.source.into();
                ech.public_name = Some(offer.chosen.contents().public_name.to_string());
                ech.inner_sni = match &self.context.name {
                    ServerName::DnsName(name) => Some(name.as_ref().to_owned()),
                    _ => None,
                };
            }
            EchOffer::Grease | EchOffer::None | EchOffer::Learn(_) => {
                ech.source = EchSource::None;
                ech.public_name = None;
                ech.inner_sni = None;
            }
        }
        if let (EchOffer::Learn(_), Some(shown)) = (&self.offer, &seen.outer_sni) {
            ech.warnings.push(format!(
                "{shown} was sent in the clear to learn the server's ECHConfigs"
            ));
        }
    }

    fn status_after(&self, error: &ClientHandshakeError) -> EchStatus {
        match (&self.offer, &error.offer) {
            _ if error.hellos.is_empty() => self.ech.status,
            (EchOffer::Grease | EchOffer::Learn(_), _) => EchStatus::Grease,
            (EchOffer::None, _) => self.ech.status,
            (EchOffer::Real(_), OfferOutcome::Accepted) => EchStatus::Accepted,
            (EchOffer::Real(_), OfferOutcome::Rejected(_)) => EchStatus::Rejected,
            (EchOffer::Real(_), _) => EchStatus::Failed,
        }
    }

    /// Prepares the next connection, or ends the candidate.
    fn after(
        &mut self,
        attempt: LoggedAttempt<'_>,
        failure: AttemptFailure,
    ) -> Result<(), Box<AttemptFault>> {
        let (cause, reach) = match failure {
            // A server that was reached before, and led here, is not out of reach.
            AttemptFailure::Tcp(cause) => match reach_without_connection(&cause) {
                Reach::Unreachable if self.reached => (cause, Reach::Broken),
                reach => (cause, reach),
            },
            AttemptFailure::Setting(cause) => (cause, Reach::Final),
            AttemptFailure::Tls(error) => match self.after_handshake(&error) {
                Then::Again => {
                    self.progress.restarted();
                    let offer = OfferEvent::from(&self.offer);
                    tracing::debug!(
                        retries = self.ech.retries,
                        offer = offer.kind,
                        source = offer.source,
                        config_id = offer.config_id,
                        "connecting again"
                    );
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

    fn after_handshake(&mut self, error: &ClientHandshakeError) -> Then {
        // What was kept did not serve: the next connection begins with the record again.
        if self.offer.source() == Some(ConfigSource::Cache) {
            self.context.retry_configs.forget(self.published.as_deref());
        }
        if let OfferOutcome::Rejected(rejection) = &error.offer {
            return self.after_rejection(rejection.retry_configs.as_deref());
        }
        match (&self.offer, &error.fault) {
            // rustls 0.23.46 was about to show a ticket; it is spent, and the next hello has none.
            (EchOffer::Real(_), HandshakeFault::Guard(GuardError::Ticket)) if self.resume => {
                self.resume = false;
                self.ech.warnings.push(
                    "a session ticket would have been sent in the clear after a \
                        HelloRetryRequest; reconnected without the ticket"
                        .to_owned(),
                );
                Then::Again
            }
            _ if self.may_drop_grease() => match refusal(error) {
                Some(refused) => {
                    self.grease_dropped = true;
                    self.offer = EchOffer::None;
                    self.ech.status = EchStatus::NotOffered;
                    self.ech.warnings.push(format!(
                        "the server {refused} a ClientHello with a GREASE extension; reconnected \
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
        let learning = self.offer.is_learning();
        self.retry_configs = None;
        self.ech.retry_configs = configs.map(|list| data_encoding::BASE64.encode(list));
        let policy = RejectionPolicy {
            required: self.context.policy.ech == EchMode::Require,
            retry: self.context.policy.retry,
        };
        match after_rejection(policy, &self.context.host, self.ech.retries, configs) {
            AfterRejection::Retry(offer) => {
                self.ech.retries += 1;
                self.retry_configs = configs.map(<[u8]>::to_vec);
                let warning = public_name_warning(&offer.chosen, &self.context.host);
                self.ech.warnings.extend(warning);
                let source = match learning {
                    true => ConfigSource::Learned,
                    false => ConfigSource::Retry,
                };
                self.offer = EchOffer::Real(Box::new(offer.with_source(source)));
                Then::Again
            }
            AfterRejection::Grease(reason) => {
                self.ech.retries += 1;
                self.ech.warnings.push(format!(
                    "the server rejected ECH and {reason}; reconnected with GREASE"
                ));
                self.offer = EchOffer::Grease;
                Then::Again
            }
            AfterRejection::WithoutEch if learning => {
                self.ech
                    .warnings
                    .push("the server sent no ECHConfigs; reconnected with GREASE".to_owned());
                self.offer = EchOffer::Grease;
                Then::Again
            }
            AfterRejection::WithoutEch => {
                self.ech
                    .warnings
                    .push("the server has disabled ECH; reconnected without it".to_owned());
                self.disabled = true;
                self.offer = EchOffer::None;
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
    fn cause(&self, error: ClientHandshakeError) -> (Cause, Reach) {
        let host = self.context.host.clone();
        let (source, outer_sni) = (self.ech.source, self.ech.outer_sni.as_deref());
        let proxy = self.context.proxy.as_ref().map(|proxy| proxy.name());
        let tls = |reason: String, error: Option<rustls::Error>| Cause::Tls {
            host: host.clone(),
            reason: reason + &shown_instead(source, outer_sni) + &through(proxy.as_deref()),
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
                        EchOffer::Real(_),
                        OfferOutcome::RejectedUnauthenticated,
                        error @ rustls::Error::InvalidCertificate(
                            rustls::CertificateError::ApplicationVerificationFailure,
                        ),
                    ) if self.context.tls.accepts_any_certificate() => {
                        tls(REJECTED_UNVERIFIED.to_owned(), Some(error))
                    }
                    (
                        EchOffer::Real(offer),
                        OfferOutcome::RejectedUnauthenticated,
                        error @ (rustls::Error::InvalidCertificate(_)
                        | rustls::Error::NoCertificatesPresented),
                    ) => {
                        let public_name = offer.chosen.contents().public_name.to_string();
                        Cause::Certificate {
                            meaning: Some(unauthenticated_rejection(
                                &self.context.place(self.address),
                                source,
                                &public_name,
                                outer_sni,
                                proxy.as_deref(),
                                &error,
                            )),
                            host,
                            name: public_name,
                            public_name: true,
                            source: Box::new(error),
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
                        source: Box::new(error),
                    },
                    (_, _, error) => tls(in_words(&error), Some(error)),
                };
                (cause, Reach::Refused)
            }
        }
    }
}
