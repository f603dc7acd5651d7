//! Zone data: what the table says symbolically, and the records that come of it.
//!
//! HTTPS RDATA is written here parameter by parameter instead of through a DNS library's own type,
//! because the testbed must also publish what no such type would let through.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::{BASE64, HEXLOWER};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NULL};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::configs::ListSpec;
use crate::names::in_zone;

/// Time to live of every record: short, since ports and keys change with each start.
pub(crate) const TTL: u32 = 60;

/// SvcParamKeys by number (RFC 9460 §14.3.2; `ech` by RFC 9848 §10).
pub(crate) mod key {
    pub(crate) const MANDATORY: u16 = 0;
    pub(crate) const ALPN: u16 = 1;
    pub(crate) const NO_DEFAULT_ALPN: u16 = 2;
    pub(crate) const PORT: u16 = 3;
    pub(crate) const IPV4HINT: u16 = 4;
    pub(crate) const ECH: u16 = 5;
    pub(crate) const IPV6HINT: u16 = 6;
}

/// Whom a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The case's host; HTTPS records also go to `_PORT._https.` before it, where clients of a
    /// URL with a port look (RFC 9460 §9.1).
    Origin,
    /// Another name, given by the labels before the zone's name.
    Named(&'static str),
}

/// One record, or a few that belong together, before ports and keys are known.
#[derive(Clone, Debug)]
pub(crate) struct RecordSpec {
    pub(crate) owner: Owner,
    pub(crate) data: DataSpec,
}

/// The data of a record.
#[derive(Clone, Debug)]
pub(crate) enum DataSpec {
    /// The addresses that the case's server listens on.
    Addresses,
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(&'static str),
    /// SvcPriority 0 (RFC 9460 §2.4.2).
    Alias(Target),
    /// SvcPriority above 0 (RFC 9460 §2.4.3).
    Service {
        priority: u16,
        target: Target,
        params: Vec<Param>,
    },
    /// HTTPS RDATA as it is, however broken.
    RawHttps(&'static [u8]),
}

/// A TargetName (RFC 9460 §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The owner: `.`, but the host by name at `_PORT._https.` (there `.` would mean that name).
    Owner,
    /// `.` at every owner.
    Dot,
    /// Another name, given by the labels before the zone's name.
    Named(&'static str),
}

/// One SvcParam. They are written in order of key (RFC 9460 §2.2); the order here is free.
#[derive(Clone, Debug)]
pub(crate) enum Param {
    Mandatory(&'static [u16]),
    Alpn(&'static [&'static str]),
    NoDefaultAlpn,
    /// The port that the case's server listens on. Added by itself where it is needed.
    ServerPort,
    /// A port where nothing listens.
    ClosedPort,
    Ipv4Hint(&'static [Ipv4Addr]),
    Ipv6Hint(&'static [Ipv6Addr]),
    Ech(ListSpec),
    Raw(u16, &'static [u8]),
}

/// What is known once the servers are bound and the keys made.
pub(crate) struct Resolve<'a> {
    /// The labels of the host before the zone's name.
    pub(crate) labels: &'a str,
    pub(crate) port: u16,
    pub(crate) closed_port: u16,
    pub(crate) ipv6: bool,
    pub(crate) list: &'a dyn Fn(&ListSpec) -> Result<Vec<u8>, String>,
}

/// A record as the DNS serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneRecord {
    /// The owner name, without the final dot.
    pub owner: String,
    /// Time to live, in seconds.
    pub ttl: u32,
    /// The type's mnemonic, such as `HTTPS`.
    pub rtype: String,
    /// The data in presentation form; RFC 3597 `\# LENGTH HEX` where it is malformed.
    pub data: String,
    rdata: RData,
}

impl ZoneRecord {
    fn new(owner: &str, rdata: RData, data: String) -> Self {
        let rtype = rdata.record_type().to_string();
        Self {
            owner: owner.to_owned(),
            ttl: TTL,
            rtype,
            data,
            rdata,
        }
    }

    pub(crate) fn to_record(&self) -> Result<Record, String> {
        Ok(Record::from_rdata(
            name(&self.owner)?,
            self.ttl,
            self.rdata.clone(),
        ))
    }
}

impl fmt::Display for ZoneRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}. {} IN {} {}",
            self.owner, self.ttl, self.rtype, self.data
        )
    }
}

pub(crate) fn name(text: &str) -> Result<Name, String> {
    let mut name = Name::from_ascii(text).map_err(|e| format!("{text}: {e}"))?;
    name.set_fqdn(true);
    Ok(name)
}

/// The address of what is on loopback and has no case.
pub(crate) fn loopback(labels: &str) -> ZoneRecord {
    let address = Ipv4Addr::LOCALHOST;
    ZoneRecord::new(&in_zone(labels), RData::A(A(address)), address.to_string())
}

impl RecordSpec {
    /// The records that this one expands to.
    pub(crate) fn resolve(&self, cx: &Resolve<'_>) -> Result<Vec<ZoneRecord>, String> {
        let owner = match self.owner {
            Owner::Origin => in_zone(cx.labels),
            Owner::Named(labels) => in_zone(labels),
        };
        let a = |ip: Ipv4Addr| ZoneRecord::new(&owner, RData::A(A(ip)), ip.to_string());
        let aaaa = |ip: Ipv6Addr| ZoneRecord::new(&owner, RData::AAAA(AAAA(ip)), ip.to_string());
        Ok(match &self.data {
            DataSpec::Addresses if cx.ipv6 => {
                vec![a(Ipv4Addr::LOCALHOST), aaaa(Ipv6Addr::LOCALHOST)]
            }
            DataSpec::Addresses => vec![a(Ipv4Addr::LOCALHOST)],
            DataSpec::A(ip) => vec![a(*ip)],
            DataSpec::Aaaa(ip) => vec![aaaa(*ip)],
            DataSpec::Cname(target) => {
                let target = in_zone(target);
                let data = format!("{target}.");
                vec![ZoneRecord::new(
                    &owner,
                    RData::CNAME(CNAME(name(&target)?)),
                    data,
                )]
            }
            DataSpec::Alias(target) => self.https(&owner, cx, |prefixed| {
                service(0, &target.resolve(&owner, prefixed), &[], cx)
            })?,
            DataSpec::Service {
                priority,
                target,
                params,
            } => {
                self.https(&owner, cx, |prefixed| {
                    let target = target.resolve(&owner, prefixed);
                    let mut params = params.clone();
                    // At the prefixed name the authority's port is the server's already.
                    let says_port = |p: &Param| matches!(p, Param::ServerPort | Param::ClosedPort);
                    if !prefixed && !params.iter().any(says_port) {
                        params.push(Param::ServerPort);
                    }
                    service(*priority, &target, &params, cx)
                })?
            }
            DataSpec::RawHttps(rdata) => {
                self.https(&owner, cx, |_| Ok((rdata.to_vec(), unknown(rdata))))?
            }
        })
    }

    fn https(
        &self,
        owner: &str,
        cx: &Resolve<'_>,
        rdata: impl Fn(bool) -> Result<(Vec<u8>, String), String>,
    ) -> Result<Vec<ZoneRecord>, String> {
        let mut owners = vec![(owner.to_owned(), false)];
        if self.owner == Owner::Origin {
            owners.push((format!("_{}._https.{owner}", cx.port), true));
        }
        let record = |(owner, prefixed): (String, bool)| {
            let (wire, data) = rdata(prefixed)?;
            let rdata = RData::Unknown {
                code: RecordType::HTTPS,
                rdata: NULL::with(wire),
            };
            Ok(ZoneRecord::new(&owner, rdata, data))
        };
        owners.into_iter().map(record).collect()
    }
}

impl Target {
    fn resolve(self, owner: &str, prefixed: bool) -> String {
        match self {
            Self::Owner if prefixed => format!("{owner}."),
            Self::Owner | Self::Dot => ".".to_owned(),
            Self::Named(labels) => format!("{}.", in_zone(labels)),
        }
    }
}

/// RDATA of an HTTPS record (RFC 9460 §2.2), on the wire and in presentation form.
fn service(
    priority: u16,
    target: &str,
    params: &[Param],
    cx: &Resolve<'_>,
) -> Result<(Vec<u8>, String), String> {
    let mut params = params
        .iter()
        .map(|p| p.resolve(cx))
        .collect::<Result<Vec<_>, _>>()?;
    params.sort_by_key(|(key, ..)| *key);

    let mut wire = priority.to_be_bytes().to_vec();
    // Uncompressed, as RFC 9460 §2.2 demands.
    for label in target.split('.').filter(|label| !label.is_empty()) {
        wire.extend(prefixed_u8(label.as_bytes())?);
    }
    wire.push(0);
    let mut text = format!("{priority} {target}");
    for (key, value, shown) in params {
        wire.extend(key.to_be_bytes());
        wire.extend(u16_len(&value)?);
        wire.extend(value);
        write!(text, " {shown}").map_err(|e| e.to_string())?;
    }
    Ok((wire, text))
}

impl Param {
    /// Key, wire value, presentation form.
    fn resolve(&self, cx: &Resolve<'_>) -> Result<(u16, Vec<u8>, String), String> {
        Ok(match self {
            Self::Mandatory(keys) => {
                let wire = keys.iter().flat_map(|key| key.to_be_bytes()).collect();
                (
                    key::MANDATORY,
                    wire,
                    format!("mandatory={}", commas(keys.iter().map(key_name))),
                )
            }
            Self::Alpn(ids) => {
                let ids_wire = ids.iter().map(|id| prefixed_u8(id.as_bytes()));
                let wire = ids_wire.collect::<Result<Vec<_>, _>>()?.concat();
                (key::ALPN, wire, format!("alpn={}", commas(*ids)))
            }
            Self::NoDefaultAlpn => (
                key::NO_DEFAULT_ALPN,
                Vec::new(),
                "no-default-alpn".to_owned(),
            ),
            Self::ServerPort => port(cx.port),
            Self::ClosedPort => port(cx.closed_port),
            Self::Ipv4Hint(ips) => {
                let wire = ips.iter().flat_map(|ip| ip.octets()).collect();
                (key::IPV4HINT, wire, format!("ipv4hint={}", commas(*ips)))
            }
            Self::Ipv6Hint(ips) => {
                let wire = ips.iter().flat_map(|ip| ip.octets()).collect();
                (key::IPV6HINT, wire, format!("ipv6hint={}", commas(*ips)))
            }
            Self::Ech(list) => {
                let wire = (cx.list)(list)?;
                let shown = format!("ech={}", BASE64.encode(&wire));
                (key::ECH, wire, shown)
            }
            Self::Raw(key, value) => {
                // Character-string escapes of RFC 9460 §2.1.
                let escaped: String = value.iter().map(|b| format!("\\{b:03}")).collect();
                (*key, value.to_vec(), format!("{}={escaped}", key_name(key)))
            }
        })
    }
}

fn port(port: u16) -> (u16, Vec<u8>, String) {
    (
        key::PORT,
        port.to_be_bytes().to_vec(),
        format!("port={port}"),
    )
}

fn key_name(key: &u16) -> String {
    match *key {
        key::MANDATORY => "mandatory".to_owned(),
        key::ALPN => "alpn".to_owned(),
        key::NO_DEFAULT_ALPN => "no-default-alpn".to_owned(),
        key::PORT => "port".to_owned(),
        key::IPV4HINT => "ipv4hint".to_owned(),
        key::ECH => "ech".to_owned(),
        key::IPV6HINT => "ipv6hint".to_owned(),
        other => format!("key{other}"),
    }
}

fn commas<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items
        .into_iter()
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(",")
}

/// Data that has no presentation form of its own (RFC 3597 §5).
fn unknown(rdata: &[u8]) -> String {
    format!("\\# {} {}", rdata.len(), HEXLOWER.encode(rdata))
        .trim_end()
        .to_owned()
}

fn prefixed_u8(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let len = u8::try_from(bytes.len()).map_err(|_| "over 255 bytes".to_owned())?;
    Ok([&[len], bytes].concat())
}

fn u16_len(bytes: &[u8]) -> Result<[u8; 2], String> {
    u16::try_from(bytes.len())
        .map(u16::to_be_bytes)
        .map_err(|_| "over 65535 bytes".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hickory_proto::rr::RecordData;
    use hickory_proto::rr::rdata::HTTPS;
    use hickory_proto::serialize::binary::{BinDecoder, BinEncodable, BinEncoder, Restrict};

    use super::*;

    fn resolve(owner: Owner, data: DataSpec) -> Vec<ZoneRecord> {
        let list = |_: &ListSpec| Ok(vec![0, 1, 2]);
        let cx = Resolve {
            labels: "nominal",
            port: 18443,
            closed_port: 9,
            ipv6: true,
            list: &list,
        };
        RecordSpec { owner, data }.resolve(&cx).unwrap()
    }

    fn rdata(record: &ZoneRecord) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.rdata.emit(&mut BinEncoder::new(&mut bytes)).unwrap();
        bytes
    }

    #[test]
    fn a_service_record_is_published_at_both_names_with_its_target_spelt_out() {
        let records = resolve(
            Owner::Origin,
            DataSpec::Service {
                priority: 1,
                target: Target::Owner,
                params: vec![
                    Param::Ech(ListSpec::Raw(&[])),
                    Param::Alpn(&["h2"]),
                    Param::Mandatory(&[key::ECH]),
                ],
            },
        );
        assert_eq!(
            records.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "nominal.ech.test. 60 IN HTTPS 1 . mandatory=ech alpn=h2 port=18443 ech=AAEC",
                "_18443._https.nominal.ech.test. 60 IN HTTPS 1 nominal.ech.test. \
                 mandatory=ech alpn=h2 ech=AAEC",
            ]
        );
    }

    #[test]
    fn well_formed_rdata_is_what_a_dns_library_reads() {
        let records = resolve(
            Owner::Named("elsewhere"),
            DataSpec::Service {
                priority: 7,
                target: Target::Named("target"),
                params: vec![
                    Param::Ipv4Hint(&[Ipv4Addr::LOCALHOST]),
                    Param::Ipv6Hint(&[Ipv6Addr::LOCALHOST]),
                    Param::NoDefaultAlpn,
                    Param::Alpn(&["h2", "http/1.1"]),
                ],
            },
        );
        let bytes = rdata(&records[0]);
        let len = Restrict::new(u16::try_from(bytes.len()).unwrap());
        let read = RData::read(&mut BinDecoder::new(&bytes), RecordType::HTTPS, len).unwrap();
        let https = HTTPS::try_borrow(&read).unwrap();
        assert_eq!(https.svc_priority, 7);
        assert_eq!(https.target_name.to_string(), "target.ech.test.");
        let keys: Vec<u16> = https
            .svc_params
            .iter()
            .map(|(key, _)| u16::from(*key))
            .collect();
        assert_eq!(keys, [1, 2, 3, 4, 6]);
    }

    #[test]
    fn malformed_rdata_goes_out_untouched() {
        let records = resolve(Owner::Origin, DataSpec::RawHttps(&[0, 1, 0, 0xff]));
        assert_eq!(rdata(&records[0]), [0, 1, 0, 0xff]);
        assert_eq!(records[0].data, "\\# 4 000100ff");
    }

    #[test]
    fn addresses_follow_the_server() {
        let records = resolve(Owner::Origin, DataSpec::Addresses);
        let data: Vec<&str> = records.iter().map(|r| r.data.as_str()).collect();
        assert_eq!(data, ["127.0.0.1", "::1"]);
    }
}
