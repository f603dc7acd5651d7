//! Where the ECH keys of a server come from, and which sites they need.

use std::path::Path;

use echkit::server::EchKeys;

use super::certificates::SiteNames;
use super::config::ServeConfig;
use super::problem::{ServeProblem, ServeProblemKind};
use crate::{KeyAccess, KeyDirectory, KeyDirectoryError};

/// The directory that holds the keys.
pub(super) fn key_directory(config: &ServeConfig) -> Result<KeyDirectory, KeyDirectoryError> {
    let access = match config.group_readable_keys {
        true => KeyAccess::Group,
        false => KeyAccess::Owner,
    };
    Ok(KeyDirectory::open(&config.keys)?.with_access(access))
}

/// Public names of keys that no site has: clients whose offer is rejected could not authenticate
/// the server (RFC 9849 §6.1.7), and would not connect.
pub(super) fn uncovered_public_names(
    path: &Path,
    keys: &EchKeys,
    names: &SiteNames,
) -> Vec<ServeProblem> {
    let mut missing: Vec<String> = keys
        .keys()
        .iter()
        .filter_map(|key| key.config().contents())
        .filter_map(|contents| contents.public_name.as_str().map(str::to_ascii_lowercase))
        .filter(|name| names.find(name).is_none())
        .collect();
    missing.sort();
    missing.dedup();
    let problem = |name: String| {
        let message = format!(
            "{}: no site has the public name {name} of these keys; add a site for it, with a \
             certificate that covers it",
            path.display()
        );
        ServeProblem::new(ServeProblemKind::Content, message)
    };
    missing.into_iter().map(problem).collect()
}
