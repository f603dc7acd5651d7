//! TLS sessions to resume, kept apart by origin, port and use of ECH.
//!
//! A ticket from an ECH connection that is offered without ECH (or the other way round) would tie
//! the hidden visit to a visible one, and RFC 9849 §6.1.6 limits retry configs and tickets to the
//! same scope. rustls asks its store by server name only, so each scope has a store of its own.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore};

/// Scopes kept at most; the one that was used least recently goes first.
const MAX_SCOPES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(511);

/// Entries of one scope: its server name and, after rejections, public_names, eight tickets each.
const ENTRIES_PER_SCOPE: usize = 32;

/// Where a session may be resumed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// The origin's host, lower case.
    pub(crate) host: String,
    /// The origin's port.
    pub(crate) port: u16,
    /// Whether the session came from a real ECH offer.
    pub(crate) ech: bool,
}

/// The session stores of a client.
#[derive(Debug)]
pub(crate) struct Sessions {
    stores: Mutex<LruCache<Scope, Arc<dyn ClientSessionStore>>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            stores: Mutex::new(LruCache::new(MAX_SCOPES)),
        }
    }
}

impl Sessions {
    /// The store of one scope.
    pub(crate) fn store(&self, scope: &Scope) -> Arc<dyn ClientSessionStore> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || -> Arc<dyn ClientSessionStore> {
            Arc::new(ClientSessionMemoryCache::new(ENTRIES_PER_SCOPE))
        };
        Arc::clone(stores.get_or_insert_ref(scope, new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(host: &str, port: u16, ech: bool) -> Scope {
        Scope {
            host: host.to_owned(),
            port,
            ech,
        }
    }

    #[test]
    fn origin_port_and_ech_each_have_their_own_store() {
        let sessions = Sessions::default();
        let first = sessions.store(&scope("a.example", 443, true));
        assert!(Arc::ptr_eq(
            &first,
            &sessions.store(&scope("a.example", 443, true))
        ));
        for other in [
            scope("a.example", 443, false),
            scope("a.example", 8443, true),
            scope("b.example", 443, true),
        ] {
            assert!(!Arc::ptr_eq(&first, &sessions.store(&other)), "{other:?}");
        }
    }

    #[test]
    fn the_number_of_stores_is_bounded_and_the_recent_ones_stay() {
        let sessions = Sessions::default();
        let kept = scope("kept.example", 443, true);
        let first = sessions.store(&kept);
        for port in 0..2000 {
            sessions.store(&scope("other.example", port, true));
            assert!(Arc::ptr_eq(&first, &sessions.store(&kept)));
        }
        let stores = sessions.stores.lock().expect("no panic while locked");
        assert_eq!(stores.len(), MAX_SCOPES.get());
    }
}
