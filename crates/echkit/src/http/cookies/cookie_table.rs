//! Which cookies are taken, and which go when there are too many (RFC 6265 §5.3).

use std::collections::HashMap;

use cookie_store::{Cookie, CookieStore, RawCookie, StoreAction};
use url::Url;

/// Cookies that are kept, at most; a server cannot fill the memory with more.
pub(super) const MAX_COOKIES: usize = 3000;

/// So many of one site are spared while others have more (RFC 6265 §6.1).
pub(super) const SPARED_PER_SITE: usize = 50;

/// The longest name and value together (RFC 6265 §6.1).
pub(super) const MAX_LENGTH: usize = 4096;

/// Cookies, and when each was used last.
#[derive(Default)]
pub(super) struct CookieTable {
    cookies: CookieStore,
    /// For every cookie that is kept, expired ones included.
    used: HashMap<Id, u64>,
    /// Counts uses.
    clock: u64,
}

/// Domain, path and name: what makes two cookies one.
type Id = (String, String, String);

impl CookieTable {
    /// Name and value of those that go to `url`.
    pub(super) fn take_for(&mut self, url: &Url) -> Vec<(String, String)> {
        let found = self.cookies.matches(url);
        let found: Vec<_> = found.into_iter().map(|one| (id(one), pair(one))).collect();
        let pairs = found.into_iter().map(|(id, pair)| {
            self.touch(id);
            pair
        });
        pairs.collect()
    }

    /// Takes a cookie that `url` sets, unless it is not its own to set. One that has expired deletes
    /// the one of its name. Both hold in a full table too.
    pub(super) fn insert(&mut self, mut cookie: RawCookie<'static>, url: &Url) {
        if !is_well_formed(&cookie, url) {
            return;
        }
        if let Some(domain) = cookie.domain().map(|text| text.trim_start_matches('.')) {
            let domain = domain.to_ascii_lowercase();
            if psl::suffix_str(&domain).is_none_or(|suffix| suffix == domain) {
                // RFC 6265 §5.3, step 5.
                if url.host_str() != Some(&domain) {
                    return;
                }
                cookie.unset_domain();
            }
        }
        let Ok(cookie) = Cookie::try_from_raw_cookie(&cookie, url) else {
            return;
        };
        let cookie = cookie.into_owned();
        if url.scheme() != "https" && self.hides_a_secure_one(&cookie) {
            return;
        }
        let id = id(&cookie);
        match self.cookies.insert(cookie, url) {
            Ok(StoreAction::Inserted | StoreAction::UpdatedExisting) => {
                self.touch(id);
                self.bound();
            }
            Ok(StoreAction::ExpiredExisting) => self.remove(&id),
            // It is not for this host, or has expired.
            Err(_) => {}
        }
    }

    /// Whether this cookie, which came in the clear, would be sent in place of one that is `Secure`
    /// (RFC 6265bis §5.7, step 16).
    fn hides_a_secure_one(&self, new: &Cookie<'static>) -> bool {
        let (domain, path, name) = id(new);
        self.cookies.iter_unexpired().any(|old| {
            let (old_domain, old_path, old_name) = id(old);
            old.secure() == Some(true)
                && old_name == name
                && (is_below(&domain, &old_domain) || is_below(&old_domain, &domain))
                && covers(&old_path, &path)
        })
    }

    /// Forgets those that `keep` is false for.
    pub(super) fn retain(&mut self, keep: impl Fn(&Cookie<'static>) -> bool) {
        let dropped: Vec<_> = self.cookies.iter_any().filter(|one| !keep(one)).collect();
        let dropped: Vec<_> = dropped.into_iter().map(id).collect();
        for id in dropped {
            self.remove(&id);
        }
    }

    /// Those that have not expired.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Cookie<'static>> {
        self.cookies.iter_unexpired()
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.used.len()
    }

    fn touch(&mut self, id: Id) {
        self.clock += 1;
        self.used.insert(id, self.clock);
    }

    fn remove(&mut self, id: &Id) {
        self.used.remove(id);
        self.cookies.remove(&id.0, &id.1, &id.2);
    }

    /// Forgets what is too much, in the order of RFC 6265 §5.3: the expired, the least recently used
    /// of sites that have many, the least recently used of all. A site is what can be registered, so
    /// that hosts below it do not count as others.
    fn bound(&mut self) {
        if self.used.len() <= MAX_COOKIES {
            return;
        }
        self.retain(|cookie| !cookie.is_expired());
        while self.used.len() > MAX_COOKIES {
            let mut of_site: HashMap<&str, usize> = HashMap::new();
            for (domain, ..) in self.used.keys() {
                *of_site.entry(site(domain)).or_default() += 1;
            }
            let spared = |id: &Id| {
                of_site
                    .get(site(&id.0))
                    .is_none_or(|n| *n <= SPARED_PER_SITE)
            };
            let oldest = self
                .used
                .iter()
                .min_by_key(|(id, used)| (spared(id), **used));
            let Some(id) = oldest.map(|(id, _)| id.clone()) else {
                return;
            };
            self.remove(&id);
        }
    }
}

fn id(cookie: &Cookie<'_>) -> Id {
    let domain = cookie.domain.as_cow().unwrap_or_default().into_owned();
    let path: &str = cookie.path.as_ref();
    (domain, path.to_owned(), cookie.name().to_owned())
}

fn pair(cookie: &Cookie<'_>) -> (String, String) {
    let (name, value) = cookie.name_value();
    (name.to_owned(), value.to_owned())
}

/// What of a domain can be registered: `site.co.uk` of `www.site.co.uk`.
fn site(domain: &str) -> &str {
    psl::domain_str(domain).unwrap_or(domain)
}

/// Domain-match (RFC 6265 §5.1.3). No address ends with a dot and another one.
fn is_below(domain: &str, wide: &str) -> bool {
    let rest = domain.strip_suffix(wide);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Path-match (RFC 6265 §5.1.4).
fn covers(wide: &str, path: &str) -> bool {
    let rest = path.strip_prefix(wide);
    rest.is_some_and(|rest| rest.is_empty() || wide.ends_with('/') || rest.starts_with('/'))
}

/// Whether the cookie is one that `url` may set, whatever else is kept.
fn is_well_formed(cookie: &RawCookie<'_>, url: &Url) -> bool {
    let secure = cookie.secure() == Some(true);
    let safe = url.scheme() == "https";
    let (name, value) = cookie.name_value();
    let (domain, path) = (cookie.domain(), cookie.path());
    // RFC 6265bis §5.7, steps 3 and 4. A tab is one too: it would end a field of the file.
    let control = [Some(name), Some(value), domain, path];
    let mut control = control.into_iter().flatten().flat_map(str::chars);
    // RFC 6265bis §5.7: prefixes promise what the cookie has to have.
    let host_only = domain.is_none() && path == Some("/");
    name.len() + value.len() <= MAX_LENGTH
        && !control.any(char::is_control)
        && (safe || !secure)
        && (!has_prefix(name, "__Secure-") || secure)
        && (!has_prefix(name, "__Host-") || (secure && host_only))
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    let start = name.get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
