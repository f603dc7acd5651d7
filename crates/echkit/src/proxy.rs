//! Proxies, as environment variables name them.
//!
//! This crate connects to servers directly. Where the environment says that a proxy is to be used,
//! doing so in silence could show a network what its user keeps from it. A connector that is given
//! a [`ProxyEnvironment`] therefore says in the report that a proxy was passed by, and in
//! [`EchMode::Require`](crate::EchMode::Require) refuses to connect. The environment is read where
//! the caller asks for it ([`ProxyEnvironment::of_process`]) and nowhere else.

use std::ffi::OsStr;
use std::fmt;
use std::net::IpAddr;

use crate::origin::{Host, Origin, Scheme};

/// Which origins have a proxy, by the variables that curl reads.
///
/// For `https` these are `https_proxy`, `HTTPS_PROXY`, `all_proxy` and `ALL_PROXY`, of which the
/// first that is set counts. For `http` the first two are `http_proxy` alone: a server sets
/// `HTTP_PROXY` for its CGI programs from the header `Proxy` of a request. `no_proxy`, else
/// `NO_PROXY`, lists exceptions: host names with all names below them, addresses, networks
/// (`192.0.2.0/24`), or `*` for every host. A variable that is empty is not set.
///
/// ```
/// use echkit::Origin;
/// use echkit::proxy::ProxyEnvironment;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let variables = [("HTTPS_PROXY", "http://192.0.2.1:3128"), ("NO_PROXY", "intra.example")];
/// let environment = ProxyEnvironment::from_variables(variables);
/// let variable = |url: &str| Origin::parse(url).map(|origin| environment.variable_for(&origin));
/// assert_eq!(variable("https://site.example/")?, Some("HTTPS_PROXY"));
/// assert_eq!(variable("https://a.intra.example/")?, None);
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyEnvironment {
    /// The variables that are set. Their values may hold credentials, and stay out.
    set: Vec<&'static str>,
    exempt: NoProxy,
}

/// The variables for each scheme; the first that is set counts.
const HTTPS_VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const HTTP_VARIABLES: [&str; 3] = ["http_proxy", "all_proxy", "ALL_PROXY"];

impl ProxyEnvironment {
    /// Reads the environment of this process.
    pub fn of_process() -> Self {
        Self::from_variables(std::env::vars_os())
    }

    /// Reads variables; others than those of proxies are passed over.
    pub fn from_variables<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut set = Vec::new();
        let mut lists = [None, None];
        for (name, value) in variables {
            let (name, value) = (name.as_ref(), value.as_ref());
            if value.is_empty() {
                continue;
            }
            let mut known = HTTPS_VARIABLES.iter().chain(&HTTP_VARIABLES);
            if let Some(known) = known.find(|known| name == **known) {
                set.push(*known);
            }
            for (list, known) in lists.iter_mut().zip(["no_proxy", "NO_PROXY"]) {
                if name == known {
                    *list = Some(value.to_string_lossy().into_owned());
                }
            }
        }
        let [lower, upper] = lists;
        Self {
            set,
            exempt: lower
                .or(upper)
                .map(|list| NoProxy::parse(&list))
                .unwrap_or_default(),
        }
    }

    /// The same with another list of exceptions, in place of that of `no_proxy`.
    #[must_use]
    pub fn with_no_proxy(mut self, list: &str) -> Self {
        self.exempt = NoProxy::parse(list);
        self
    }

    /// The variable that names a proxy for `origin`, if one does.
    pub fn variable_for(&self, origin: &Origin) -> Option<&'static str> {
        let variables = match origin.scheme {
            Scheme::Http => &HTTP_VARIABLES[..],
            _ => &HTTPS_VARIABLES[..],
        };
        let mut set = variables.iter().filter(|name| self.set.contains(name));
        let variable = set.next()?;
        (!self.exempt.has(&origin.host)).then_some(*variable)
    }
}

/// A proxy that the environment names for an origin, and that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnusedProxy {
    /// The variable that names it.
    pub(crate) variable: &'static str,
    /// The origin, as errors name it.
    pub(crate) origin: String,
}

impl UnusedProxy {
    pub(crate) fn find(environment: &ProxyEnvironment, origin: &Origin) -> Option<Self> {
        let variable = environment.variable_for(origin)?;
        let origin = origin.to_string();
        Some(Self { variable, origin })
    }
}

impl fmt::Display for UnusedProxy {
    /// For a report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, origin } = self;
        write!(
            f,
            "{variable} names a proxy for {origin}, which was not used: proxies are not supported. \
             Unset {variable}, or list the host in NO_PROXY"
        )
    }
}

/// Hosts that have no proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NoProxy {
    all: bool,
    /// In lower case, without a dot at either end.
    names: Vec<String>,
    /// Addresses, and how many of their first bits count.
    networks: Vec<(IpAddr, u32)>,
}

impl NoProxy {
    /// Entries are separated by commas or blanks.
    fn parse(list: &str) -> Self {
        let mut parsed = Self {
            all: list.trim() == "*",
            ..Self::default()
        };
        let entries = list.split(|c: char| c == ',' || c.is_ascii_whitespace());
        for entry in entries.filter(|entry| !entry.is_empty()) {
            match network(entry) {
                Some(network) => parsed.networks.push(network),
                None => {
                    let name = entry.strip_prefix('.').unwrap_or(entry);
                    let name = name.strip_suffix('.').unwrap_or(name);
                    parsed.names.push(name.to_ascii_lowercase());
                }
            }
        }
        parsed
    }

    fn has(&self, host: &Host) -> bool {
        match host {
            _ if self.all => true,
            Host::Name(name) => {
                let name = name.as_str();
                let below = |parent: &String| {
                    let above = name.strip_suffix(parent.as_str());
                    above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                };
                self.names
                    .iter()
                    .any(|parent| !parent.is_empty() && below(parent))
            }
            Host::Ip(address) => {
                let within = |(network, bits): &(IpAddr, u32)| is_within(*address, *network, *bits);
                self.networks.iter().any(within)
            }
        }
    }
}

/// An address, or a network with the length of its prefix.
fn network(entry: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match entry.split_once('/') {
        Some((address, bits)) => (Host::address(address)?, Some(bits.parse().ok()?)),
        None => (Host::address(entry)?, None),
    };
    let most = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some((address, bits))
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differing = address.to_bits() ^ network.to_bits();
            differing.leading_zeros() >= bits
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differing = address.to_bits() ^ network.to_bits();
            differing.leading_zeros() >= bits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn variable(variables: &[(&str, &str)], url: &str) -> Option<&'static str> {
        let environment = ProxyEnvironment::from_variables(variables.iter().copied());
        environment.variable_for(&Origin::parse(url).unwrap())
    }

    const PROXY: &str = "http://user:secret@192.0.2.1:3128";

    #[test]
    fn the_variables_are_curls_and_the_first_that_is_set_counts() {
        let all = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"];
        for set in 1..=all.len() {
            let variables: Vec<_> = all[..set].iter().map(|name| (*name, PROXY)).collect();
            let found = variable(&variables, "https://a.example/");
            assert_eq!(found, Some(all[set - 1]));
        }
        for (name, https, http) in [
            ("https_proxy", true, false),
            ("HTTPS_PROXY", true, false),
            ("http_proxy", false, true),
            ("HTTP_PROXY", false, false),
            ("all_proxy", true, true),
            ("ALL_PROXY", true, true),
            ("Https_Proxy", false, false),
            ("no_proxy", false, false),
        ] {
            let set = [(name, PROXY)];
            let expected = |is: bool| is.then_some(name);
            assert_eq!(variable(&set, "https://a.example/"), expected(https));
            assert_eq!(variable(&set, "http://a.example/"), expected(http));
            assert_eq!(variable(&[(name, "")], "https://a.example/"), None);
        }
        assert_eq!(variable(&[], "https://a.example/"), None);
    }

    #[test]
    fn hosts_in_no_proxy_have_none_and_neither_have_names_below_them() {
        for (list, url, exempt) in [
            ("*", "https://a.example/", true),
            (" * ", "https://192.0.2.7/", true),
            ("b.example,*", "https://a.example/", false),
            ("a.example", "https://A.example/", true),
            ("a.example", "https://www.a.example/", true),
            ("a.example", "https://ba.example/", false),
            (".a.example", "https://a.example/", true),
            ("a.example.", "https://www.a.example./", true),
            ("b.example, a.example", "https://a.example:8443/", true),
            ("b.example a.example", "https://a.example/", true),
            ("A.EXAMPLE", "https://a.example/", true),
            (".", "https://a.example/", false),
            ("", "https://a.example/", false),
            ("192.0.2.7", "https://192.0.2.7/", true),
            ("192.0.2.7", "https://192.0.2.70/", false),
            ("192.0.2.0/24", "https://192.0.2.70/", true),
            ("192.0.2.0/31", "https://192.0.2.2/", false),
            ("0.0.0.0/0", "https://192.0.2.2/", true),
            ("0.0.0.0/0", "https://[2001:db8::1]/", false),
            ("192.0.2.0/33", "https://192.0.2.2/", false),
            ("2001:db8::/32", "https://[2001:db8::1]/", true),
            ("[2001:db8::1]", "https://[2001:db8::1]/", true),
            ("2001:db8::2", "https://[2001:db8::1]/", false),
            ("2", "https://192.0.2.2/", false),
        ] {
            let set = [("https_proxy", PROXY), ("NO_PROXY", list)];
            let found = variable(&set, url);
            assert_eq!(found.is_none(), exempt, "{list:?} {url}");
        }
        // The lower case counts first, and the caller's list before both.
        let both = [
            ("https_proxy", PROXY),
            ("NO_PROXY", "a.example"),
            ("no_proxy", "b.example"),
        ];
        assert_eq!(variable(&both, "https://a.example/"), Some("https_proxy"));
        assert_eq!(variable(&both, "https://b.example/"), None);
        let origin = Origin::parse("https://a.example/").unwrap();
        let environment = ProxyEnvironment::from_variables(both).with_no_proxy("a.example");
        assert_eq!(environment.variable_for(&origin), None);
    }

    #[test]
    fn what_is_printed_holds_no_credentials() {
        let environment = ProxyEnvironment::from_variables([("ALL_PROXY", PROXY)]);
        let origin = Origin::parse("https://a.example/").unwrap();
        let unused = UnusedProxy::find(&environment, &origin).unwrap();
        for text in [format!("{environment:?}"), unused.to_string()] {
            assert!(
                !text.contains("secret") && text.contains("ALL_PROXY"),
                "{text}"
            );
        }
    }
}
