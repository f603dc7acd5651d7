//! What a configuration becomes once its files were read: what serves, until a reload replaces it.

use std::sync::{Arc, PoisonError, RwLock};

use echkit::rustls::ServerConfig;
use echkit::rustls::server::ProducesTickets;
use echkit::server::{Acceptor, EchKeyHandle, EchKeys, EchServer, MAX_RETRY_EXTENSION, provider};

use super::access_log::AccessLog;
use super::certificates::{SiteCertificates, SiteNames, ended, read_certificate};
use super::config::{ProxyTarget, ServeConfig, SiteContent};
use super::content::Content;
use super::key_source::{key_directory, uncovered_public_names};
use super::problem::{ServeProblem, ServeProblemKind, ServeProblems};

/// Everything that answers clients.
pub(super) struct Live {
    pub(super) config: ServeConfig,
    pub(super) acceptor: Acceptor,
    pub(super) names: SiteNames,
    pub(super) contents: Vec<Content>,
    pub(super) log: Option<Arc<AccessLog>>,
    /// What should be mended, and prevents nothing.
    pub(super) warnings: Vec<ServeProblem>,
}

/// What is serving now.
#[derive(Clone)]
pub(super) struct LiveHandle(Arc<RwLock<Arc<Live>>>);

impl LiveHandle {
    pub(super) fn new(live: Live) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(live))))
    }

    pub(super) fn load(&self) -> Arc<Live> {
        // A swap is whole or has not happened.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn store(&self, live: Live) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
    }
}

/// What outlives a reload.
pub(super) struct Lasting {
    /// Sessions that clients have are resumed after a reload too.
    pub(super) ticketer: Arc<dyn ProducesTickets>,
    pub(super) keys: EchKeyHandle,
}

impl Live {
    /// Reads every file that `config` names. What `before` has open, and is the same, goes on.
    ///
    /// # Errors
    ///
    /// All that is wrong.
    pub(super) fn read(
        config: ServeConfig,
        lasting: &Lasting,
        before: Option<&Self>,
    ) -> Result<Self, ServeProblems> {
        let mut problems = Vec::new();
        check_rest(&config, &mut problems);
        let log = open_log(&config, before, &mut problems);
        let keys = read_keys(&config, &mut problems);
        let mut names = SiteNames::default();
        let mut certified = Vec::new();
        let mut contents = Vec::new();
        let mut warnings = Vec::new();
        if config.sites.is_empty() {
            problems.push(wrong(
                "there is no site to serve; name one with its certificate",
            ));
        }
        for (index, site) in config.sites.iter().enumerate() {
            if site.names.is_empty() {
                problems.push(wrong(format!(
                    "{}: the site with this certificate has no name; give it one",
                    site.certificate.display()
                )));
            }
            for name in &site.names {
                match check_name(name) {
                    Ok(()) if !names.add(name, index) => problems.push(wrong(format!(
                        "{name}: two sites have this name; take it from one of them"
                    ))),
                    Ok(()) => {}
                    Err(why) => problems.push(wrong(why)),
                }
            }
            let read = read_certificate(site, &mut problems);
            warnings.extend(read.as_ref().and_then(|read| ended(site, read)));
            certified.extend(read);
            check_content(&site.content, &mut problems);
            contents.push(Content::new(&site.content, &config.limits));
        }
        if let Some(keys) = &keys {
            problems.extend(uncovered_public_names(&config.keys, keys, &names));
        }
        let tls = match problems.is_empty() {
            true => {
                let step = flight_step(&certified, names.len());
                let resolver = SiteCertificates {
                    names: names.clone(),
                    certified,
                };
                tls(&config, resolver, step, lasting)
                    .map_err(|problem| problems.push(problem))
                    .ok()
            }
            false => None,
        };
        let live = tls.map(|acceptor| Self {
            config,
            acceptor,
            names,
            contents,
            log,
            warnings,
        });
        if let (Some(keys), Some(_)) = (keys, &live) {
            lasting.keys.store(keys);
        }
        ServeProblems::none_or(problems, live)
    }
}

/// The access log: the one that is open, if it is the same.
fn open_log(
    config: &ServeConfig,
    before: Option<&Live>,
    problems: &mut Vec<ServeProblem>,
) -> Option<Arc<AccessLog>> {
    let wanted = config.access_log.as_ref()?;
    let open = before.and_then(|live| live.log.as_ref());
    if let Some(same) = open.filter(|log| log.config == *wanted) {
        return Some(Arc::clone(same));
    }
    let opened = AccessLog::open(wanted.clone()).map_err(|problem| problems.push(problem));
    opened.ok().map(Arc::new)
}

fn check_rest(config: &ServeConfig, problems: &mut Vec<ServeProblem>) {
    if let Some(address) = config.metrics.filter(|address| address.port() != 0)
        && config.listen.contains(&address)
    {
        problems.push(wrong(format!(
            "{address}: metrics have an address of their own; choose another port for them"
        )));
    }
    #[cfg(unix)]
    if let Some(Err(error)) = service_user(config) {
        problems.push(wrong(error.to_string()));
    }
}

/// The user to become, if there is one.
#[cfg(unix)]
pub(super) fn service_user(
    config: &ServeConfig,
) -> Option<Result<crate::ServiceUser, crate::ServiceUserError>> {
    let user = config.user.as_deref()?;
    Some(crate::ServiceUser::find(user, config.group.as_deref()))
}

fn wrong(message: impl Into<String>) -> ServeProblem {
    ServeProblem::new(ServeProblemKind::Config, message)
}

fn read_keys(config: &ServeConfig, problems: &mut Vec<ServeProblem>) -> Option<EchKeys> {
    if config.keys.as_os_str().is_empty() {
        // What read the configuration has said that it is missing.
        return None;
    }
    let loaded = key_directory(config).and_then(|directory| directory.load());
    let failed = |error: crate::KeyDirectoryError| {
        let kind = match error {
            crate::KeyDirectoryError::Read { .. } => ServeProblemKind::Unreadable,
            _ => ServeProblemKind::Content,
        };
        problems.push(ServeProblem::new(kind, error.to_string()));
    };
    loaded.map_err(failed).ok()
}

/// Names are compared as clients send them.
fn check_name(name: &str) -> Result<(), String> {
    let bare = name.strip_prefix("*.").unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("{name}: write names of sites in lower case"));
    }
    match echkit::rustls::pki_types::DnsName::try_from(bare) {
        Ok(_) if !bare.ends_with('.') => Ok(()),
        _ => Err(format!(
            "{name:?} is not a host name; write it as in a certificate, in ASCII and without a dot at \
             the end"
        )),
    }
}

fn check_content(content: &SiteContent, problems: &mut Vec<ServeProblem>) {
    match content {
        SiteContent::Files(root) => {
            let what = match std::fs::read_dir(root) {
                Ok(_) => return,
                Err(error) => error,
            };
            let message = format!(
                "{}: {what}; the root of a site is a readable directory",
                root.display()
            );
            problems.push(ServeProblem::new(ServeProblemKind::Unreadable, message));
        }
        SiteContent::Proxy(target) => {
            let in_clear = matches!(target, ProxyTarget::Tcp { in_clear: true, .. });
            if !target.is_local() && !in_clear {
                problems.push(wrong(format!(
                    "{target}: the backend is not on this machine, and the names of sites would cross \
                     the network in the clear; use a tunnel, or accept it with proxy_in_clear = true"
                )));
            }
        }
        SiteContent::Status => {}
    }
}

/// What each record of the first flight is padded to a multiple of: more than the longest flight,
/// where a key hides more than one name (RFC 9849 §6.1.3).
fn flight_step(
    certified: &[Arc<echkit::rustls::sign::CertifiedKey>],
    names: usize,
) -> Option<usize> {
    /// EncryptedExtensions without retry_configs, CertificateVerify with the longest usual
    /// signature, Finished, and the headers of all.
    const REST: usize = 1024;
    /// Few sites change the step by being added.
    const GRAIN: usize = 1024;
    let chain_len = |key: &Arc<echkit::rustls::sign::CertifiedKey>| {
        let lens = key.cert.iter().map(|cert| cert.len() + 5);
        lens.sum::<usize>()
    };
    let longest = certified.iter().map(chain_len).max()?;
    (names > 1).then(|| (longest + REST + MAX_RETRY_EXTENSION / 4).next_multiple_of(GRAIN))
}

fn tls(
    config: &ServeConfig,
    resolver: SiteCertificates,
    flight_step: Option<usize>,
    lasting: &Lasting,
) -> Result<Acceptor, ServeProblem> {
    let system = |error: String| ServeProblem::new(ServeProblemKind::System, error);
    let mut tls = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| system(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tls.ticketer = Arc::clone(&lasting.ticketer);
    let mut server = EchServer::new(Arc::new(tls), lasting.keys.clone())
        .map_err(|error| system(error.to_string()))?
        .with_public_name_only(config.public_name_only)
        .with_max_hello(config.limits.hello_bytes);
    if let Some(step) = flight_step {
        server = server.with_flight_padding(step);
    }
    Ok(Acceptor::from(server).with_timeout(config.limits.handshake_time))
}
