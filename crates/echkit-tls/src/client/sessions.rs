//! TLS sessions to resume, kept apart by origin, port and use of ECH.
//!
//! A ticket from an ECH connection that is offered without ECH (or the other way round) would tie
//! the hidden visit to a visible one, and RFC 9849 §6.1.6 limits retry configs and tickets to the
//! same scope. rustls asks its store by server name alone, so each scope has a store of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore};

/// Scopes kept at most; the one that was used least recently goes first.
const MAX_SCOPES: usize = 512;

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
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    scopes: HashMap<Scope, Slot>,
    clock: u64,
}

#[derive(Debug)]
struct Slot {
    store: Arc<dyn ClientSessionStore>,
    used: u64,
}

impl Sessions {
    /// The store of one scope.
    pub(crate) fn store(&self, scope: &Scope) -> Arc<dyn ClientSessionStore> {
        let mut table = self
            .table
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        table.clock += 1;
        let now = table.clock;
        if let Some(slot) = table.scopes.get_mut(scope) {
            slot.used = now;
            return Arc::clone(&slot.store);
        }
        if table.scopes.len() >= MAX_SCOPES {
            let oldest = table
                .scopes
                .iter()
                .min_by_key(|(_, slot)| slot.used)
                .map(|(scope, _)| scope.clone());
            if let Some(oldest) = oldest {
                table.scopes.remove(&oldest);
            }
        }
        let store: Arc<dyn ClientSessionStore> =
            Arc::new(ClientSessionMemoryCache::new(ENTRIES_PER_SCOPE));
        table.scopes.insert(
            scope.clone(),
            Slot {
                store: Arc::clone(&store),
                used: now,
            },
        );
        store
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
        let table = sessions.table.lock().expect("no panic while locked");
        assert_eq!(table.scopes.len(), MAX_SCOPES);
    }
}
