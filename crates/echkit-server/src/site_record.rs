//! The HTTPS record of one site (RFC 9460), in each form in which it is published.

use std::net::IpAddr;

use data_encoding::HEXLOWER;
use echkit_proto::config::EchConfigList;
use echkit_proto::svcb::{DomainName, NameError, Params, Record, RecordError, Scheme, query_name};

/// The HTTPS record of a site: its owner name, its TTL and its value.
///
/// ```
/// use echkit_proto::config::EchConfigList;
/// use echkit_proto::key::{EchKey, KeyParams};
/// use echkit_server::SiteRecord;
///
/// let key = EchKey::generate(&KeyParams::new("public.example")?)?;
/// let list = EchConfigList::from(key.config().clone());
/// let record = SiteRecord::new("www.example.com", 300, list)?.with_alpn(["h2"]);
/// let line = record.zone_line();
/// assert!(line.starts_with("www.example.com. 300 IN HTTPS 1 . alpn=h2 ech="), "{line}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteRecord {
    owner: DomainName,
    ttl: u32,
    record: Record,
}

impl SiteRecord {
    /// The record of `site`, HOST or HOST:PORT, with nothing but the ECHConfigList in it.
    ///
    /// The record of a port other than 443 is at `_PORT._https.HOST`, and names HOST as its target
    /// (RFC 9460 §9.1).
    ///
    /// # Errors
    ///
    /// When `site` is not a host name with or without a port.
    pub fn new(site: &str, ttl: u32, list: EchConfigList) -> Result<Self, SiteError> {
        let (host, port) = host_and_port(site)?;
        let owner =
            query_name(Scheme::Https, &host, port).map_err(|error| SiteError::name(site, error))?;
        let target = match port {
            443 => DomainName::root(),
            _ => host,
        };
        let params = Params {
            ech: Some(list),
            ..Params::default()
        };
        let record = Record {
            priority: 1,
            target,
            params,
        };
        let site = Self { owner, ttl, record };
        site.rdata().map_err(SiteError::Record)?;
        Ok(site)
    }

    /// The same with these ALPN protocol identifiers; `http/1.1` is always among them by default
    /// (RFC 9460 §9).
    #[must_use]
    pub fn with_alpn<A: AsRef<[u8]>>(mut self, alpn: impl IntoIterator<Item = A>) -> Self {
        let ids = alpn.into_iter().map(|id| id.as_ref().to_vec());
        self.record.params.alpn = ids.collect();
        self
    }

    /// The name that the record belongs to.
    pub fn owner(&self) -> &DomainName {
        &self.owner
    }

    /// For how many seconds resolvers keep the record.
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// The record's value.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The line of a zone file, for DNS servers that know the type HTTPS.
    pub fn zone_line(&self) -> String {
        format!("{}. {} IN HTTPS {}", self.owner, self.ttl, self.record)
    }

    /// The line of a zone file for all other DNS servers (RFC 3597 §5).
    ///
    /// # Errors
    ///
    /// When the record is too long, or an ALPN identifier is empty or longer than 255 octets.
    pub fn generic_line(&self) -> Result<String, SiteError> {
        Ok(format!(
            "{}. {} IN TYPE65 {}",
            self.owner,
            self.ttl,
            self.generic_rdata()?
        ))
    }

    /// A script for `nsupdate` that adds the record, if the name has no HTTPS record yet: another
    /// one there is kept, with a message that says so.
    ///
    /// # Errors
    ///
    /// As [`generic_line`](Self::generic_line).
    pub fn nsupdate_script(&self) -> Result<String, SiteError> {
        // The generic form is read by versions that do not know the type HTTPS.
        Ok(format!(
            "prereq nxrrset {owner}. TYPE65\nupdate add {owner}. {ttl} TYPE65 {rdata}\nsend\n",
            owner = self.owner,
            ttl = self.ttl,
            rdata = self.generic_rdata()?,
        ))
    }

    fn generic_rdata(&self) -> Result<String, SiteError> {
        let rdata = self.rdata().map_err(SiteError::Record)?;
        Ok(format!(r"\# {} {}", rdata.len(), HEXLOWER.encode(&rdata)))
    }

    fn rdata(&self) -> Result<Vec<u8>, RecordError> {
        self.record.encode()
    }
}

pub(crate) fn host_and_port(site: &str) -> Result<(DomainName, u16), SiteError> {
    let wrong = |why| SiteError::Site {
        site: site.to_owned(),
        why,
    };
    if site.parse::<IpAddr>().is_ok() || site.starts_with('[') {
        return Err(wrong("an address has no HTTPS record; give its host name"));
    }
    if site.contains('/') {
        return Err(wrong("it is not a host name; give HOST or HOST:PORT"));
    }
    let (host, port) = match site.split_once(':') {
        None => (site, 443),
        Some((host, port)) => {
            let port = port.parse().ok().filter(|port| *port != 0);
            let why = "the port is not a number from 1 to 65535";
            (host, port.ok_or_else(|| wrong(why))?)
        }
    };
    if host.parse::<IpAddr>().is_ok() {
        return Err(wrong("an address has no HTTPS record; give its host name"));
    }
    // A wildcard is a name in DNS, and none that UTS #46 knows.
    let (wildcard, rest) = match host.strip_prefix("*.") {
        Some(rest) => ("*.", rest),
        None => ("", host),
    };
    let ascii = idna::domain_to_ascii_strict(rest.trim_end_matches('.'))
        .ok()
        .filter(|ascii| !ascii.is_empty())
        .ok_or_else(|| wrong("it is not a host name; give HOST or HOST:PORT"))?;
    let host: DomainName = format!("{wildcard}{ascii}")
        .parse()
        .map_err(|error| SiteError::name(site, error))?;
    Ok((host, port))
}

/// A site that has no HTTPS record, or whose record cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// The site is not a host name with or without a port.
    #[error("site {site:?}: {why}")]
    Site {
        /// What was given.
        site: String,
        /// What is wrong with it, and what to give instead.
        why: &'static str,
    },
    /// The site's name does not fit into DNS.
    #[error("site {site:?}: {error}")]
    Name {
        /// What was given.
        site: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// The record cannot be written.
    #[error("the HTTPS record cannot be written: {0}")]
    Record(RecordError),
}

impl SiteError {
    pub(crate) fn name(site: &str, error: NameError) -> Self {
        Self::Name {
            site: site.to_owned(),
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use echkit_proto::key::{EchKey, KeyParams};
    use echkit_proto::svcb::record_lines;

    use super::*;

    fn list() -> EchConfigList {
        let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
        EchConfigList::from(key.config().clone())
    }

    fn line(site: &str) -> String {
        SiteRecord::new(site, 300, list()).unwrap().zone_line()
    }

    #[test]
    fn the_owner_follows_the_port_and_the_target_stays_the_host() {
        let start = |site| line(site).split(" ech=").next().unwrap().to_owned();
        assert_eq!(start("a.example"), "a.example. 300 IN HTTPS 1 .");
        assert_eq!(start("A.example.:443"), "a.example. 300 IN HTTPS 1 .");
        assert_eq!(
            start("a.example:8443"),
            "_8443._https.a.example. 300 IN HTTPS 1 a.example."
        );
        assert_eq!(
            start("bücher.example"),
            "xn--bcher-kva.example. 300 IN HTTPS 1 ."
        );
        assert_eq!(start("*.a.example"), "*.a.example. 300 IN HTTPS 1 .");
    }

    #[test]
    fn every_form_reads_back_as_the_same_record() {
        let record = SiteRecord::new("a.example:8443", 60, list())
            .unwrap()
            .with_alpn(["h2", "http/1.1"]);
        for text in [record.zone_line(), record.generic_line().unwrap()] {
            let lines = record_lines(&text).unwrap();
            assert_eq!(lines.len(), 1, "{text}");
            assert_eq!(lines[0].record, *record.record(), "{text}");
        }
    }

    #[test]
    fn a_script_for_nsupdate_never_replaces_a_record() {
        let record = SiteRecord::new("a.example", 60, list()).unwrap();
        let script = record.nsupdate_script().unwrap();
        let lines: Vec<_> = script.lines().collect();
        assert_eq!(lines[0], "prereq nxrrset a.example. TYPE65");
        assert!(lines[1].starts_with(r"update add a.example. 60 TYPE65 \# "));
        assert_eq!(lines[2..], ["send"]);
    }

    #[test]
    fn what_has_no_record_is_refused_by_name() {
        for site in [
            "",
            "192.0.2.1",
            "192.0.2.1:8443",
            "[2001:db8::1]:443",
            "2001:db8::1",
            "https://a.example/",
            "a.example:0",
            "a.example:https",
            "a.example:70000",
            "a b.example",
        ] {
            let error = SiteRecord::new(site, 60, list()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("site {site:?}: ")), "{error}");
        }
    }

    #[test]
    fn an_alpn_identifier_that_no_record_can_hold_is_refused() {
        let record = SiteRecord::new("a.example", 60, list()).unwrap();
        assert!(record.with_alpn([""]).generic_line().is_err());
    }
}
