//! The endpoints of a race, their addresses, and which of them is next.
//!
//! Each address is looked at once, and once more where an answer replaces what was known before:
//! a cursor per endpoint and family points past those that were tried.

use core::time::Duration;
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::endpoint::{Family, MAX_ADDRESSES, RaceEndpoint, RaceSettings, Target};

/// Endpoints and what is known of their addresses.
#[derive(Debug)]
pub(super) struct Places<T> {
    settings: RaceSettings,
    /// When the list was given.
    settled: Duration,
    list: Vec<Place<T>>,
    lookups: BTreeMap<(Target, Family), Lookup>,
    tried: HashSet<Trial>,
    /// Addresses looked at so far: what the tests of the bounds count.
    #[cfg(test)]
    pub(super) looked_at: usize,
}

#[derive(Debug)]
struct Place<T> {
    target: Target,
    port: u16,
    ech: bool,
    value: T,
    /// By family, the preferred one first.
    hints: [Vec<IpAddr>; 2],
    /// By family: the addresses before this one in the list were tried.
    cursors: [usize; 2],
    /// It answered and cannot be used.
    closed: bool,
    /// The family of the last address that was tried.
    last: Option<Family>,
}

/// What is tried once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Trial {
    /// `None` without ECH: two endpoints at one address are the same then.
    place: Option<usize>,
    address: SocketAddr,
}

/// An address of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    place: usize,
    pub(super) address: SocketAddr,
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
    pub(super) spot: Spot,
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

impl<T: Clone> Places<T> {
    pub(super) fn new(settings: RaceSettings) -> Self {
        Self {
            settings,
            settled: Duration::ZERO,
            list: Vec::new(),
            lookups: BTreeMap::new(),
            tried: HashSet::new(),
            #[cfg(test)]
            looked_at: 0,
        }
    }

    /// Notes that a question was asked. False if it was before.
    pub(super) fn expect(&mut self, target: Target, family: Family) -> bool {
        let known = self.lookups.contains_key(&(target, family));
        self.lookups.entry((target, family)).or_insert(Lookup::Due);
        !known
    }

    pub(super) fn settle(
        &mut self,
        now: Duration,
        endpoints: impl IntoIterator<Item = RaceEndpoint<T>>,
    ) {
        let settings = self.settings;
        let place = |endpoint: RaceEndpoint<T>| Place {
            hints: Family::BOTH.map(|family| match settings.allows(family) {
                true => first_of(family, endpoint.hints.iter().copied()),
                false => Vec::new(),
            }),
            target: endpoint.target,
            port: endpoint.port,
            ech: endpoint.ech,
            value: endpoint.value,
            cursors: [0; 2],
            closed: false,
            last: None,
        };
        self.list = endpoints.into_iter().map(place).collect();
        self.settled = now;
    }

    pub(super) fn targets(&self) -> Vec<Target> {
        self.list.iter().map(|place| place.target).collect()
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
        let addresses = first_of(family, addresses);
        let since = match self.lookups.get(&(target, family)) {
            Some(Lookup::Known { since, .. }) => *since,
            _ => now,
        };
        let known = Lookup::Known { addresses, since };
        self.lookups.insert((target, family), known);
        // Other lists may be in use now, of either family.
        for place in self.list.iter_mut().filter(|place| place.target == target) {
            place.cursors = [0; 2];
        }
    }

    pub(super) fn close(&mut self, spot: Spot) {
        self.list[spot.place].closed = true;
    }

    /// Notes that an address is being tried; gives what its endpoint carries.
    pub(super) fn take(&mut self, spot: Spot) -> T {
        self.tried.insert(self.trial(spot.place, spot.address));
        let place = &mut self.list[spot.place];
        place.last = Some(Family::of(&spot.address.ip()));
        place.value.clone()
    }

    /// Lets an address be tried once more.
    pub(super) fn untry(&mut self, spot: Spot) {
        self.tried.remove(&self.trial(spot.place, spot.address));
        self.list[spot.place].last = None;
        for place in &mut self.list {
            place.cursors = [0; 2];
        }
    }

    /// Whether some endpoint with or without ECH has an untried address, or may yet get one.
    pub(super) fn may_succeed(&mut self, ech: bool) -> bool {
        (0..self.list.len()).any(|place| {
            self.is_open(place, ech)
                && (self.is_awaited(place)
                    || Family::BOTH
                        .into_iter()
                        .any(|family| self.untried(place, family).is_some()))
        })
    }

    /// The best address to try, among endpoints with or without ECH.
    pub(super) fn next(&mut self, ech: bool) -> Option<Next> {
        let mut better_may_come = false;
        for place in 0..self.list.len() {
            if !self.is_open(place, ech) {
                continue;
            }
            let last = self.list[place].last;
            // Families take turns (RFC 8305 §4), beginning with IPv6.
            let turn = last.map_or(Family::V6, Family::other);
            let address = self
                .untried(place, turn)
                .or_else(|| self.untried(place, turn.other()));
            let Some(address) = address else {
                // What was tried may come to a good end, and is not waited for here.
                better_may_come |= self.is_awaited(place) && last.is_none();
                continue;
            };
            let other_family = last.is_none() && Family::of(&address.ip()) != Family::V6;
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
                spot: Spot { place, address },
                missing,
            });
        }
        None
    }

    fn is_open(&self, place: usize, ech: bool) -> bool {
        !self.list[place].closed && self.list[place].ech == ech
    }

    /// Whether an answer about addresses of this family is due.
    fn is_due(&self, place: usize, family: Family) -> bool {
        let key = (self.list[place].target, family);
        matches!(self.lookups.get(&key), Some(Lookup::Due))
    }

    fn is_awaited(&self, place: usize) -> bool {
        Family::BOTH
            .iter()
            .any(|family| self.is_due(place, *family))
    }

    fn trial(&self, place: usize, address: SocketAddr) -> Trial {
        Trial {
            place: self.list[place].ech.then_some(place),
            address,
        }
    }

    /// The first address of a family that may be tried.
    fn untried(&mut self, place: usize, family: Family) -> Option<SocketAddr> {
        loop {
            let state = &self.list[place];
            let cursor = state.cursors[family as usize];
            let address = *self.known(place, family).get(cursor)?;
            let address = SocketAddr::new(address, state.port);
            #[cfg(test)]
            {
                self.looked_at += 1;
            }
            if !self.tried.contains(&self.trial(place, address)) {
                return Some(address);
            }
            self.list[place].cursors[family as usize] += 1;
        }
    }

    /// The addresses of one family: those from DNS, else the record's hints (RFC 9460 §7.3).
    fn known(&self, place: usize, family: Family) -> &[IpAddr] {
        let Place { target, hints, .. } = &self.list[place];
        let answer = |family| match self.lookups.get(&(*target, family)) {
            Some(Lookup::Known { addresses, .. }) => Some(&addresses[..]),
            _ => None,
        };
        let other_found = answer(family.other()).is_some_and(|known| !known.is_empty());
        match answer(family) {
            Some([]) if other_found => &[],
            None | Some([]) => &hints[family as usize],
            Some(known) => known,
        }
    }

    /// Since when an address of an endpoint is known.
    fn since(&self, place: usize) -> Duration {
        let target = self.list[place].target;
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

/// The different addresses of a family, in their order, up to the bound.
fn first_of(family: Family, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut seen = HashSet::new();
    addresses
        .into_iter()
        .filter(|address| Family::of(address) == family && seen.insert(*address))
        .take(MAX_ADDRESSES)
        .collect()
}
