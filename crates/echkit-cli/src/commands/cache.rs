//! `ech cache`: what is kept of servers' retry configs in a file.

use data_encoding::BASE64;
use echkit::cache::{CachedConfigs, ConfigCache};
use serde_json::json;

use crate::cli::{CacheAction, CacheArgs};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(args: CacheArgs) -> Result<(), Failure> {
    let cache = open(&args.ech_cache)?;
    match args.action {
        CacheAction::Show => show(&cache, args.json),
        CacheAction::Clear => {
            let entries = cache.entries().len();
            cache
                .clear()
                .map_err(|error| Failure::write(error.to_string()))?;
            match args.json {
                true => output::json(&json!({ "cleared": entries })),
                false => output::stdout(format!("{entries} cleared\n").as_bytes()),
            }
        }
    }
}

/// The cache in a file.
pub(crate) fn open(path: &std::path::Path) -> Result<ConfigCache, Failure> {
    ConfigCache::open(path).map_err(|error| Failure::read(format!("--ech-cache: {error}")))
}

fn show(cache: &ConfigCache, as_json: bool) -> Result<(), Failure> {
    let entries = cache.entries();
    if as_json {
        let entries: Vec<_> = entries.iter().map(entry).collect();
        return output::json(&json!({ "entries": entries }));
    }
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    let text = match rows.is_empty() {
        true => "nothing is kept\n".to_owned(),
        false => output::table(&rows),
    };
    output::stdout(text.as_bytes())
}

fn entry(entry: &CachedConfigs) -> serde_json::Value {
    json!({
        "host": entry.host,
        "port": entry.port,
        "published": entry.published.as_deref().map(|list| BASE64.encode(list)),
        "configs": entry.configs.to_base64(),
        "seconds_left": entry.left.as_secs(),
    })
}

fn row(entry: &CachedConfigs) -> Vec<String> {
    let source = match entry.published {
        Some(_) => "for the configs in its record",
        None => "learned, without a record",
    };
    vec![
        format!("{}:{}", entry.host, entry.port),
        source.to_owned(),
        format!("{} s left", entry.left.as_secs()),
    ]
}
