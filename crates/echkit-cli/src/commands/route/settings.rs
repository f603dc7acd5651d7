//! The configuration of a router, from its file or from flags.

use std::sync::Arc;

use echkit_server::route::{Backend, NameTable, RouteConfig, RouteProblems, RouteTable};

use crate::cli::route::RouteArgs;
use crate::failure::Failure;

/// Why there is no configuration.
pub(super) enum Problems {
    /// The file cannot be read.
    Unread(String),
    /// All that is wrong in it.
    File(RouteProblems),
    /// All that is wrong with the flags.
    Flags(Vec<String>),
}

impl Problems {
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Unread(line) => vec![line.clone()],
            Self::File(problems) => problems.lines().collect(),
            Self::Flags(lines) => lines.clone(),
        }
    }

    pub(super) fn into_failure(self) -> Failure {
        match &self {
            Self::Unread(line) => Failure::read(line),
            Self::File(problems) => Failure::content(problems.to_string()),
            Self::Flags(lines) => Failure::usage(lines.join("; ")),
        }
    }
}

pub(super) fn read(args: &RouteArgs) -> Result<RouteConfig, Problems> {
    match &args.config {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Problems::Unread(format!(
                    "{}: {error}; name a file that can be read with --config",
                    path.display()
                ))
            })?;
            RouteConfig::from_toml(path, &text).map_err(Problems::File)
        }
        None => from_flags(args),
    }
}

fn from_flags(args: &RouteArgs) -> Result<RouteConfig, Problems> {
    let mut wrong = Vec::new();
    let public = args.public.clone().unwrap_or_default();
    let public = Backend::new("public", [public])
        .map_err(|error| wrong.push(format!("--public: {error}")))
        .ok();
    let inner = names(
        "--inner-name",
        &args.inner_name,
        args.send_proxy,
        &mut wrong,
    );
    let outer = names("--outer-name", &args.outer_name, false, &mut wrong);
    let (Some(public), true) = (public, wrong.is_empty()) else {
        return Err(Problems::Flags(wrong));
    };
    let table = RouteTable::new(Arc::new(public))
        .with_inner_names(inner)
        .with_outer_names(outer);
    let mut config = RouteConfig::new(args.keys.clone().unwrap_or_default(), table);
    if !args.listen.is_empty() {
        config.listen.clone_from(&args.listen);
    }
    config.accept_proxy = args.accept_proxy;
    Ok(config)
}

fn names(flag: &str, given: &[String], send_proxy: bool, wrong: &mut Vec<String>) -> NameTable {
    let mut names = NameTable::default();
    for text in given {
        let Some((name, addresses)) = text.split_once('=') else {
            wrong.push(format!("{flag} {text}: write NAME=HOST:PORT"));
            continue;
        };
        match Backend::new(addresses, addresses.split(',')) {
            Ok(backend) => {
                let backend = Arc::new(backend.with_proxy_header(send_proxy));
                if let Err(error) = names.insert(name, backend) {
                    wrong.push(format!("{flag} {text}: {error}"));
                }
            }
            Err(error) => wrong.push(format!("{flag} {text}: {error}")),
        }
    }
    names
}
