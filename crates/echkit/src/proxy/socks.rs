//! SOCKS5 (RFC 1928), with user and password (RFC 1929).

use super::fault::ProxyFault;
use super::proxy_uri::Proxy;
use super::target::ProxyTarget;
use super::wire::Wire;

/// Asks a SOCKS5 proxy to connect to `target`.
#[cfg(feature = "socks")]
pub(super) async fn socks_connect(
    wire: Wire,
    proxy: &Proxy,
    target: ProxyTarget,
) -> Result<Wire, ProxyFault> {
    use tokio_socks::tcp::Socks5Stream;
    use tokio_socks::{Error, TargetAddr};

    let to = target.to_string();
    let target = match target {
        ProxyTarget::Address(address) => TargetAddr::Ip(address),
        ProxyTarget::Name(name, port) => TargetAddr::Domain(name.as_str().to_owned().into(), port),
    };
    let credentials = proxy.credentials();
    let connected = match credentials {
        None => Socks5Stream::connect_with_socket(wire, target).await,
        Some((user, password)) => {
            Socks5Stream::connect_with_password_and_socket(wire, target, user, password).await
        }
    };
    let about_names = matches!(
        connected,
        Err(Error::AddressTypeNotSupported | Error::ConnectionNotAllowedByRuleset)
    );
    let (reason, about_address) = match connected {
        Ok(stream) => return Ok(stream.into_inner()),
        Err(Error::NoAcceptableAuthMethods | Error::AuthorizationRequired)
            if credentials.is_none() =>
        {
            let reason = "it asks for credentials: give them in its URL, as in \
                          socks5://USER:PASSWORD@HOST:PORT";
            (reason.to_owned(), false)
        }
        Err(Error::PasswordAuthFailure(_)) => {
            let reason = "it does not accept the credentials";
            (reason.to_owned(), false)
        }
        Err(Error::InvalidResponseVersion) => {
            let reason = "its answer is not SOCKS5";
            (reason.to_owned(), false)
        }
        // Of a reply too.
        Err(Error::UnknownAuthMethod) => {
            let reason = "its reply has a code that SOCKS5 does not have";
            (reason.to_owned(), true)
        }
        Err(Error::Io(error)) => {
            let reason = format!("the connection ended before it answered: {error}");
            (reason, true)
        }
        Err(
            error @ (Error::NoAcceptableAuthMethods
            | Error::AuthorizationRequired
            | Error::InvalidAuthValues(_)),
        ) => (error.to_string(), false),
        Err(error) => (format!("the proxy says: {error}"), true),
    };
    Err(ProxyFault::Socks {
        to,
        reason,
        about_address,
        about_names,
    })
}

/// No SOCKS5 proxy is made where the feature is off (`ProxyUriError::NoSocks`).
#[cfg(not(feature = "socks"))]
pub(super) async fn socks_connect(
    _: Wire,
    _: &Proxy,
    target: ProxyTarget,
) -> Result<Wire, ProxyFault> {
    Err(ProxyFault::Socks {
        to: target.to_string(),
        reason: "SOCKS proxies are not compiled in".to_owned(),
        about_address: false,
        about_names: false,
    })
}
