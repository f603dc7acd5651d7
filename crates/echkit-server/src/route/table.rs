//! Which backend server a name leads to.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::backend::Backend;

/// Names and wildcards, and the backend of each.
///
/// A name that is listed comes before wildcards, and of these the longest one that fits counts.
/// `*.example.com` fits every name below `example.com`, of one label or more, and not
/// `example.com` itself.
///
/// ```
/// use std::sync::Arc;
///
/// use echkit_server::route::{Backend, NameTable};
///
/// let shop = Arc::new(Backend::new("shop", ["192.0.2.1:443"])?);
/// let rest = Arc::new(Backend::new("rest", ["192.0.2.2:443"])?);
/// let mut names = NameTable::default();
/// names.insert("shop.example.com", shop)?;
/// names.insert("*.example.com", rest)?;
/// let backend = |name| names.find(name).map(|backend| backend.name());
/// assert_eq!(backend("shop.example.com"), Some("shop"));
/// assert_eq!(backend("a.b.example.com"), Some("rest"));
/// assert_eq!(backend("example.com"), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct NameTable {
    exact: HashMap<String, Arc<Backend>>,
    /// By what follows `*.`.
    below: HashMap<String, Arc<Backend>>,
}

impl NameTable {
    /// Adds a name, or a wildcard that begins with `*.`.
    ///
    /// # Errors
    ///
    /// When it is no host name, or is there already.
    pub fn insert(&mut self, name: &str, backend: Arc<Backend>) -> Result<(), NameError> {
        let (names, rest) = match name.strip_prefix("*.") {
            Some(rest) => (&mut self.below, rest),
            None => (&mut self.exact, name),
        };
        if !is_host_name(rest) {
            return Err(NameError::Invalid(name.to_owned()));
        }
        match names.insert(rest.to_ascii_lowercase(), backend) {
            None => Ok(()),
            Some(_) => Err(NameError::Duplicate(name.to_owned())),
        }
    }

    /// The backend of a name, whose letters may be upper or lower case.
    pub fn find(&self, name: &str) -> Option<&Arc<Backend>> {
        let name = name.to_ascii_lowercase();
        if let Some(found) = self.exact.get(&name) {
            return Some(found);
        }
        let mut rest = name.as_str();
        while let Some((_, above)) = rest.split_once('.') {
            if let Some(found) = self.below.get(above) {
                return Some(found);
            }
            rest = above;
        }
        None
    }

    /// How many names and wildcards there are.
    pub fn len(&self) -> usize {
        self.exact.len() + self.below.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The backends, each as often as names lead to it.
    pub(super) fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.exact.values().chain(self.below.values())
    }
}

/// Shows how many names there are, and none of them: they may be those that ECH hides.
impl fmt::Debug for NameTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameTable")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Letters, digits, `-` and `_` in labels, and dots between them: what a ClientHello is searched by.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let bytes = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(bytes)
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A name that a table does not take. The texts do not repeat it: it may be one that ECH hides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It is no host name.
    #[error(
        "not a host name; write it as in DNS, in ASCII (xn--…) and without a dot at the end, or as *.NAME for all \
         names below NAME"
    )]
    Invalid(String),
    /// It is in the table already.
    #[error("the name is listed twice, in upper or lower case; remove one of them")]
    Duplicate(String),
}

/// What a client-facing server knows of names: where accepted hellos go, and where the others do.
#[derive(Clone, Debug)]
pub struct RouteTable {
    inner: NameTable,
    outer: NameTable,
    public: Arc<Backend>,
}

impl RouteTable {
    /// A table without names. Hellos without accepted ECH go to `public`, the server of the
    /// public_name: it has the same ECH keys, and sends the retry_configs (RFC 9849 §7.1), which a
    /// client-facing server that does not terminate TLS cannot.
    pub fn new(public: Arc<Backend>) -> Self {
        Self {
            inner: NameTable::default(),
            outer: NameTable::default(),
            public,
        }
    }

    /// Where accepted hellos go, by the name inside. One whose name is not listed is answered with
    /// unrecognized_name.
    #[must_use]
    pub fn with_inner_names(mut self, names: NameTable) -> Self {
        self.inner = names;
        self
    }

    /// Where hellos without accepted ECH go, by the name in the clear, in place of the public
    /// backend.
    #[must_use]
    pub fn with_outer_names(mut self, names: NameTable) -> Self {
        self.outer = names;
        self
    }

    /// The backend of a name that ECH hid.
    pub fn inner(&self, name: &str) -> Option<&Arc<Backend>> {
        self.inner.find(name)
    }

    /// The backend of a hello without accepted ECH.
    pub fn outer(&self, name: Option<&str>) -> &Arc<Backend> {
        let found = name.and_then(|name| self.outer.find(name));
        found.unwrap_or(&self.public)
    }

    /// Every backend once.
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        let mut all: Vec<Arc<Backend>> = Vec::new();
        let listed = self.inner.backends().chain(self.outer.backends());
        for backend in std::iter::once(&self.public).chain(listed) {
            if !all.iter().any(|known| Arc::ptr_eq(known, backend)) {
                all.push(Arc::clone(backend));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn backend(name: &str) -> Arc<Backend> {
        Arc::new(Backend::new(name, ["127.0.0.1:1"]).unwrap())
    }

    #[test]
    fn names_come_before_wildcards_and_long_ones_before_short_ones() {
        let mut names = NameTable::default();
        for name in ["*.test", "*.a.test", "b.a.test", "A.Test"] {
            names.insert(name, backend(name)).unwrap();
        }
        let found = |name: &str| names.find(name).map(|found| found.name().to_owned());
        assert_eq!(found("b.a.test").as_deref(), Some("b.a.test"));
        assert_eq!(found("B.A.TEST").as_deref(), Some("b.a.test"));
        assert_eq!(found("c.a.test").as_deref(), Some("*.a.test"));
        assert_eq!(found("c.b.a.test").as_deref(), Some("*.a.test"));
        assert_eq!(found("a.test").as_deref(), Some("A.Test"));
        assert_eq!(found("b.test").as_deref(), Some("*.test"));
        assert_eq!(found("test"), None);
        assert_eq!(found(""), None);
        assert!(!format!("{names:?}").contains("a.test"));
    }

    #[test]
    fn names_that_no_hello_can_have_are_refused() {
        let mut names = NameTable::default();
        let b = backend("b");
        names.insert("a.test", Arc::clone(&b)).unwrap();
        for name in [
            "",
            "*",
            "*.",
            "a..test",
            "a.test.",
            "*.*.test",
            "a.*.test",
            "bücher.test",
            "a b",
            "a.test:443",
        ] {
            let refused = names.insert(name, Arc::clone(&b)).unwrap_err();
            assert_eq!(refused, NameError::Invalid(name.to_owned()));
        }
        let twice = names.insert("A.test", b).unwrap_err();
        assert_eq!(twice, NameError::Duplicate("A.test".to_owned()));
    }

    #[test]
    fn names_in_the_clear_lead_to_their_backend_or_to_the_public_one() {
        let mut inner = NameTable::default();
        inner.insert("secret.test", backend("secret")).unwrap();
        let mut outer = NameTable::default();
        outer.insert("www.test", backend("www")).unwrap();
        let table = RouteTable::new(backend("public"))
            .with_inner_names(inner)
            .with_outer_names(outer);
        assert_eq!(table.outer(Some("www.test")).name(), "www");
        for name in [None, Some("secret.test"), Some("other.test")] {
            assert_eq!(table.outer(name).name(), "public");
        }
        assert_eq!(table.inner("secret.test").unwrap().name(), "secret");
        assert!(table.inner("www.test").is_none());
        assert_eq!(table.backends().len(), 3);
    }
}
