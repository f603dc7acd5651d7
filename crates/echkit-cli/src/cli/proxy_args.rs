//! Flags about proxies, named as curl's.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Default, Args)]
pub(crate) struct ProxyArgs {
    /// Connect through this proxy: [SCHEME://][USER:PASSWORD@]HOST[:PORT], by http (the default),
    /// https, socks5, or socks5h (the proxy looks names up). It takes the place of the one in
    /// https_proxy, HTTPS_PROXY, all_proxy, ALL_PROXY or, for http://, http_proxy; "" connects
    /// directly. Proxies are told addresses, not names. Queries to https:// and tls:// resolvers go
    /// through the proxy too, those to others do not
    #[arg(short = 'x', long, value_name = "URL")]
    pub(crate) proxy: Option<String>,

    /// The user and password for the proxy, in place of those in its URL
    #[arg(short = 'U', long, value_name = "USER:PASSWORD")]
    pub(crate) proxy_user: Option<String>,

    /// Hosts and resolvers that are connected to without a proxy, with all names below them, in place
    /// of those in NO_PROXY; * is all
    #[arg(long, value_name = "HOST[,HOST]")]
    pub(crate) noproxy: Option<String>,

    /// Trust the certificates in this PEM file, and no others, for https:// proxies; without it what
    /// is trusted for servers is trusted for them
    #[arg(long, value_name = "FILE")]
    pub(crate) proxy_cacert: Option<PathBuf>,

    /// Take any certificate from an https:// proxy: an attacker before it can read what it is told,
    /// the password and addresses. Servers are verified all the same
    #[arg(long)]
    pub(crate) proxy_insecure: bool,
}
