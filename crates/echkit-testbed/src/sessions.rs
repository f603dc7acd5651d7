//! Session tickets that the servers have issued, so that a test can look for them on the wire.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

/// Sessions that a server remembers.
const SESSIONS: usize = 256;

/// Tickets remembered for [`Tickets::issued`]; the oldest go first.
const TICKETS: usize = 4096;

/// Tickets of all servers of a testbed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tickets(Arc<Mutex<Vec<Vec<u8>>>>);

impl Tickets {
    pub(crate) fn issued(&self) -> Vec<Vec<u8>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A session store whose tickets are remembered.
    ///
    /// rustls without a ticketer is stateful: the ticket on the wire is the key in the store.
    pub(crate) fn store(&self) -> Arc<dyn StoresServerSessions> {
        Arc::new(Store {
            sessions: ServerSessionMemoryCache::new(SESSIONS),
            tickets: self.clone(),
        })
    }
}

#[derive(Debug)]
struct Store {
    sessions: Arc<ServerSessionMemoryCache>,
    tickets: Tickets,
}

impl StoresServerSessions for Store {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let mut issued = self
            .tickets
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if issued.len() == TICKETS {
            issued.remove(0);
        }
        issued.push(key.clone());
        drop(issued);
        self.sessions.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}
