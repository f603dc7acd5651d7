//! Proxies, as environment variables name them.

use std::ffi::OsStr;

use super::no_proxy::NoProxy;
use super::proxy_uri::{Proxy, ProxyUriError};
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
/// let proxy = environment.proxy_for(&Origin::parse("https://site.example/")?)?;
/// assert_eq!(proxy.map(|proxy| proxy.port()), Some(3128));
/// assert_eq!(environment.proxy_for(&Origin::parse("https://a.intra.example/")?)?, None);
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyEnvironment {
    /// The variables that are set.
    set: Vec<(&'static str, Result<Proxy, ProxyUriError>)>,
    /// What the caller gave in place of them.
    given: Option<Proxy>,
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
                set.push((*known, Proxy::parse(&value.to_string_lossy())));
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
            given: None,
            exempt: lower
                .or(upper)
                .map(|list| NoProxy::parse(&list))
                .unwrap_or_default(),
        }
    }

    /// The same with one proxy for all origins but the exceptions, in place of those that variables
    /// name.
    #[must_use]
    pub fn with_proxy(mut self, proxy: Proxy) -> Self {
        self.given = Some(proxy);
        self
    }

    /// The same with another list of exceptions, in place of that of `no_proxy`.
    #[must_use]
    pub fn with_no_proxy(mut self, list: &str) -> Self {
        self.exempt = NoProxy::parse(list);
        self
    }

    /// The same with these credentials for each proxy, in place of those in URIs.
    ///
    /// # Errors
    ///
    /// When a proxy cannot be told them: see [`Proxy::with_credentials`].
    pub fn with_credentials(mut self, user: &str, password: &str) -> Result<Self, ProxyUriError> {
        let named = self.set.iter_mut().filter_map(|(_, set)| set.as_mut().ok());
        for proxy in named.chain(&mut self.given) {
            *proxy = proxy.clone().with_credentials(user, password)?;
        }
        Ok(self)
    }

    /// The proxy for `origin`, if it has one.
    ///
    /// # Errors
    ///
    /// When the variable that counts does not hold the URI of a proxy that can be used.
    pub fn proxy_for(&self, origin: &Origin) -> Result<Option<&Proxy>, ProxyVariableError> {
        if self.given.is_some() {
            let exempt = self.exempt.has(&origin.host);
            return Ok(self.given.as_ref().filter(|_| !exempt));
        }
        match self.set_for(origin) {
            None => Ok(None),
            Some((_, Ok(proxy))) => Ok(Some(proxy)),
            Some((variable, Err(error))) => Err(ProxyVariableError {
                variable,
                error: error.clone(),
            }),
        }
    }

    /// Whether the list of exceptions has this host.
    pub(crate) fn exempts(&self, host: &Host) -> bool {
        self.exempt.has(host)
    }

    /// The variable that names a proxy for `origin`, if one does and counts.
    pub fn variable_for(&self, origin: &Origin) -> Option<&'static str> {
        let set = self.set_for(origin).filter(|_| self.given.is_none())?;
        Some(set.0)
    }

    fn set_for(&self, origin: &Origin) -> Option<&(&'static str, Result<Proxy, ProxyUriError>)> {
        let variables = match origin.scheme {
            Scheme::Http => &HTTP_VARIABLES[..],
            _ => &HTTPS_VARIABLES[..],
        };
        let mut set = variables
            .iter()
            .filter_map(|name| self.set.iter().find(|(set, _)| set == name));
        set.next().filter(|_| !self.exempt.has(&origin.host))
    }
}

/// A variable does not hold the URI of a proxy that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {error}")]
#[non_exhaustive]
pub struct ProxyVariableError {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong with it.
    pub error: ProxyUriError,
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
    fn a_proxy_that_is_given_takes_the_place_of_variables_and_keeps_their_exceptions() {
        let set = [("https_proxy", PROXY), ("NO_PROXY", "a.example")];
        let given = Proxy::parse("socks5://192.0.2.9").unwrap();
        let environment = ProxyEnvironment::from_variables(set).with_proxy(given.clone());
        for (url, proxy) in [
            ("https://b.example/", Some(&given)),
            ("http://b.example/", Some(&given)),
            ("https://a.example/", None),
        ] {
            let origin = Origin::parse(url).unwrap();
            assert_eq!(environment.proxy_for(&origin), Ok(proxy), "{url}");
            assert_eq!(environment.variable_for(&origin), None);
        }
    }

    #[test]
    fn a_variable_that_names_no_proxy_is_an_error_where_it_counts_and_shows_no_credentials() {
        let set = [
            ("https_proxy", "socks4://user:secret@192.0.2.1"),
            ("all_proxy", PROXY),
            ("NO_PROXY", "a.example"),
        ];
        let environment = ProxyEnvironment::from_variables(set);
        let proxy = |url: &str| environment.proxy_for(&Origin::parse(url).unwrap());
        assert_eq!(proxy("https://a.example/"), Ok(None));
        assert_eq!(proxy("http://b.example/").unwrap().unwrap().port(), 3128);
        let error = proxy("https://b.example/").unwrap_err();
        assert!(error.to_string().starts_with("https_proxy: "), "{error}");
        for text in [format!("{environment:?}"), format!("{error} {error:?}")] {
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
