//! Discovery under way: what was asked, what came back, what is still out.
//!
//! A race asks when its time has come and uses each answer as it arrives; [`discover_with`]
//! asks everything and waits for all of it. The rules are the same.
//!
//! [`discover_with`]: super::discover_with

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use echkit_proto::race::{Family, Target};
use tokio::time::Instant;

use super::addresses::{Addresses, Lookup};
use super::https::{self, HttpsLookup};
use super::plan::Planned;
use super::{DiscoverOptions, Discovery, EndpointKind, Warning};
use crate::dns::{Answer, QueryError, RecordType, Resolver};
use crate::keyed_futures::KeyedFutures;
use crate::origin::{Host, Origin, Scheme};

/// How long queries that no caller waits for any more may take: their answers serve the cache
/// (draft-ietf-happy-happyeyeballs-v3, "Connection Attempts").
const AFTERLIFE: Duration = Duration::from_secs(1);

/// Discovery under way.
#[derive(Debug)]
pub(crate) struct Search {
    resolver: Resolver,
    options: Arc<DiscoverOptions>,
    started: Instant,
    discovery: Discovery,
    planned: Vec<Planned>,
    /// By the number of the target; the first is the origin's own host, or what stands for it.
    lookups: Vec<((Host, u16), Lookup)>,
    settled: bool,
    out: KeyedFutures<'static, Asked, Told>,
    ready: VecDeque<News>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Https,
    Addresses(Target, Family),
}

enum Told {
    /// `None` where no query was sent.
    Https(Option<Box<HttpsLookup>>),
    Addresses(Target, Family, Result<Answer, QueryError>),
}

/// What became known.
#[derive(Debug)]
pub(crate) enum News {
    /// SVCB resolution has concluded: see [`Search::planned`].
    Settled,
    /// Addresses, or that there are none.
    Addresses(Target, Family, Vec<IpAddr>),
}

impl Search {
    /// A search that has asked nothing yet.
    pub(crate) fn new(resolver: &Resolver, origin: &Origin, options: DiscoverOptions) -> Self {
        let own = match &options.connect_to {
            Some(place) => place.clone(),
            None => (origin.host.clone(), origin.port),
        };
        let mut search = Self {
            resolver: resolver.clone(),
            options: Arc::new(options),
            started: Instant::now(),
            discovery: Discovery::new(resolver, origin),
            planned: Vec::new(),
            lookups: Vec::new(),
            settled: false,
            out: KeyedFutures::new(),
            ready: VecDeque::new(),
        };
        search.target(own);
        search
    }

    /// Asks for the HTTPS records. Where there can be none, that is known at once.
    pub(crate) fn ask_https(&mut self) {
        let origin = &self.discovery.origin;
        if let Some(place) = &self.options.connect_to
            && !(self.options.ech && origin.scheme == Scheme::Https)
        {
            return self.settle(vec![fixed(place, None)]);
        }
        let Some(name) = origin.query_name() else {
            return self.settle(vec![self.authority()]);
        };
        // Without ECH the records of an `https` origin tell only of other places, and where the
        // addresses are given by hand they are not waited for.
        let waived = !self.options.ech && origin.scheme == Scheme::Https;
        if waived && self.lookups[Target::OWN.0].1.known().is_some() {
            return self.settle(vec![self.authority()]);
        }
        let host = origin.host.name().filter(|_| waived).cloned();
        self.discovery.query_name = Some(name.clone());
        self.discovery.protected = self.resolver.is_protected();
        let (resolver, options) = (self.resolver.clone(), Arc::clone(&self.options));
        self.out.push(Asked::Https, async move {
            if let Some(host) = host
                && resolver.knows_addresses(host.dns()).await
            {
                return Told::Https(None);
            }
            let lookup = https::look_up(&resolver, &options, &name).await;
            Told::Https(Some(Box::new(lookup)))
        });
    }

    /// The place that was given, else the origin's own host and port.
    fn authority(&self) -> Planned {
        if let Some(place) = &self.options.connect_to {
            return fixed(place, None);
        }
        let origin = &self.discovery.origin;
        Planned::plain(EndpointKind::Authority, origin.host.clone(), origin.port)
    }

    /// Asks for addresses. Those that are known without DNS are there at once.
    pub(crate) fn ask_addresses(&mut self, target: Target, family: Family) {
        let (_, lookup) = &mut self.lookups[target.0];
        if let Some(known) = lookup.known() {
            let of_family = known.iter().filter(|a| Family::of(a) == family);
            let news = News::Addresses(target, family, of_family.copied().collect());
            return self.ready.push_back(news);
        }
        let Some(name) = lookup.ask(family) else {
            return;
        };
        self.discovery.protected |= self.resolver.is_protected();
        let kind = match family {
            Family::V6 => RecordType::AAAA,
            Family::V4 => RecordType::A,
        };
        let resolver = self.resolver.clone();
        self.out.push(Asked::Addresses(target, family), async move {
            Told::Addresses(target, family, resolver.query(name.dns(), kind).await)
        });
    }

    /// Asks for all addresses of the origin's own host and of the endpoints known so far.
    pub(crate) fn ask_all_addresses(&mut self) {
        for target in (0..self.lookups.len()).map(Target) {
            for family in Family::BOTH {
                if self.options.family.includes(family)
                    && !self.lookups[target.0].1.was_asked(family)
                {
                    self.ask_addresses(target, family);
                }
            }
        }
    }

    /// The next thing that becomes known; `None` when nothing is out.
    pub(crate) async fn next(&mut self) -> Option<News> {
        if let Some(news) = self.ready.pop_front() {
            return Some(news);
        }
        if self.out.is_empty() {
            return None;
        }
        match self.out.next().await.1 {
            Told::Addresses(target, family, answer) => {
                let known = self.lookups[target.0].1.answer(family, answer);
                Some(News::Addresses(target, family, known))
            }
            Told::Https(lookup) => {
                let planned = match lookup {
                    Some(lookup) => {
                        let planned = self.discovery.plan(*lookup, &self.options);
                        self.or_fixed(planned)
                    }
                    None => {
                        self.discovery.query_name = None;
                        vec![self.authority()]
                    }
                };
                self.settle(planned);
                self.ready.pop_front()
            }
        }
    }

    /// The place that was given, where one was: of the records it takes the ECHConfigs alone.
    fn or_fixed(&self, planned: Vec<Planned>) -> Vec<Planned> {
        match &self.options.connect_to {
            None => planned,
            // What must not be connected to without the records is not reached elsewhere either.
            Some(_) if self.discovery.error.is_some() => Vec::new(),
            Some(place) => vec![fixed(place, planned.first())],
        }
    }

    /// Whether answers are out.
    pub(crate) fn is_busy(&self) -> bool {
        !self.out.is_empty() || !self.ready.is_empty()
    }

    /// Asks what is left to be asked, and waits for all answers.
    pub(crate) async fn complete(&mut self) {
        self.ask_all_addresses();
        while let Some(news) = self.next().await {
            if matches!(news, News::Settled) {
                self.ask_all_addresses();
            }
        }
    }

    /// The questions about addresses that have no answer yet.
    pub(crate) fn awaited(&self) -> Vec<(Target, Family)> {
        let awaited = self.out.keys().filter_map(|asked| match asked {
            Asked::Addresses(target, family) => Some((*target, *family)),
            Asked::Https => None,
        });
        awaited.collect()
    }

    /// Where to connect, in order, once this is settled. Addresses are told by [`News`].
    pub(crate) fn planned(&self) -> &[Planned] {
        &self.planned
    }

    /// What is known so far. It has no endpoints before [`Search::finish`].
    pub(crate) fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// What is known now. Outstanding queries are not waited for; their answers may still be
    /// cached.
    pub(crate) fn finish(mut self) -> Discovery {
        if !self.out.is_empty() {
            let mut out = self.out;
            tokio::spawn(tokio::time::timeout(AFTERLIFE, async move {
                while !out.is_empty() {
                    out.next().await;
                }
            }));
        }
        let known: Vec<((Host, u16), Addresses)> = self
            .lookups
            .into_iter()
            .map(|(place, lookup)| (place, lookup.gather()))
            .collect();
        let discovery = &mut self.discovery;
        discovery.settle(self.planned, &known);
        if discovery.protected
            && let Some(name) = self.resolver.looked_up_name()
        {
            discovery
                .warnings
                .push(Warning::ResolverLookedUp(name.to_owned()));
        }
        if discovery.protected
            && let Some(name) = self.resolver.looked_up_proxy_name()
        {
            discovery
                .warnings
                .push(Warning::ProxyLookedUp(name.to_owned()));
        }
        discovery.elapsed = self.started.elapsed();
        self.discovery
    }

    fn settle(&mut self, mut planned: Vec<Planned>) {
        if self.settled {
            return;
        }
        self.settled = true;
        for one in &mut planned {
            let place = (one.endpoint.target.clone(), one.endpoint.port);
            one.target = self.target(place);
        }
        self.planned = planned;
        self.ready.push_back(News::Settled);
    }

    /// The number of a host at a port.
    fn target(&mut self, place: (Host, u16)) -> Target {
        // Only fixed addresses may differ from port to port.
        let own_is_fixed = || {
            let name = self.discovery.origin.host.name();
            let mut fixed = self.options.resolve.iter();
            fixed.any(|fixed| fixed.host.is_none() || fixed.host.as_ref() == name)
        };
        let same = |known: &(Host, u16)| {
            *known == place
                || known.0 == place.0 && known.0 == self.discovery.origin.host && !own_is_fixed()
        };
        if let Some(index) = self.lookups.iter().position(|(known, _)| same(known)) {
            return Target(index);
        }
        let lookup = Lookup::new(&self.options, &place.0, place.1);
        self.lookups.push((place, lookup));
        Target(self.lookups.len() - 1)
    }
}

/// The one place to connect to, with the ECHConfigs of the record that comes first: what the origin's
/// zone publishes for ECH holds wherever its server is reached.
fn fixed((host, port): &(Host, u16), first: Option<&Planned>) -> Planned {
    let mut fixed = Planned::plain(EndpointKind::Fixed, host.clone(), *port);
    if let Some(Planned { endpoint, .. }) = first {
        fixed.endpoint.ech.clone_from(&endpoint.ech);
        fixed.endpoint.record = endpoint.record;
    }
    fixed
}
