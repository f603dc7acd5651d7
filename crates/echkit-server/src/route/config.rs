//! What `ech route` is told: in a TOML file, or by the caller.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use echkit_proto::hello::MAX_HELLO;
use echkit_proto::server::Rules;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::Spanned;

use super::backend::Backend;
use super::limits::RouteLimits;
use super::table::{NameTable, RouteTable};
use crate::KeyAccess;

/// The configuration of a client-facing server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteConfig {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// The directory of the ECH keys.
    pub keys: PathBuf,
    /// Who may read the private keys there.
    pub key_access: KeyAccess,
    /// Names and backends.
    pub table: RouteTable,
    /// How hellos are judged.
    pub rules: Rules,
    /// Whether each client comes with a PROXY protocol header.
    pub accept_proxy: bool,
    /// How often each address of a backend is connected to, to see whether it is up; `None`: never.
    pub health_every: Option<Duration>,
    /// How long connections may go on after the server was told to end.
    pub drain_time: Duration,
    /// Its limits.
    pub limits: RouteLimits,
}

/// Unless told otherwise.
const DRAIN_TIME: Duration = Duration::from_secs(30);

impl RouteConfig {
    /// A server on port 443 with the keys of a directory, and the defaults for everything else.
    pub fn new(keys: impl Into<PathBuf>, table: RouteTable) -> Self {
        Self {
            listen: vec![SocketAddr::from(([0_u16; 8], 443))],
            keys: keys.into(),
            key_access: KeyAccess::Owner,
            table,
            rules: Rules::default(),
            accept_proxy: false,
            health_every: None,
            drain_time: DRAIN_TIME,
            limits: RouteLimits::default(),
        }
    }

    /// Reads the TOML in `text`, which is the file `path`; paths in it are relative to where that
    /// is. docs/route.md lists the keys.
    ///
    /// # Errors
    ///
    /// All that is wrong, each with its line. No text has a name of `inner_names`.
    pub fn from_toml(path: &Path, text: &str) -> Result<Self, RouteProblems> {
        let mut problems = RouteProblems::new(path, text);
        let file = match toml::from_str::<File>(text) {
            Ok(file) => file,
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                problems.add(at, error.message());
                return Err(problems);
            }
        };
        let config = file.config(path, &mut problems);
        match config.filter(|_| problems.is_empty()) {
            Some(config) => Ok(config),
            None => Err(problems),
        }
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<Spanned<Listen>>,
    keys: PathBuf,
    #[serde(default)]
    group_readable_keys: bool,
    public: Spanned<String>,
    #[serde(default)]
    accept_proxy: bool,
    #[serde(default)]
    check_outer_name: bool,
    #[serde(default)]
    trial_decryption: bool,
    health_every: Option<Time>,
    #[serde(default)]
    backends: BTreeMap<Spanned<String>, BackendFile>,
    #[serde(default)]
    inner_names: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    outer_names: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    limits: LimitsFile,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Listen {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendFile {
    addresses: Vec<String>,
    #[serde(default)]
    send_proxy: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    hello_time: Option<Time>,
    connect_time: Option<Time>,
    idle_time: Option<Time>,
    drain_time: Option<Time>,
    hello_bytes: Option<Spanned<usize>>,
    hellos: Option<Spanned<usize>>,
    hellos_per_address: Option<Spanned<usize>>,
    connections: Option<Spanned<usize>>,
    connections_per_address: Option<Spanned<usize>>,
}

/// A time as people write it.
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Seconds(u64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer) {
            Ok(Written::Seconds(seconds)) => seconds.to_string(),
            Ok(Written::Text(text)) => text,
            Err(_) => String::new(),
        };
        crate::time_text::parse_time(&text)
            .map(Self)
            .map_err(D::Error::custom)
    }
}

impl File {
    fn config(self, path: &Path, problems: &mut RouteProblems) -> Option<RouteConfig> {
        let listen = self.listen_on(problems);
        let limits = self.limits.read(problems);
        let mut backends = Backends::default();
        for (name, file) in self.backends {
            let at = name.span().start;
            match Backend::new(name.into_inner(), file.addresses) {
                Ok(backend) => backends.add(backend.with_proxy_header(file.send_proxy)),
                Err(error) => problems.add(at, error),
            }
        }
        let public = backends.find("public", self.public, problems);
        let inner = backends.names("inner_names", self.inner_names, problems);
        let outer = backends.names("outer_names", self.outer_names, problems);
        let folder = path.parent().unwrap_or(Path::new(""));
        let table = RouteTable::new(public?)
            .with_inner_names(inner)
            .with_outer_names(outer);
        let mut config = RouteConfig::new(folder.join(self.keys), table);
        if let Some(listen) = listen {
            config.listen = listen;
        }
        if self.group_readable_keys {
            config.key_access = KeyAccess::Group;
        }
        config.rules.check_outer_sni = self.check_outer_name;
        config.rules.trial_decryption = self.trial_decryption;
        config.accept_proxy = self.accept_proxy;
        config.health_every = self.health_every.map(|time| time.0);
        if let Some(time) = self.limits.drain_time {
            config.drain_time = time.0;
        }
        config.limits = limits;
        Some(config)
    }

    fn listen_on(&self, problems: &mut RouteProblems) -> Option<Vec<SocketAddr>> {
        let listen = self.listen.as_ref()?;
        let at = listen.span().start;
        let written = match listen.get_ref() {
            Listen::One(one) => std::slice::from_ref(one),
            Listen::Several(several) => several,
        };
        let mut addresses = Vec::new();
        for text in written {
            match text.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => problems.add(
                    at,
                    format_args!(
                        "listen: {text:?} is not an address with a port; write \"[::]:443\""
                    ),
                ),
            }
        }
        if written.is_empty() {
            problems.add(
                at,
                "listen: there is no address; write listen = \"[::]:443\"",
            );
        }
        Some(addresses)
    }
}

impl LimitsFile {
    fn read(&self, problems: &mut RouteProblems) -> RouteLimits {
        let mut limits = RouteLimits::default();
        let time = |given: &Option<Time>, into: &mut Duration| {
            if let Some(time) = given {
                *into = time.0;
            }
        };
        time(&self.hello_time, &mut limits.hello_timeout);
        time(&self.connect_time, &mut limits.connect_timeout);
        time(&self.idle_time, &mut limits.idle_timeout);
        let mut count = |key, given: &Option<Spanned<usize>>, most, into: &mut usize| {
            let Some(given) = given else { return };
            match *given.get_ref() {
                number @ 1.. if number <= most => *into = number,
                number => problems.add(
                    given.span().start,
                    format_args!("limits.{key}: {number} is not from 1 to {most}"),
                ),
            }
        };
        // What a semaphore holds.
        let most = usize::MAX >> 3;
        count(
            "hello_bytes",
            &self.hello_bytes,
            MAX_HELLO,
            &mut limits.max_hello,
        );
        count("hellos", &self.hellos, most, &mut limits.hellos);
        count(
            "hellos_per_address",
            &self.hellos_per_address,
            most,
            &mut limits.hellos_per_address,
        );
        count(
            "connections",
            &self.connections,
            most,
            &mut limits.connections,
        );
        count(
            "connections_per_address",
            &self.connections_per_address,
            most,
            &mut limits.connections_per_address,
        );
        limits
    }
}

/// Backends by their name, and those that are given as an address alone.
#[derive(Default)]
struct Backends(BTreeMap<String, Arc<Backend>>);

impl Backends {
    fn add(&mut self, backend: Backend) {
        self.0.insert(backend.name().to_owned(), Arc::new(backend));
    }

    fn find(
        &mut self,
        table: &str,
        written: Spanned<String>,
        problems: &mut RouteProblems,
    ) -> Option<Arc<Backend>> {
        let at = written.span().start;
        let name = written.into_inner();
        if let Some(known) = self.0.get(&name) {
            return Some(Arc::clone(known));
        }
        match Backend::new(name.clone(), [name.clone()]) {
            Ok(backend) => {
                self.add(backend);
                self.0.get(&name).cloned()
            }
            Err(_) => {
                problems.add(
                    at,
                    format_args!(
                        "{table}: there is no [backends.{name}], and it is not HOST:PORT; add the \
                         backend, or write the address"
                    ),
                );
                None
            }
        }
    }

    fn names(
        &mut self,
        table: &str,
        written: BTreeMap<Spanned<String>, Spanned<String>>,
        problems: &mut RouteProblems,
    ) -> NameTable {
        let mut names = NameTable::default();
        for (name, backend) in written {
            let at = name.span().start;
            let Some(backend) = self.find(table, backend, problems) else {
                continue;
            };
            if let Err(error) = names.insert(name.get_ref(), backend) {
                problems.add(at, format_args!("{table}: {error}"));
            }
        }
        names
    }
}

/// All that is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteProblems {
    path: PathBuf,
    /// Where each line of the file begins.
    lines: Vec<usize>,
    found: Vec<(usize, String)>,
}

impl RouteProblems {
    fn new(path: &Path, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            path: path.to_owned(),
            lines: ends.map(|(at, _)| at + 1).collect(),
            found: Vec::new(),
        }
    }

    fn add(&mut self, at: usize, what: impl fmt::Display) {
        let line = 1 + self.lines.iter().filter(|begin| **begin <= at).count();
        self.found.push((line, what.to_string().replace('\n', " ")));
        self.found.sort();
    }

    fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// One text for each, with file and line, in the order of the file.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let path = self.path.display();
        let line = move |(line, what): &(usize, String)| format!("{path}:{line}: {what}");
        self.found.iter().map(line)
    }
}

/// All of them, in one line.
impl fmt::Display for RouteProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RouteProblems {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<RouteConfig, Vec<String>> {
        RouteConfig::from_toml(Path::new("etc/route.toml"), text)
            .map_err(|problems| problems.lines().collect())
    }

    #[test]
    fn a_whole_file_is_read() {
        let config = read(
            r#"
            listen = ["127.0.0.1:8443", "[::1]:8443"]
            keys = "keys"
            group_readable_keys = true
            public = "front"
            accept_proxy = true
            check_outer_name = true
            trial_decryption = true
            health_every = "5s"

            [backends.front]
            addresses = ["192.0.2.1:443"]

            [backends.app]
            addresses = ["192.0.2.2:443", "app.internal:443"]
            send_proxy = true

            [inner_names]
            "secret.test" = "app"
            "*.hidden.test" = "192.0.2.3:443"

            [outer_names]
            "www.test" = "app"

            [limits]
            hello_time = "2s"
            connect_time = 3
            idle_time = "1h"
            drain_time = "250ms"
            hello_bytes = 20000
            hellos = 10
            hellos_per_address = 2
            connections = 100
            connections_per_address = 20
            "#,
        )
        .unwrap();
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.keys, Path::new("etc/keys"));
        assert_eq!(config.key_access, KeyAccess::Group);
        assert!(config.accept_proxy && config.rules.check_outer_sni);
        assert!(config.rules.trial_decryption && !config.rules.backend);
        assert_eq!(config.health_every, Some(Duration::from_secs(5)));
        assert_eq!(config.drain_time, Duration::from_millis(250));
        let app = config.table.inner("secret.test").unwrap();
        assert_eq!((app.name(), app.proxy_header()), ("app", true));
        assert_eq!(app.addresses().count(), 2);
        let hidden = config.table.inner("a.hidden.test").unwrap();
        assert_eq!(hidden.addresses().next(), Some("192.0.2.3:443"));
        assert_eq!(config.table.outer(Some("www.test")).name(), "app");
        assert_eq!(config.table.outer(None).name(), "front");
        let limits = &config.limits;
        assert_eq!(limits.hello_timeout, Duration::from_secs(2));
        assert_eq!(limits.connect_timeout, Duration::from_secs(3));
        assert_eq!(limits.idle_timeout, Duration::from_secs(3_600));
        assert_eq!((limits.max_hello, limits.hellos), (20_000, 10));
        assert_eq!((limits.hellos_per_address, limits.connections), (2, 100));
        assert_eq!(limits.connections_per_address, 20);
    }

    #[test]
    fn little_is_needed() {
        let config = read("keys = \"/k\"\npublic = \"192.0.2.1:443\"").unwrap();
        assert_eq!(config.listen, ["[::]:443".parse().unwrap()]);
        let one = read("listen = \"[::]:1\"\nkeys = \"/k\"\npublic = \"192.0.2.1:443\"").unwrap();
        assert_eq!(one.listen, ["[::]:1".parse().unwrap()]);
        assert_eq!(config.limits, RouteLimits::default());
        assert_eq!(config.table.backends().len(), 1);
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_line_and_without_a_hidden_name() {
        let problems = read(
            r#"
listen = ["localhost"]
keys = "keys"
public = "front"
[backends.app]
addresses = []
[inner_names]
"secret.test" = "elsewhere"
"Secret.test" = "192.0.2.1:1"
"secret.test." = "192.0.2.1:1"
"SECRET.test" = "192.0.2.1:1"
[limits]
hellos = 0
hello_bytes = 70000
"#,
        )
        .unwrap_err();
        let starts: Vec<&str> = problems
            .iter()
            .map(|problem| &problem[..problem.find(": ").unwrap()])
            .collect();
        let expected = [2, 4, 5, 8, 9, 10, 13, 14].map(|line| format!("etc/route.toml:{line}"));
        assert_eq!(starts, expected, "{problems:#?}");
        for problem in &problems {
            assert!(!problem.to_lowercase().contains("secret"), "{problem}");
        }
    }

    #[test]
    fn keys_that_are_missing_or_unknown_are_named() {
        for (text, line, said) in [
            ("public = \"a:1\"", 1, "missing field `keys`"),
            (
                "keys = \"k\"\npublick = \"a:1\"",
                2,
                "unknown field `publick`",
            ),
            (
                "keys = \"k\"\npublic = \"a:1\"\nhealth_every = \"soon\"",
                3,
                "not a time",
            ),
            ("keys = \"k\"\npublic = ", 2, ""),
            ("keys = 5\npublic = \"a:1\"", 1, "expected"),
        ] {
            let problems = read(text).unwrap_err();
            assert_eq!(problems.len(), 1, "{text}");
            let start = format!("etc/route.toml:{line}: ");
            assert!(problems[0].starts_with(&start), "{}", problems[0]);
            assert!(problems[0].contains(said), "{}", problems[0]);
        }
    }
}
