//! `ech route`: the real binary between `ech get` and backend servers.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod process;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::Arc;
use std::time::Duration;

use echkit::server::{Acceptor, EchKeyHandle, EchServer, load_ech_keys, provider};
use echkit_test::lab::{self, HIDDEN, PUBLIC, Pki};
use echkit_test::pki::pem;
use process::{PATIENCE, Process, ech};
use rustix::process::Signal;
use serde_json::Value;

/// Keys, backends and a certificate authority, in a directory of their own.
struct Bed {
    folder: tempfile::TempDir,
    backend: SocketAddr,
    public: SocketAddr,
    /// Those of the public server.
    public_keys: EchKeyHandle,
    _runtime: tokio::runtime::Runtime,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        rotate(&keys, &["--public-name", PUBLIC]);
        let pki = Pki::new();
        fs::write(
            folder.path().join("ca.pem"),
            pem("CERTIFICATE", &pki.root()),
        )
        .unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let config = |name| {
            let provider = (*provider()).clone();
            Arc::new(pki.server_with(&[name], provider, rustls::ALL_VERSIONS))
        };
        let backend = Acceptor::from(EchServer::backend(config(HIDDEN)).unwrap());
        let public_keys = EchKeyHandle::new(load_ech_keys(&keys).unwrap());
        let public = Acceptor::new(config(PUBLIC), public_keys.clone()).unwrap();
        let serve = |acceptor: Acceptor| {
            lab::listen(move |tcp| {
                let acceptor = acceptor.clone();
                async move {
                    if let Ok(accepted) = acceptor.accept(tcp).await {
                        lab::answer(accepted.stream).await;
                    }
                }
            })
        };
        let (backend, public) =
            runtime.block_on(async { (serve(backend).await, serve(public).await) });
        Self {
            folder,
            backend,
            public,
            public_keys,
            _runtime: runtime,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn keys(&self) -> String {
        self.path("keys").display().to_string()
    }

    /// The flags of a router with one hidden name.
    fn flags(&self) -> Vec<String> {
        let (public, hidden) = (self.public, self.backend);
        let flags = format!(
            "--listen 127.0.0.1:0 --keys {} --public {public} --inner-name {HIDDEN}={hidden}",
            self.keys()
        );
        flags.split(' ').map(str::to_owned).collect()
    }

    /// A configuration file that says the same.
    fn config(&self, inner_names: &str) -> PathBuf {
        let text = format!(
            "listen = \"127.0.0.1:0\"\nkeys = \"keys\"\npublic = \"{}\"\n\n\
             [backends.app]\naddresses = [\"{}\"]\n\n[inner_names]\n{inner_names}\n",
            self.public, self.backend
        );
        let path = self.path("route.toml");
        fs::write(&path, text).unwrap();
        path
    }

    /// `ech get` of the hidden name through the router, with a key of the directory.
    fn get(&self, router: SocketAddr, key: &Path) -> Output {
        let (to, ca) = (format!("::{router}"), self.path("ca.pem"));
        let key = format!("@{}", key.display());
        let url = format!("https://{HIDDEN}/");
        ech(&[
            "get",
            "-s",
            "-S",
            "--json",
            "--ech",
            "require",
            "--connect-to",
        ])
        .args([
            &to,
            "--ech-config",
            &key,
            "--cacert",
            ca.to_str().unwrap(),
            &url,
        ])
        .output()
        .unwrap()
    }

    /// The key that is published.
    fn published(&self) -> PathBuf {
        let status = ech(&["rotate", &self.keys(), "--status", "--json"])
            .output()
            .unwrap();
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        let keys = status["keys"].as_array().unwrap().iter();
        let mut published = keys.filter(|key| key["state"] == "published");
        let file = published.next().unwrap()["file"]
            .as_str()
            .unwrap()
            .to_owned();
        self.path("keys").join(file)
    }
}

fn rotate(keys: &Path, more: &[&str]) {
    let keys = keys.to_str().unwrap();
    let done = ech(&["rotate", keys, "--once", "--lead", "0"])
        .args(more)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// A running router, which no failing test leaves behind.
struct Router {
    process: Process,
    address: SocketAddr,
}

impl Router {
    fn start(flags: &[String]) -> Self {
        let mut command = ech(&["route"]);
        command.args(flags);
        let mut process = Process::of(command);
        let line = process.wait_for("ech: routing on ");
        let address = line["ech: routing on ".len()..].parse().unwrap();
        Self { process, address }
    }

    /// The next line with these words.
    fn wait_for(&mut self, words: &str) -> String {
        self.process.wait_for(words)
    }

    fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Ends it, and gives all that it said.
    fn stop(self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        self.process.end()
    }
}

fn body(output: &Output) -> Value {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    document["http"]["body"].clone()
}

fn log(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The log once it has `count` lines.
fn log_of(path: &Path, count: usize) -> Vec<Value> {
    let begun = std::time::Instant::now();
    loop {
        let lines = log(path);
        if lines.len() >= count {
            return lines;
        }
        assert!(begun.elapsed() < PATIENCE, "{lines:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_hidden_name_is_routed_and_named_nowhere_unless_asked_for() {
    let bed = Bed::new();
    let key = bed.published();
    for asked in [false, true] {
        let access = bed.path(&format!("access-{asked}.log"));
        let mut flags = bed.flags();
        flags.extend(["--access-log".to_owned(), access.display().to_string()]);
        if asked {
            flags.push("--log-inner-names".to_owned());
        }
        let router = Router::start(&flags);
        let got = bed.get(router.address, &key);
        assert_eq!(body(&got), "hello", "{got:?}");
        let moved = bed.path("moved.log");
        log_of(&access, 1);
        fs::rename(&access, &moved).unwrap();
        router.signal(Signal::USR1);
        while !access.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let (status, said) = router.stop();
        assert!(status.success(), "{said}");
        assert!(!said.contains(HIDDEN), "{said}");
        let lines = log(&moved);
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!(
            (&line["ech"], &line["end"]),
            (&"accepted".into(), &"closed".into())
        );
        assert_eq!(line["outer_name"], PUBLIC);
        assert!(line["bytes_to_client"].as_u64() > Some(1000));
        let name = asked.then_some(HIDDEN);
        assert_eq!(line["inner_name"].as_str(), name);
        let backend = asked.then(|| bed.backend.to_string());
        assert_eq!(line["backend"].as_str(), backend.as_deref());
    }
}

#[test]
fn changed_keys_are_loaded_and_a_stale_one_is_replaced_by_retry_configs() {
    let bed = Bed::new();
    let old = bed.published();
    let kept = bed.path("old.ech");
    fs::copy(&old, &kept).unwrap();
    let mut router = Router::start(&bed.flags());
    assert_eq!(body(&bed.get(router.address, &kept)), "hello");
    // The next key is published, and the old one is withdrawn.
    fs::remove_file(&old).unwrap();
    rotate(&bed.path("keys"), &[]);
    router.signal(Signal::HUP);
    router.wait_for("ECH keys loaded");
    let new = bed.published();
    assert_ne!(new, old);
    assert_eq!(body(&bed.get(router.address, &new)), "hello");
    // The public server has loaded it too, and its retry_configs lead to the hidden name.
    bed.public_keys
        .store(load_ech_keys(bed.path("keys")).unwrap());
    let stale = bed.get(router.address, &kept);
    assert_eq!(body(&stale), "hello", "{stale:?}");
    let document: Value = serde_json::from_slice(&stale.stdout).unwrap();
    assert_eq!(document["report"]["ech"]["retries"], 1);
    // A directory that cannot be loaded changes nothing.
    fs::write(bed.path("keys").join("broken.ech"), "nothing").unwrap();
    router.signal(Signal::HUP);
    let line = router.wait_for("broken.ech");
    assert!(line.ends_with("; the keys in use stay"), "{line}");
    assert_eq!(body(&bed.get(router.address, &new)), "hello");
}

#[test]
fn names_are_read_again_and_a_bad_file_changes_nothing() {
    let bed = Bed::new();
    let key = bed.published();
    let path = bed.config("\"other.test\" = \"app\"");
    let flags = ["--config", path.to_str().unwrap()].map(str::to_owned);
    let mut router = Router::start(&flags);
    let refused = bed.get(router.address, &key);
    assert_eq!(refused.status.code(), Some(35), "{refused:?}");
    bed.config(&format!("\"{HIDDEN}\" = \"app\""));
    router.signal(Signal::HUP);
    router.wait_for("read again");
    assert_eq!(body(&bed.get(router.address, &key)), "hello");
    bed.config(&format!("\"{HIDDEN}\" = \"ap\""));
    router.signal(Signal::HUP);
    let line = router.wait_for("route.toml:9: inner_names: there is no [backends.ap]");
    assert!(!line.contains(HIDDEN), "{line}");
    router.wait_for("in use stay");
    assert_eq!(body(&bed.get(router.address, &key)), "hello");
    // What counts after a restart alone is named.
    let text = fs::read_to_string(bed.config("")).unwrap();
    fs::write(&path, format!("{text}[limits]\nhellos = 5\n")).unwrap();
    router.signal(Signal::HUP);
    router.wait_for("limits: changed, which counts after a restart");
    router.wait_for("read again");
    assert_eq!(bed.get(router.address, &key).status.code(), Some(35));
    let (status, said) = router.stop();
    assert!(status.success() && !said.contains(HIDDEN), "{said}");
}

/// The exit code, and the last line that it said.
fn refusal(arguments: &[&str]) -> (Option<i32>, String) {
    let ended = ech(arguments).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    (
        ended.status.code(),
        said.lines().last().unwrap_or_default().to_owned(),
    )
}

#[test]
fn what_is_wrong_is_said_at_the_start_in_one_line() {
    let bed = Bed::new();
    let keys = bed.keys();
    let route = |more: &[&str]| {
        refusal(&[&["route", "--keys", &keys, "--listen", "127.0.0.1:0"], more].concat())
    };
    let (code, line) = route(&["--public", "192.0.2.1"]);
    assert_eq!(code, Some(2));
    assert!(
        line.contains("--public: backend \"public\": \"192.0.2.1\" is not HOST:PORT"),
        "{line}"
    );
    let public = ["--public", "192.0.2.1:443"];
    for (flags, said) in [
        (["--inner-name", "a.test"], "write NAME=HOST:PORT"),
        (["--inner-name", "a.test=b"], "is not HOST:PORT"),
        (["--inner-name", "a.test.=b:1"], "not a host name"),
    ] {
        let (code, line) = route(&[&public[..], &flags].concat());
        assert_eq!(code, Some(2), "{line}");
        assert!(
            line.contains(said) && line.starts_with("ech: --inner-name"),
            "{line}"
        );
    }
    // A port that is in use.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = held.local_addr().unwrap().to_string();
    let (code, line) = refusal(&[
        "route",
        "--keys",
        &keys,
        "--listen",
        &at,
        "--public",
        "192.0.2.1:443",
    ]);
    assert_eq!(code, Some(45), "{line}");
    assert!(
        line.starts_with(&format!("ech: cannot listen on {at}: ")),
        "{line}"
    );
    // Files that are not there, not right, or readable by others.
    let gone = bed.path("gone.toml");
    let (code, line) = refusal(&["route", "--config", gone.to_str().unwrap()]);
    assert_eq!(code, Some(26), "{line}");
    assert!(line.contains("gone.toml: "), "{line}");
    let bad = bed.config("\"a.test\" = \"ap\"\n\"b test\" = \"app\"");
    let bad = bad.to_str().unwrap();
    let (code, line) = refusal(&["route", "--config", bad]);
    assert_eq!(code, Some(61), "{line}");
    assert!(
        line.contains("route.toml:9: ") && line.contains("route.toml:10: "),
        "{line}"
    );
    let (code, line) = route(&[
        "--public",
        "192.0.2.1:443",
        "--access-log",
        "/nowhere/access.log",
    ]);
    assert_eq!(code, Some(23), "{line}");
    let key = bed.published();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (code, line) = route(&public);
    assert_eq!(code, Some(26), "{line}");
    assert!(
        line.contains(key.file_name().unwrap().to_str().unwrap()),
        "{line}"
    );

    // --check tells all of it, without listening.
    let checked = ech(&["route", "--config", bad, "--check", "--json"])
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(document["problems"].as_array().unwrap().len(), 2);
    let good = bed.config("\"a.test\" = \"app\"");
    let check = ["route", "--config", good.to_str().unwrap(), "--check"];
    let checked = ech(&check).output().unwrap();
    assert_eq!(
        checked.status.code(),
        Some(1),
        "the key can be read by others"
    );
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let checked = ech(&check).output().unwrap();
    assert_eq!(
        String::from_utf8(checked.stdout).unwrap(),
        "nothing is wrong\n"
    );
    assert!(checked.status.success());
}
