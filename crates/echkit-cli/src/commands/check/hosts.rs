//! The hosts to check, from the command line and from a file.

use std::path::Path;

use echkit::Origin;

use crate::cli::check::CheckArgs;
use crate::commands::network;
use crate::failure::Failure;

/// A list of hosts larger than this is not one.
const MAX_BATCH: u64 = 64 * 1024 * 1024;

/// Each origin once, in the order in which they were given.
pub(super) fn origins(args: &CheckArgs) -> Result<Vec<Origin>, Failure> {
    let mut origins = Vec::new();
    for host in &args.hosts {
        origins.push(network::origin(host)?);
    }
    if let Some(path) = &args.batch {
        let text = read(path)?;
        for (index, line) in text.lines().enumerate() {
            let host = line.split('#').next().unwrap_or_default().trim();
            if host.is_empty() {
                continue;
            }
            let origin = network::origin(host).map_err(|failure| {
                let why = failure.line().unwrap_or_default();
                Failure::content(format!("{}: line {}: {why}", path.display(), index + 1))
            })?;
            origins.push(origin);
        }
        if origins.is_empty() {
            let why = "it names no host; write one on each line";
            return Err(Failure::content(format!("{}: {why}", path.display())));
        }
    }
    let mut seen = std::collections::HashSet::new();
    origins.retain(|origin| seen.insert(origin.to_string()));
    Ok(origins)
}

fn read(path: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let name = path.display();
    let unread = |error: std::io::Error| Failure::read(format!("{name}: cannot be read: {error}"));
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(path).map_err(unread)?),
    };
    source
        .take(MAX_BATCH + 1)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    if bytes.len() as u64 > MAX_BATCH {
        let why = format!("larger than {MAX_BATCH} bytes; split it");
        return Err(Failure::content(format!("{name}: {why}")));
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::content(format!(
            "{name}: not UTF-8 text; write one host on each line"
        ))
    })
}
