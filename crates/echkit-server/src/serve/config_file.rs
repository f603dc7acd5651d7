//! The configuration as a TOML file.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::config::{
    AccessLogConfig, AccessLogFormat, ProxyTarget, ServeConfig, ServeLimits, ServedSite,
    SiteContent,
};
use super::problem::{ServeProblem, ServeProblemKind, ServeProblems};
use crate::time_text::parse_time;

impl ServeConfig {
    /// Reads the TOML in `text`, which is the file `path`; paths in it are relative to where that
    /// is. docs/serve.md lists the keys.
    ///
    /// # Errors
    ///
    /// All that is wrong, each with its line.
    pub fn from_toml(path: &Path, text: &str) -> Result<Self, ServeProblems> {
        let file = ConfigText {
            path,
            text,
            problems: RefCell::default(),
        };
        let config = file.read();
        ServeProblems::none_or(file.problems.into_inner(), config)
    }

    /// Reads the file `path` as [`from_toml`](Self::from_toml) does.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not right.
    pub fn from_file(path: &Path) -> Result<Self, ServeProblems> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!(
                "{}: {error}; name a file that can be read with --config",
                path.display()
            );
            ServeProblem::new(ServeProblemKind::Unreadable, message)
        })?;
        Self::from_toml(path, &text)
    }
}

/// A file that is being read, and what was found wrong with it.
struct ConfigText<'a> {
    path: &'a Path,
    text: &'a str,
    problems: RefCell<Vec<ServeProblem>>,
}

/// A table of the file. What nobody takes from it is a key that does not exist.
struct Section<'a> {
    file: &'a ConfigText<'a>,
    /// What the table is called in messages, with a dot at the end.
    name: String,
    line: usize,
    entries: Vec<(String, usize, Option<Spanned<DeValue<'a>>>)>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> ConfigText<'a> {
    fn wrong(&self, line: usize, what: impl std::fmt::Display) {
        let message = format!("{}:{line}: {what}", self.path.display());
        let problem = ServeProblem::new(ServeProblemKind::Config, message);
        self.problems.borrow_mut().push(problem);
    }

    fn line_of(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    fn section(&'a self, name: String, line: usize, table: DeTable<'a>) -> Section<'a> {
        let entry = |(key, value): (Spanned<_>, _)| {
            let line = self.line_of(key.span().start);
            let key: std::borrow::Cow<'_, str> = key.into_inner();
            (key.into_owned(), line, Some(value))
        };
        Section {
            file: self,
            name,
            line,
            entries: table.into_iter().map(entry).collect(),
            asked: RefCell::default(),
        }
    }

    fn path(&self, given: &str) -> PathBuf {
        match self.path.parent() {
            Some(parent) => parent.join(given),
            None => given.into(),
        }
    }

    fn read(&'a self) -> Option<ServeConfig> {
        let table = match DeTable::parse(self.text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                self.wrong(
                    self.line_of(offset),
                    format_args!("not TOML: {}", error.message()),
                );
                return None;
            }
        };
        let mut root = self.section(String::new(), 1, table);
        let listen = root.addresses("listen");
        let keys: Option<String> = root.required("keys", "the directory of the ECH keys");
        let mut config = ServeConfig::new(keys.map(|keys| self.path(&keys)).unwrap_or_default());
        if let Some(listen) = listen {
            config.listen = listen;
        }
        root.set("group_readable_keys", &mut config.group_readable_keys);
        root.set("public_name_only", &mut config.public_name_only);
        root.set("status_page", &mut config.status_page);
        config.user = root.take("user");
        config.group = root.take("group");
        config.access_log = root.table("access_log").and_then(read_access_log);
        config.metrics = root.table("metrics").and_then(read_metrics);
        config.origin_svcb = root.table("origin_svcb").and_then(read_origin_svcb);
        if let Some(limits) = root.table("limits") {
            config.limits = read_limits(limits);
        }
        let sites = root.tables("site");
        if sites.is_empty() {
            self.wrong(
                1,
                "there is no site; add a [[site]] with names, certificate, key and root",
            );
        }
        config.sites = sites.into_iter().filter_map(read_site).collect();
        root.end();
        Some(config)
    }
}

fn read_site(mut section: Section<'_>) -> Option<ServedSite> {
    let names: Option<Vec<String>> = section.required("names", "the host names of the site");
    let certificate: Option<String> = section.required("certificate", "a PEM file");
    let key: Option<String> = section.take("key");
    let root: Option<String> = section.take("root");
    let proxy: Option<String> = section.take("proxy");
    let status: Option<bool> = section.take("status");
    let in_clear = section.take("proxy_in_clear").unwrap_or(false);
    let mut hsts = None;
    section.parsed("hsts", &mut hsts, |text| parse_time(text).map(Some));
    let content = match (root, proxy, status.unwrap_or(false)) {
        (Some(root), None, false) => Some(SiteContent::Files(section.file.path(&root))),
        (None, Some(proxy), false) => match ProxyTarget::parse(&proxy) {
            Ok(ProxyTarget::Tcp { host, port, .. }) => Some(SiteContent::Proxy(ProxyTarget::Tcp {
                host,
                port,
                in_clear,
            })),
            Ok(target) => Some(SiteContent::Proxy(target)),
            Err(why) => {
                section.wrong_key("proxy", why);
                None
            }
        },
        (None, None, true) => Some(SiteContent::Status),
        (None, None, false) => {
            section.wrong("needs what it serves: root = DIR, proxy = URL or status = true");
            None
        }
        _ => {
            section.wrong("serves one thing: keep one of root, proxy and status");
            None
        }
    };
    let file = section.file;
    section.end();
    let certificate = file.path(&certificate?);
    Some(ServedSite {
        names: names?,
        key: key.map_or_else(|| certificate.clone(), |key| file.path(&key)),
        certificate,
        content: content?,
        hsts,
    })
}

fn read_access_log(mut section: Section<'_>) -> Option<AccessLogConfig> {
    let file: Option<String> = section.required("file", "where lines are added to");
    let mut format = AccessLogFormat::Text;
    section.parsed("format", &mut format, |text| match text {
        "text" => Ok(AccessLogFormat::Text),
        "json" => Ok(AccessLogFormat::Json),
        _ => Err(format!(
            "{text:?} is not a format; write \"text\" or \"json\""
        )),
    });
    let mut inner_names = false;
    section.set("inner_names", &mut inner_names);
    let file = file.map(|file| match file.as_str() {
        "-" => PathBuf::from("-"),
        file => section.file.path(file),
    });
    section.end();
    Some(AccessLogConfig {
        format,
        inner_names,
        ..AccessLogConfig::new(file?)
    })
}

fn read_metrics(mut section: Section<'_>) -> Option<SocketAddr> {
    let has_listen = section.has("listen");
    let addresses = section.addresses("listen").unwrap_or_default();
    match addresses[..] {
        [] if has_listen => {}
        [_] => {}
        _ => section.wrong_key(
            "listen",
            "give one address with a port, such as \"127.0.0.1:9100\"",
        ),
    }
    section.end();
    addresses.first().copied()
}

fn read_origin_svcb(mut section: Section<'_>) -> Option<Duration> {
    let mut every = None;
    section.parsed("regeninterval", &mut every, |text| {
        parse_time(text).map(Some)
    });
    if every.is_none() && !section.has("regeninterval") {
        section.wrong_key(
            "regeninterval",
            "is missing: how often keys change, as for `ech rotate`",
        );
    }
    section.end();
    every
}

fn read_limits(mut section: Section<'_>) -> ServeLimits {
    let mut limits = ServeLimits::default();
    section.count("handshakes", &mut limits.handshakes);
    section.count("handshakes_per_address", &mut limits.handshakes_per_address);
    section.count("connections", &mut limits.connections);
    section.count(
        "connections_per_address",
        &mut limits.connections_per_address,
    );
    section.time("handshake_time", &mut limits.handshake_time);
    section.time("head_time", &mut limits.head_time);
    section.time("body_pause", &mut limits.body_pause);
    section.time("idle_time", &mut limits.idle_time);
    section.time("backend_time", &mut limits.backend_time);
    section.time("tunnel_idle", &mut limits.tunnel_idle);
    section.size("hello_bytes", &mut limits.hello_bytes);
    section.size("head_bytes", &mut limits.head_bytes);
    section.count("head_fields", &mut limits.head_fields);
    section.size("body_bytes", &mut limits.body_bytes);
    section.count("streams", &mut limits.streams);
    section.time("drain_time", &mut limits.drain_time);
    section.end();
    limits
}

impl<'a> Section<'a> {
    fn wrong(&self, what: impl std::fmt::Display) {
        let name = self.name.trim_end_matches('.');
        self.file.wrong(self.line, format_args!("{name}: {what}"));
    }

    fn wrong_key(&self, key: &str, what: impl std::fmt::Display) {
        let line = self.entries.iter().find(|(name, ..)| name == key);
        let line = line.map_or(self.line, |(_, line, _)| *line);
        let name = &self.name;
        self.file.wrong(line, format_args!("{name}{key}: {what}"));
    }

    fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, ..)| name == key)
    }

    fn value(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        let entry = self.entries.iter_mut().find(|(name, ..)| name == key);
        entry.and_then(|(_, _, value)| value.take())
    }

    fn take<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        let value = self.value(key)?;
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong_key(key, error.message());
                None
            }
        }
    }

    fn required<T: DeserializeOwned>(&mut self, key: &'static str, what: &str) -> Option<T> {
        if !self.has(key) {
            self.asked.borrow_mut().push(key);
            let name = &self.name;
            self.file
                .wrong(self.line, format_args!("{name}{key} is missing: {what}"));
            return None;
        }
        self.take(key)
    }

    fn set<T: DeserializeOwned>(&mut self, key: &'static str, into: &mut T) {
        if let Some(value) = self.take(key) {
            *into = value;
        }
    }

    /// A value that is written as text, or another form that `parse` knows.
    fn parsed<T>(
        &mut self,
        key: &'static str,
        into: &mut T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) {
        let Some(value) = self.value(key) else {
            return;
        };
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            other => other.type_str().to_owned(),
        };
        match parse(&text) {
            Ok(value) => *into = value,
            Err(why) => self.wrong_key(key, why),
        }
    }

    /// A number of at least one.
    fn count<T: TryFrom<u64>>(&mut self, key: &'static str, into: &mut T) {
        self.parsed(key, into, |text| {
            let number = text.parse().ok().filter(|number: &u64| *number > 0);
            let number = number.and_then(|number| T::try_from(number).ok());
            number.ok_or_else(|| format!("{text:?} is not a number from 1 on"))
        });
    }

    fn time(&mut self, key: &'static str, into: &mut Duration) {
        self.parsed(key, into, parse_time);
    }

    fn size<T: TryFrom<u64>>(&mut self, key: &'static str, into: &mut T) {
        self.parsed(key, into, |text| {
            let size = parse_size(text)?;
            T::try_from(size).map_err(|_| format!("{text:?} is too large"))
        });
    }

    /// One address, or several.
    fn addresses(&mut self, key: &'static str) -> Option<Vec<SocketAddr>> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum OneOrMore {
            One(String),
            More(Vec<String>),
        }
        let texts = match self.take(key)? {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        };
        let mut addresses = Vec::new();
        for text in texts {
            match text.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => self.wrong_key(
                    key,
                    format_args!("{text:?} is not an address with a port; write \"[::]:443\""),
                ),
            }
        }
        Some(addresses)
    }

    fn table(&mut self, key: &'static str) -> Option<Self> {
        let value = self.value(key)?;
        let line = self.file.line_of(value.span().start);
        match value.into_inner() {
            DeValue::Table(table) => Some(self.file.section(format!("{key}."), line, table)),
            _ => {
                self.wrong_key(key, format_args!("not a table; write [{key}]"));
                None
            }
        }
    }

    fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = value.into_inner() else {
            self.wrong_key(key, format_args!("not a list of tables; write [[{key}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, value) in array.into_iter().enumerate() {
            let line = self.file.line_of(value.span().start);
            match value.into_inner() {
                DeValue::Table(table) => {
                    let name = format!("{key} {}.", index + 1);
                    sections.push(self.file.section(name, line, table));
                }
                _ => self.wrong_key(key, format_args!("not a list of tables; write [[{key}]]")),
            }
        }
        sections
    }

    /// Says which keys do not exist.
    fn end(self) {
        let asked = self.asked.borrow();
        for (key, ..) in &self.entries {
            if !asked.contains(&key.as_str()) {
                self.wrong_key(
                    key,
                    format_args!("there is no such key; known are {}", asked.join(", ")),
                );
            }
        }
    }
}

/// A size such as `65536`, `64KiB` or `10MiB`.
fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size such as 65536, \"64KiB\" or \"10MiB\"");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}
