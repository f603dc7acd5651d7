//! The addresses of a host.

use std::net::IpAddr;
use std::time::Duration;

use echkit_proto::race::Family;

use super::{DiscoverError, DiscoverOptions, TargetHint};
use crate::dns::{Answer, QueryError, Status};
use crate::origin::{Host, HostName};

/// Which kinds of addresses are looked up and used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// IPv6 and IPv4.
    #[default]
    Both,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl Families {
    /// Whether an address is of a kind that is used.
    pub fn allow(self, address: &IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    /// Whether one kind is used.
    pub(super) fn includes(self, family: Family) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => family == Family::V4,
            Self::V6 => family == Family::V6,
        }
    }
}

/// Addresses of a host that the caller knows better than DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedAddresses {
    /// The host: an origin's or that of a record's target.
    pub host: HostName,
    /// The port for which this holds; `None` for every port.
    pub port: Option<u16>,
    /// The addresses, in the order in which to try those of one family; families take turns,
    /// IPv6 first.
    pub addresses: Vec<IpAddr>,
}

/// What a lookup of addresses came to.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    /// IPv6 before IPv4.
    pub(super) list: Vec<IpAddr>,
    /// Why there are none, or none of one family.
    pub(super) missing: Option<Missing>,
    /// How long this holds; `None` when nobody was asked.
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
    /// Nobody need be asked.
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
        let fixed = options.resolve.iter().find(|fixed| {
            fixed.host == *name && fixed.port.is_none_or(|fixed_port| fixed_port == port)
        });
        match fixed {
            Some(fixed) => {
                let usable = fixed.addresses.iter();
                let usable = usable.filter(|address| options.families.allow(address));
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

    /// What has come back by now.
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
    for answer in answers {
        match answer {
            Ok(answer) => {
                for address in answer.addresses() {
                    if !all.list.contains(&address) {
                        all.list.push(address);
                    }
                }
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
