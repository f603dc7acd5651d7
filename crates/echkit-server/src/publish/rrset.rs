//! The HTTPS records of one name, and the same with another ECHConfigList.

use data_encoding::HEXLOWER;
use echkit_proto::config::EchConfigList;
use echkit_proto::svcb::{DomainName, Record};

use super::error::PublishError;

/// The HTTPS records of one name as RDATA, in an order that has no meaning; empty where it has
/// none. Two are equal when their RDATA are, whatever the TTL.
#[derive(Clone, Debug, Default)]
pub struct HttpsRrset {
    ttl: u32,
    rdata: Vec<Vec<u8>>,
}

impl HttpsRrset {
    /// The records with this RDATA.
    pub fn new(ttl: u32, mut rdata: Vec<Vec<u8>>) -> Self {
        rdata.sort_unstable();
        rdata.dedup();
        Self { ttl, rdata }
    }

    /// Their TTL in seconds.
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// RDATA of each.
    pub fn rdata(&self) -> &[Vec<u8>] {
        &self.rdata
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rdata.is_empty()
    }

    /// What the records say.
    ///
    /// # Errors
    ///
    /// When one is malformed: clients then ignore them all (RFC 9460 §2.2).
    pub fn records(&self, owner: &DomainName) -> Result<Vec<Record>, PublishError> {
        let record = |rdata: &Vec<u8>| {
            Record::parse(rdata).map_err(|error| PublishError::Malformed {
                owner: owner.clone(),
                error,
            })
        };
        self.rdata.iter().map(record).collect()
    }

    /// The same records with this list as their `ech`; everything else in them stays, parameters
    /// that are not known included.
    ///
    /// # Errors
    ///
    /// When a record is in AliasMode, or malformed.
    pub fn with_ech(
        &self,
        owner: &DomainName,
        list: &EchConfigList,
        ttl: u32,
    ) -> Result<Self, PublishError> {
        let mut rdata = Vec::with_capacity(self.rdata.len());
        for mut record in self.records(owner)? {
            if record.is_alias() {
                return Err(PublishError::Alias {
                    owner: owner.clone(),
                    target: record.target,
                    kind: "AliasMode",
                });
            }
            record.params.ech = Some(list.clone());
            let encoded = record.encode().map_err(|error| PublishError::Malformed {
                owner: owner.clone(),
                error,
            })?;
            rdata.push(encoded);
        }
        Ok(Self::new(ttl, rdata))
    }

    /// The lists in the records, each once.
    pub fn lists(&self) -> Vec<EchConfigList> {
        let records = self
            .rdata
            .iter()
            .filter_map(|rdata| Record::parse(rdata).ok());
        let mut lists: Vec<EchConfigList> = Vec::new();
        for list in records.filter_map(|record| record.params.ech) {
            if !lists.contains(&list) {
                lists.push(list);
            }
        }
        lists
    }

    /// The lines of a zone file; those that cannot be read are in the form of RFC 3597.
    pub fn zone_lines(&self, owner: &DomainName) -> Vec<String> {
        let line = |rdata: &Vec<u8>| match Record::parse(rdata) {
            Ok(record) => format!("{owner}. {} IN HTTPS {record}", self.ttl),
            Err(_) => format!("{owner}. {} IN TYPE65 {}", self.ttl, generic(rdata)),
        };
        self.rdata.iter().map(line).collect()
    }

    /// A script for `nsupdate` that puts these records in the place of `before`, if they are still
    /// what is there.
    pub fn nsupdate_script(&self, zone: &DomainName, owner: &DomainName, before: &Self) -> String {
        let mut script = match zone.is_root() {
            true => "zone .\n".to_owned(),
            false => format!("zone {zone}.\n"),
        };
        for rdata in &before.rdata {
            script.push_str(&format!(
                "prereq yxrrset {owner}. TYPE65 {}\n",
                generic(rdata)
            ));
        }
        match before.is_empty() {
            true => script.push_str(&format!("prereq nxrrset {owner}. TYPE65\n")),
            false => script.push_str(&format!("update delete {owner}. TYPE65\n")),
        }
        for rdata in &self.rdata {
            let (ttl, rdata) = (self.ttl, generic(rdata));
            script.push_str(&format!("update add {owner}. {ttl} TYPE65 {rdata}\n"));
        }
        script.push_str("send\n");
        script
    }
}

impl PartialEq for HttpsRrset {
    fn eq(&self, other: &Self) -> bool {
        self.rdata == other.rdata
    }
}

impl Eq for HttpsRrset {}

fn generic(rdata: &[u8]) -> String {
    format!(r"\# {} {}", rdata.len(), HEXLOWER.encode(rdata))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use echkit_proto::key::{EchKey, KeyParams};

    fn list() -> EchConfigList {
        let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
        EchConfigList::from(key.config().clone())
    }

    fn rrset(lines: &[&str]) -> HttpsRrset {
        let rdata = lines
            .iter()
            .map(|line| line.parse::<Record>().unwrap().encode().unwrap());
        HttpsRrset::new(60, rdata.collect())
    }

    #[test]
    fn only_ech_changes_in_each_record() {
        let owner = "a.example".parse().unwrap();
        let lines = [
            "1 . mandatory=alpn alpn=h2,h3 port=8443 ipv4hint=192.0.2.1 ech=AD7+DQA65wAgACA8wVN2BtscOl3vQheUzHeIkVmKIiydUhDCliA4iyQRCwAEAAEAAQALZXhhbXBsZS5jb20AAA== key667=hello",
            "2 other.example no-default-alpn alpn=h2 ipv6hint=2001:db8::1",
        ];
        let (before, list) = (rrset(&lines), list());
        let after = before.with_ech(&owner, &list, 77).unwrap();
        assert_eq!(after.ttl(), 77);
        assert_eq!(after.lists(), std::slice::from_ref(&list));
        let both = before.records(&owner).unwrap().into_iter();
        for (mut old, new) in both.zip(after.records(&owner).unwrap()) {
            old.params.ech = Some(list.clone());
            assert_eq!(old, new);
        }
        let script = after.nsupdate_script(&"example".parse().unwrap(), &owner, &before);
        assert_eq!(
            script.matches("prereq yxrrset a.example. TYPE65").count(),
            2
        );
        assert_eq!(script.matches("update add a.example. 77 TYPE65").count(), 2);
    }

    #[test]
    fn aliases_and_malformed_records_are_refused_with_the_reason() {
        let owner = "a.example".parse().unwrap();
        let alias = rrset(&["0 pool.example"])
            .with_ech(&owner, &list(), 60)
            .unwrap_err();
        let text = alias.to_string();
        assert!(
            text.starts_with("a.example: ") && text.contains("pool.example (AliasMode)"),
            "{text}"
        );
        let broken = HttpsRrset::new(60, vec![vec![0, 1]]);
        let text = broken
            .with_ech(&owner, &list(), 60)
            .unwrap_err()
            .to_string();
        assert!(text.contains("malformed"), "{text}");
    }
}
