//! Which probes run, and which findings are reported.

use core::str::FromStr;

use crate::catalogue::{FindingId, ProbeFamily};

/// Families of probes and ids of findings, wanted or not.
#[derive(Clone, Debug, Default)]
pub struct ProbeSelection {
    only: Vec<Item>,
    skip: Vec<Item>,
    private: bool,
}

/// A family or a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Family(ProbeFamily),
    Finding(FindingId),
}

impl ProbeSelection {
    /// The same with this family or finding among those that are wanted. With none, all are.
    ///
    /// # Errors
    ///
    /// When it is neither the name of a family nor the id of a finding.
    pub fn with_only(mut self, name: &str) -> Result<Self, UnknownProbe> {
        self.only.push(name.parse()?);
        Ok(self)
    }

    /// The same without this family or finding.
    ///
    /// # Errors
    ///
    /// When it is neither the name of a family nor the id of a finding.
    pub fn with_skip(mut self, name: &str) -> Result<Self, UnknownProbe> {
        self.skip.push(name.parse()?);
        Ok(self)
    }

    /// The same with or without the probes that show the host's name in the clear.
    #[must_use]
    pub fn with_private(mut self, private: bool) -> Self {
        self.private = private;
        self
    }

    /// Why a family does not run; `None` when it does.
    pub(crate) fn why_not(&self, family: ProbeFamily) -> Option<&'static str> {
        if self.private && family.shows_host() {
            return Some("it shows the host's name, and the check is private");
        }
        let names = |item: &Item| match item {
            Item::Family(named) => *named == family,
            Item::Finding(id) => id.explanation().family == family,
        };
        if !self.only.is_empty() && !self.only.iter().any(names) {
            return Some("not among those that were asked for");
        }
        self.skip
            .contains(&Item::Family(family))
            .then_some("left out on request")
    }

    /// Whether a finding is reported, whichever probe has it.
    pub(crate) fn reports(&self, id: FindingId) -> bool {
        let family = id.explanation().family;
        let names = |item: &Item| *item == Item::Finding(id) || *item == Item::Family(family);
        (self.only.is_empty() || self.only.iter().any(names)) && !self.skip.iter().any(names)
    }
}

impl FromStr for Item {
    type Err = UnknownProbe;

    fn from_str(text: &str) -> Result<Self, UnknownProbe> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Finding(id));
        }
        let family = ProbeFamily::ALL
            .iter()
            .find(|family| family.as_str() == text);
        let unknown = || UnknownProbe(text.to_owned());
        family.copied().map(Self::Family).ok_or_else(unknown)
    }
}

/// A text that names neither probes nor a finding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}: neither a finding nor a family of probes; families are {families}",
    families = families()
)]
pub struct UnknownProbe(String);

fn families() -> String {
    let names: Vec<&str> = ProbeFamily::ALL
        .iter()
        .map(|family| family.as_str())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_finding_is_wanted_by_its_id_or_by_its_family() {
        let all = ProbeSelection::default();
        assert_eq!(all.why_not(ProbeFamily::Grease), None);
        let only = all.clone().with_only("ech-key-rejected").unwrap();
        assert_eq!(only.why_not(ProbeFamily::Key), None);
        assert!(only.why_not(ProbeFamily::Grease).is_some());
        assert!(only.reports(FindingId::KeyRejected) && !only.reports(FindingId::EchDisabled));
        let skip = all.clone().with_skip("key").unwrap();
        assert!(skip.why_not(ProbeFamily::Key).is_some() && !skip.reports(FindingId::KeyRejected));
        let private = all.with_private(true).with_only("grease").unwrap();
        assert!(private.why_not(ProbeFamily::Grease).is_some());
        let error = ProbeSelection::default().with_only("keys").unwrap_err();
        assert!(error.to_string().starts_with("keys: neither "), "{error}");
    }
}
