//! The `ech` parameter of a record, judged once (RFC 9848 §3, RFC 9849 §4).

use std::fmt;
use std::sync::Arc;

use crate::config::{Chosen, ConfigVerdict, EchConfigList, Selection};

/// The ECHConfigList of a record, with what a client can use of it.
///
/// It is judged where its record is and travels with the endpoint; clones share one judgement. Two
/// are equal when their lists are, from which the rest follows.
#[derive(Clone)]
pub struct EchOfRecord(Arc<Judged>);

struct Judged {
    list: EchConfigList,
    /// `None` for a client that does no ECH.
    selection: Option<Selection>,
}

impl EchOfRecord {
    /// Judges the configs of a list and chooses among them.
    pub fn judge(list: EchConfigList) -> Self {
        let selection = Some(list.select());
        Self(Arc::new(Judged { list, selection }))
    }

    /// The list for a client that does no ECH: none of its configs is chosen.
    pub(super) fn ignored(list: EchConfigList) -> Self {
        Self(Arc::new(Judged {
            list,
            selection: None,
        }))
    }

    /// The list as published.
    pub fn list(&self) -> &EchConfigList {
        &self.0.list
    }

    /// What came of looking through the list; `None` for a client that does no ECH.
    pub fn selection(&self) -> Option<&Selection> {
        self.0.selection.as_ref()
    }

    /// The config to offer.
    pub fn chosen(&self) -> Option<&Chosen> {
        self.selection()?.chosen.as_ref()
    }

    /// Whether there is a config to offer.
    pub fn is_usable(&self) -> bool {
        self.chosen().is_some()
    }

    /// The verdicts on the configs that were looked at, in the list's order.
    pub fn verdicts(&self) -> &[ConfigVerdict] {
        self.selection()
            .map_or(&[], |selection| &selection.verdicts)
    }
}

impl PartialEq for EchOfRecord {
    fn eq(&self, other: &Self) -> bool {
        self.list() == other.list()
    }
}

impl Eq for EchOfRecord {}

impl fmt::Debug for EchOfRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchOfRecord")
            .field("list", self.list())
            .field("chosen", &self.chosen().map(Chosen::index))
            .finish()
    }
}
