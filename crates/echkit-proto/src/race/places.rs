//! The endpoints of a race, their addresses, and which of them is next.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::{Endpoint, Family, Settings, Start, Target};

/// Endpoints and what is known of their addresses.
#[derive(Debug)]
pub(super) struct Places {
    settings: Settings,
    /// When the list was given.
    settled: Duration,
    list: Vec<Place>,
    lookups: BTreeMap<(Target, Family), Lookup>,
    /// What was started, with the place that it was for.
    tried: Vec<(usize, SocketAddr)>,
}

#[derive(Debug)]
struct Place {
    endpoint: Endpoint,
    /// It answered and is of no use.
    closed: bool,
    /// The family of the last address that was tried.
    last: Option<Family>,
}

#[derive(Debug)]
enum Lookup {
    Due,
    Known {
        addresses: Vec<IpAddr>,
        /// When it was first known.
        since: Duration,
    },
}

/// The address to try next.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) place: usize,
    pub(super) address: SocketAddr,
    /// What would be better, and may still arrive.
    pub(super) missing: Option<Missing>,
}

#[derive(Debug)]
pub(super) enum Missing {
    /// Addresses of the preferred family; the other's are known since then.
    Family { since: Duration },
    /// Any address of an endpoint that comes first.
    Endpoint,
}

impl Places {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            settled: Duration::ZERO,
            list: Vec::new(),
            lookups: BTreeMap::new(),
            tried: Vec::new(),
        }
    }

    /// Notes that a question was asked. False if it was before.
    pub(super) fn expect(&mut self, target: Target, family: Family) -> bool {
        let known = self.lookups.contains_key(&(target, family));
        self.lookups.entry((target, family)).or_insert(Lookup::Due);
        !known
    }

    pub(super) fn settle(&mut self, now: Duration, endpoints: impl IntoIterator<Item = Endpoint>) {
        let place = |endpoint| Place {
            endpoint,
            closed: false,
            last: None,
        };
        self.list = endpoints.into_iter().map(place).collect();
        self.settled = now;
    }

    pub(super) fn targets(&self) -> Vec<Target> {
        self.list
            .iter()
            .map(|place| place.endpoint.target)
            .collect()
    }

    pub(super) fn answer(
        &mut self,
        now: Duration,
        target: Target,
        family: Family,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) {
        if !self.settings.allows(family) {
            return;
        }
        let addresses = addresses
            .into_iter()
            .filter(|address| Family::of(address) == family)
            .collect();
        let since = match self.lookups.get(&(target, family)) {
            Some(Lookup::Known { since, .. }) => *since,
            _ => now,
        };
        let known = Lookup::Known { addresses, since };
        self.lookups.insert((target, family), known);
    }

    pub(super) fn close(&mut self, place: usize) {
        self.list[place].closed = true;
    }

    /// Notes that an address is being tried.
    pub(super) fn take(&mut self, start: &Start) {
        self.tried.push((start.endpoint, start.address));
        self.list[start.endpoint].last = Some(Family::of(&start.address.ip()));
    }

    /// Lets an address be tried once more.
    pub(super) fn untry(&mut self, start: &Start) {
        let tried = (start.endpoint, start.address);
        self.tried.retain(|other| *other != tried);
        self.list[start.endpoint].last = None;
    }

    /// Whether some endpoint with or without ECH has an untried address, or may yet get one.
    pub(super) fn may_succeed(&self, ech: bool) -> bool {
        self.open(ech)
            .any(|place| self.is_awaited(place) || self.untried(place, None).next().is_some())
    }

    /// The best address to try, among endpoints with or without ECH.
    pub(super) fn next(&self, ech: bool) -> Option<Next> {
        let mut better_may_come = false;
        for place in self.open(ech) {
            let state = &self.list[place];
            // Families take turns (RFC 8305 §4), beginning with IPv6.
            let turn = state.last.map_or(Family::V6, Family::other);
            let address = self
                .untried(place, Some(turn))
                .next()
                .or_else(|| self.untried(place, None).next());
            let Some(address) = address else {
                // What was tried may come to a good end, and is not waited for here.
                better_may_come |= self.is_awaited(place) && state.last.is_none();
                continue;
            };
            let other_family = state.last.is_none() && Family::of(&address.ip()) != Family::V6;
            let missing = if other_family && self.is_due(place, Family::V6) {
                Some(Missing::Family {
                    since: self.since(place),
                })
            } else if better_may_come {
                Some(Missing::Endpoint)
            } else {
                None
            };
            return Some(Next {
                place,
                address,
                missing,
            });
        }
        None
    }

    fn open(&self, ech: bool) -> impl Iterator<Item = usize> {
        self.list
            .iter()
            .enumerate()
            .filter(move |(_, place)| !place.closed && place.endpoint.ech == ech)
            .map(|(index, _)| index)
    }

    /// Whether an answer about addresses of this family is due.
    fn is_due(&self, place: usize, family: Family) -> bool {
        let key = (self.list[place].endpoint.target, family);
        matches!(self.lookups.get(&key), Some(Lookup::Due))
    }

    fn is_awaited(&self, place: usize) -> bool {
        Family::BOTH
            .iter()
            .any(|family| self.is_due(place, *family))
    }

    /// Addresses that may be tried, in their order, IPv6 first.
    fn untried(&self, place: usize, family: Option<Family>) -> impl Iterator<Item = SocketAddr> {
        let port = self.list[place].endpoint.port;
        let ech = self.list[place].endpoint.ech;
        Family::BOTH
            .into_iter()
            .filter(move |one| family.is_none_or(|family| family == *one))
            .flat_map(move |family| self.known(place, family))
            .map(move |address| SocketAddr::new(address, port))
            .filter(move |address| {
                !self.tried.iter().any(|(other, tried)| {
                    // Without ECH, two endpoints at one address are the same.
                    tried == address && (*other == place || !ech && !self.list[*other].endpoint.ech)
                })
            })
    }

    /// The addresses of one family: those from DNS, else the record's hints (RFC 9460 §7.3).
    fn known(&self, place: usize, family: Family) -> Vec<IpAddr> {
        let endpoint = &self.list[place].endpoint;
        let answer = |family| match self.lookups.get(&(endpoint.target, family)) {
            Some(Lookup::Known { addresses, .. }) => Some(&addresses[..]),
            _ => None,
        };
        let hints = || {
            endpoint
                .hints
                .iter()
                .copied()
                .filter(|hint| self.settings.allows(family) && Family::of(hint) == family)
                .collect()
        };
        let other_found = answer(family.other()).is_some_and(|known| !known.is_empty());
        match answer(family) {
            Some([]) if other_found => Vec::new(),
            None | Some([]) => hints(),
            Some(known) => known.to_vec(),
        }
    }

    /// Since when an address of an endpoint is known.
    fn since(&self, place: usize) -> Duration {
        let target = self.list[place].endpoint.target;
        Family::BOTH
            .iter()
            .filter_map(|family| match self.lookups.get(&(target, *family)) {
                Some(Lookup::Known { addresses, since }) if !addresses.is_empty() => Some(*since),
                _ => None,
            })
            .min()
            .unwrap_or(self.settled)
    }
}
