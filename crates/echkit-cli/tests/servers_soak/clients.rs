//! The load: clients that know this or that of the keys, over HTTP/1.1 and HTTP/2, at the server
//! and at the router.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use echkit::config::EchConfigList;
use echkit::http::HttpVersions;
use echkit::report::EchStatus;
use echkit::{Client, EchMode, Error};
use tokio::task::JoinHandle;

use crate::bed::{BEHIND, Bed, SECRET, SERVED};

/// What a client knows of the server's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Knows {
    /// The key that is published.
    Current,
    /// The one before, which still opens hellos.
    Old,
    /// One that opens none: the server rejects, and its retry_configs have to work.
    VeryOld,
    /// None, and it sends GREASE.
    Grease,
    /// None, and it does not speak ECH.
    Nothing,
}

impl Knows {
    pub(crate) const ALL: [Self; 5] = [
        Self::Current,
        Self::Old,
        Self::VeryOld,
        Self::Grease,
        Self::Nothing,
    ];

    fn hides(self) -> bool {
        matches!(self, Self::Current | Self::Old | Self::VeryOld)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Server,
    Router,
}

/// How a request ended, if it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    accepted: bool,
    retries: u32,
    /// Whether the page is that of the place.
    right_page: bool,
}

impl End {
    /// Whether it is what has to come of it: hidden at once with a key that opens hellos, with the
    /// server's key after a rejection, and in the clear for those who hide nothing.
    pub(crate) fn is_right(self, knows: Knows) -> bool {
        let (accepted, retries) = match knows {
            Knows::Current | Knows::Old => (true, 0),
            Knows::VeryOld => (true, 1),
            Knows::Grease | Knows::Nothing => (false, 0),
        };
        self.right_page && self.accepted == accepted && self.retries == retries
    }
}

impl Place {
    pub(crate) const ALL: [Self; 2] = [Self::Server, Self::Router];

    fn address(self, bed: &Bed) -> SocketAddr {
        match self {
            Self::Server => bed.serve,
            Self::Router => bed.route,
        }
    }

    /// A client of its own, with connections to this place alone.
    fn client(
        self,
        bed: &Bed,
        knows: Knows,
        list: EchConfigList,
        versions: HttpVersions,
    ) -> Result<Client, Error> {
        let port = self.address(bed).port();
        let builder = Client::builder()
            .tls(bed.pki.tls())
            .no_cache()
            .http(versions)
            .connect_to(SECRET, 443, "127.0.0.1", port);
        let builder = match knows {
            Knows::Current | Knows::Old => builder.ech(EchMode::Require).ech_config(list),
            Knows::VeryOld => builder.ech(EchMode::Require).ech_config(bed.never.clone()),
            Knows::Grease => builder.ech(EchMode::Grease),
            Knows::Nothing => builder.ech(EchMode::Off),
        };
        builder.build()
    }

    async fn end(self, client: &Client, knows: Knows) -> Result<End, Error> {
        let mut response = client.get(&format!("https://{SECRET}/")).send().await?;
        let page = response.bytes().await?;
        // What the router does not open goes to the server of the public name.
        let expected = match self {
            Self::Router if knows.hides() => BEHIND,
            _ => SERVED,
        };
        let ech = response.report().ech;
        Ok(End {
            accepted: ech.status == EchStatus::Accepted,
            retries: ech.retries,
            right_page: page == expected,
        })
    }

    /// One request over a connection of its own.
    pub(crate) async fn fetch(
        self,
        bed: &Bed,
        knows: Knows,
        list: EchConfigList,
        versions: HttpVersions,
    ) -> Result<End, Error> {
        let client = self.client(bed, knows, list, versions)?;
        self.end(&client, knows).await
    }
}

/// Clients of every kind, each of which makes one connection after another.
pub(crate) struct Clients {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    /// The lists that were published, the newest last.
    lists: Mutex<Vec<EchConfigList>>,
    over: AtomicBool,
    /// How many turns each client has finished since the last key was published.
    turns: Vec<AtomicUsize>,
    ends: Mutex<Ends>,
}

impl Clients {
    /// With `always`, a request that fails is a failure of the test; else servers may be away.
    pub(crate) fn start(bed: &Arc<Bed>, always: bool) -> Self {
        let mut kinds = Vec::new();
        for place in Place::ALL {
            for knows in Knows::ALL {
                for versions in [HttpVersions::Http1, HttpVersions::Http2] {
                    kinds.push((place, knows, versions));
                }
            }
        }
        let shared = Arc::new(Shared {
            lists: Mutex::new(vec![bed.published()]),
            over: AtomicBool::new(false),
            turns: kinds.iter().map(|_| AtomicUsize::new(0)).collect(),
            ends: Mutex::default(),
        });
        let tasks = kinds.into_iter().enumerate();
        let tasks = tasks.map(|(number, (place, knows, versions))| {
            let (shared, bed) = (Arc::clone(&shared), Arc::clone(bed));
            tokio::spawn(async move {
                let mut turns = 0;
                while !shared.over.load(Ordering::Relaxed) || turns == 0 {
                    shared.turn(&bed, place, knows, versions, always).await;
                    shared.turns[number].fetch_add(1, Ordering::Relaxed);
                    turns += 1;
                }
            })
        });
        Self {
            tasks: tasks.collect(),
            shared,
        }
    }

    /// Panics if one has given up.
    pub(crate) fn all_are_there(&self) {
        let gone = self.tasks.iter().any(JoinHandle::is_finished);
        assert!(!gone, "a client gave up: its message is above");
    }

    /// Whether another list is published than they know; they do then.
    pub(crate) fn learn(&self, bed: &Bed) -> bool {
        let list = bed.published();
        let mut lists = self.shared.lists.lock().unwrap();
        if lists.last() == Some(&list) {
            return false;
        }
        lists.push(list);
        for turns in &self.shared.turns {
            turns.store(0, Ordering::Relaxed);
        }
        true
    }

    /// The least number of turns that each has finished since the last key was published.
    pub(crate) fn turns_since_the_last_key(&self) -> usize {
        let turns = self.shared.turns.iter();
        let turns = turns.map(|turns| turns.load(Ordering::Relaxed));
        turns.min().unwrap_or_default()
    }

    /// Lets them finish what they do.
    pub(crate) async fn finish(self) -> Ends {
        self.shared.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut self.shared.ends.lock().unwrap())
    }
}

impl Shared {
    /// Two requests over one connection.
    async fn turn(
        &self,
        bed: &Bed,
        place: Place,
        knows: Knows,
        versions: HttpVersions,
        always: bool,
    ) {
        let list = {
            let lists = self.lists.lock().unwrap();
            let back = if knows == Knows::Old { 2 } else { 1 };
            lists[lists.len().saturating_sub(back)].clone()
        };
        let client = place.client(bed, knows, list, versions).unwrap();
        for _ in 0..2 {
            let end = match place.end(&client, knows).await {
                Ok(end) => Some(end),
                Err(error) if always => {
                    panic!("{knows:?} at {place:?} over {versions:?}: {error}")
                }
                Err(_) => None,
            };
            let mut ends = self.ends.lock().unwrap();
            *ends.0.entry((place, knows, end)).or_default() += 1;
        }
    }
}

/// How often each kind ended how; `None` where a request failed.
#[derive(Default)]
pub(crate) struct Ends(BTreeMap<(Place, Knows, Option<End>), usize>);

impl Ends {
    pub(crate) fn assert_that_all_went_well(&self) {
        for (place, knows, end) in self.0.keys() {
            let right = end.is_some_and(|end| end.is_right(*knows));
            assert!(right, "{knows:?} at {place:?}: {end:?}");
        }
    }

    /// Requests may have failed, since servers were killed; those that did not went well.
    pub(crate) fn assert_that_nothing_was_wrong(&self) {
        for (place, knows, end) in self.0.keys() {
            let Some(end) = end else { continue };
            // A key may have been retired meanwhile: then the server's own was used.
            let hidden = !knows.hides() || end.accepted && end.retries <= 1;
            assert!(end.right_page && hidden, "{knows:?} at {place:?}: {end:?}");
        }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((place, knows, end), count) in &self.0 {
            write!(f, "{place:?}, {knows:?}: {count} requests ")?;
            match end {
                None => writeln!(f, "failed")?,
                Some(end) if end.accepted => {
                    writeln!(f, "hidden, {} connections again", end.retries)?;
                }
                Some(_) => writeln!(f, "served, not hidden")?,
            }
        }
        let all: usize = self.0.values().sum();
        write!(f, "{all} requests")
    }
}
