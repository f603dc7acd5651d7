//! Which proxies to use: by flags, else by environment variables.

use echkit::proxy::{Proxy, ProxyEnvironment};

use crate::cli::GetArgs;
use crate::failure::Failure;

/// What flags and environment say.
pub(super) fn proxies(args: &GetArgs) -> Result<ProxyEnvironment, Failure> {
    let mut proxies = match args.proxy.as_deref() {
        Some("") => ProxyEnvironment::default(),
        Some(uri) => ProxyEnvironment::of_process().with_proxy(proxy(uri, args)?),
        None => ProxyEnvironment::of_process(),
    };
    if let Some(list) = &args.noproxy {
        proxies = proxies.with_no_proxy(list);
    }
    Ok(proxies)
}

fn proxy(uri: &str, args: &GetArgs) -> Result<Proxy, Failure> {
    let refused =
        |flag: &str, reason: &dyn std::fmt::Display| Failure::usage(format!("{flag}: {reason}"));
    let proxy = Proxy::parse(uri).map_err(|error| refused("-x", &error))?;
    match &args.proxy_user {
        None => Ok(proxy),
        Some(pair) => {
            let (user, password) = pair
                .split_once(':')
                .ok_or_else(|| refused("-U", &"write USER:PASSWORD"))?;
            proxy
                .with_credentials(user, password)
                .map_err(|error| refused("-U", &error))
        }
    }
}
