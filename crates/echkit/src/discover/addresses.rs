//! The addresses of a host.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use echkit_proto::race::Family;

use super::{DiscoverError, DiscoverOptions, TargetHint};
use crate::dns::{Answer, QueryError, Status};
use crate::origin::{Host, HostName};

/// Addresses of a host that the caller knows better than DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FixedAddresses {
    /// The host: an origin's or that of a record's target; `None` for every host that has no
    /// entry of its own.
    pub host: Option<HostName>,
    /// The port for which this holds; `None` for every port.
    pub port: Option<u16>,
    /// The addresses, in the order in which to try those of one family; families take turns,
    /// IPv6 first.
    pub addresses: Vec<IpAddr>,
}

impl FixedAddresses {
    /// Addresses of `host` at `port`, or at every port.
    pub fn new(
        host: HostName,
        port: Option<u16>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        Self {
            host: Some(host),
            ..Self::of_every_host(port, addresses)
        }
    }

    /// Addresses of every host that has no entry of its own, at `port`, or at every port.
    pub fn of_every_host(port: Option<u16>, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            host: None,
            port,
            addresses: addresses.into_iter().collect(),
        }
    }
}

/// What a lookup of addresses came to.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    /// IPv6 before IPv4.
    pub(super) list: Vec<IpAddr>,
    /// Why there are none, or none of one family.
    pub(super) missing: Option<Missing>,
    /// How long this holds; `None` when no query was sent.
    pub(super) ttl: Option<Duration>,
    /// Whether some answer is still out.
    pub(super) pending: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Missing {
    NoSuchHost,
    NoData,
    Failed(QueryError),
}

impl Addresses {
    fn known(list: Vec<IpAddr>) -> Self {
        Self {
            list,
            missing: None,
            ttl: None,
            pending: false,
        }
    }

    /// Why nothing can be connected to.
    pub(super) fn error(&self, host: &Host, hint: Option<TargetHint>) -> DiscoverError {
        match &self.missing {
            Some(Missing::NoSuchHost) if hint.is_none() => DiscoverError::NoSuchHost(host.clone()),
            Some(Missing::Failed(error)) => DiscoverError::AddressLookup {
                host: host.clone(),
                error: error.clone(),
            },
            _ => DiscoverError::NoAddresses {
                host: host.clone(),
                hint,
            },
        }
    }
}

/// The lookup of one host's addresses.
#[derive(Debug)]
pub(super) enum Lookup {
    /// No query is needed.
    Known(Addresses),
    Asked {
        name: HostName,
        /// IPv6, IPv4.
        answers: [Question; 2],
    },
}

#[derive(Debug)]
pub(super) enum Question {
    Unasked,
    Out,
    Answered(Result<Answer, QueryError>),
}

impl Lookup {
    pub(super) fn new(options: &DiscoverOptions, host: &Host, port: u16) -> Self {
        let name = match host {
            Host::Ip(address) => return Self::Known(Addresses::known(vec![*address])),
            Host::Name(name) => name,
        };
        let entry = |host: Option<&HostName>| {
            options.resolve.iter().find(|fixed| {
                let any_port = fixed.port.is_none_or(|fixed_port| fixed_port == port);
                fixed.host.as_ref() == host && any_port
            })
        };
        match entry(Some(name)).or_else(|| entry(None)) {
            Some(fixed) => {
                let usable = fixed.addresses.iter();
                let usable = usable.filter(|address| options.family.allows(**address));
                Self::Known(Addresses::known(usable.copied().collect()))
            }
            None => Self::Asked {
                name: name.clone(),
                answers: [Question::Unasked, Question::Unasked],
            },
        }
    }

    /// What is known without DNS.
    pub(super) fn known(&self) -> Option<&[IpAddr]> {
        match self {
            Self::Known(known) => Some(&known.list),
            Self::Asked { .. } => None,
        }
    }

    /// Notes that a question goes out. Gives the name to ask for; `None` if it was asked before.
    pub(super) fn ask(&mut self, family: Family) -> Option<HostName> {
        match self {
            Self::Known(_) => None,
            Self::Asked { name, answers } => {
                let question = &mut answers[family as usize];
                let new = matches!(question, Question::Unasked);
                new.then(|| {
                    *question = Question::Out;
                    name.clone()
                })
            }
        }
    }

    pub(super) fn was_asked(&self, family: Family) -> bool {
        match self {
            Self::Known(_) => true,
            Self::Asked { answers, .. } => !matches!(answers[family as usize], Question::Unasked),
        }
    }

    /// Takes an answer; gives the addresses in it.
    pub(super) fn answer(
        &mut self,
        family: Family,
        answer: Result<Answer, QueryError>,
    ) -> Vec<IpAddr> {
        let addresses = answer.iter().flat_map(Answer::addresses).collect();
        if let Self::Asked { answers, .. } = self {
            answers[family as usize] = Question::Answered(answer);
        }
        addresses
    }

    /// The answers received so far.
    pub(super) fn gather(self) -> Addresses {
        match self {
            Self::Known(known) => known,
            Self::Asked { answers, .. } => {
                let pending = answers.iter().any(|one| matches!(one, Question::Out));
                let answered = answers.into_iter().filter_map(|question| match question {
                    Question::Answered(answer) => Some(answer),
                    Question::Unasked | Question::Out => None,
                });
                Addresses {
                    pending,
                    ..gather(answered)
                }
            }
        }
    }
}

fn gather(answers: impl Iterator<Item = Result<Answer, QueryError>>) -> Addresses {
    let mut all = Addresses {
        list: Vec::new(),
        missing: None,
        ttl: None,
        pending: false,
    };
    let mut seen = HashSet::new();
    for answer in answers {
        match answer {
            Ok(answer) => {
                let new = answer.addresses().filter(|address| seen.insert(*address));
                all.list.extend(new);
                all.ttl = Some(all.ttl.map_or(answer.ttl, |ttl| ttl.min(answer.ttl)));
                if all.missing.is_none() {
                    all.missing = match answer.status {
                        Status::NxDomain => Some(Missing::NoSuchHost),
                        Status::NoData => Some(Missing::NoData),
                        Status::Found => None,
                    };
                }
            }
            // Not knowing outweighs knowing that one family is not there.
            Err(error) => all.missing = Some(Missing::Failed(error)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn answer(addresses: &[u8]) -> Answer {
        let rdata = addresses.iter().map(|last| vec![192, 0, 2, *last]);
        Answer {
            status: Status::Found,
            owner: "a.test".parse().unwrap(),
            cnames: Vec::new(),
            rdata: rdata.collect(),
            ttl: Duration::from_secs(60),
            protected: false,
            authentic_data: false,
        }
    }

    proptest! {
        #[test]
        fn each_address_is_gathered_once_and_in_the_order_of_the_answers(
            answers in prop::collection::vec(prop::collection::vec(0..12_u8, 0..40), 0..4),
        ) {
            let mut expected: Vec<IpAddr> = Vec::new();
            for last in answers.iter().flatten() {
                let address = IpAddr::from([192, 0, 2, *last]);
                if !expected.contains(&address) {
                    expected.push(address);
                }
            }
            let gathered = gather(answers.iter().map(|addresses| Ok(answer(addresses))));
            prop_assert_eq!(gathered.list, expected);
        }
    }
}
