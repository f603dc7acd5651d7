//! `ech serve`: the real binary, its signals, and what it refuses to start with.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use data_encoding::BASE64;
use echkit_test::pki::Authority;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::PrivateKeyDer;

const SECRET: &str = "secret.example";
const PUBLIC: &str = "public.example";

struct Bed {
    directory: tempfile::TempDir,
    authority: Authority,
}

impl Bed {
    fn new() -> Self {
        let bed = Self {
            directory: tempfile::tempdir().unwrap(),
            authority: Authority::new(),
        };
        fs::write(
            bed.path("ca.pem"),
            pem("CERTIFICATE", &bed.authority.root()),
        )
        .unwrap();
        for name in [SECRET, PUBLIC] {
            bed.certify(name, name);
            fs::create_dir(bed.path(name)).unwrap();
            fs::write(bed.path(&format!("{name}/index.html")), name).unwrap();
        }
        let keys = bed.path("keys");
        let made = ech(&[
            "rotate",
            keys.to_str().unwrap(),
            "--once",
            "--public-name",
            PUBLIC,
        ]);
        assert!(made.status.success(), "{made:?}");
        fs::write(bed.path("published"), made.stdout).unwrap();
        bed.configure(SECRET);
        bed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn certify(&self, file: &str, name: &str) {
        let site = self.authority.issue(&[name]);
        let PrivateKeyDer::Pkcs8(key) = site.key else {
            panic!("another form of key");
        };
        let text = pem("CERTIFICATE", &site.cert) + &pem("PRIVATE KEY", key.secret_pkcs8_der());
        fs::write(self.path(&format!("{file}.pem")), text).unwrap();
    }

    /// Writes the configuration, with the secret site from `root`.
    fn configure(&self, root: &str) {
        let text = format!(
            "listen = \"127.0.0.1:0\"\nkeys = \"keys\"\n[[site]]\nnames = [\"{SECRET}\"]\n\
             certificate = \"{SECRET}.pem\"\nroot = \"{root}\"\n[[site]]\nnames = [\"{PUBLIC}\"]\n\
             certificate = \"{PUBLIC}.pem\"\nroot = \"{PUBLIC}\"\n"
        );
        fs::write(self.path("serve.toml"), text).unwrap();
    }

    fn serve(&self) -> Served {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ech"))
            .args([
                "serve",
                "--config",
                self.path("serve.toml").to_str().unwrap(),
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let mut served = Served {
            child,
            lines,
            port: String::new(),
        };
        let line = served.line("serving on");
        served.port = line.rsplit(':').next().unwrap().trim().to_owned();
        served
    }

    fn get(&self, port: &str) -> Output {
        let file = |name| self.path(name).to_str().unwrap().to_owned();
        ech(&[
            "get",
            &format!("https://{SECRET}/"),
            "--ech",
            "require",
            "--ech-config",
            &format!("@{}", file("published")),
            "--cacert",
            &file("ca.pem"),
            "--connect-to",
            &format!("{SECRET}:443:127.0.0.1:{port}"),
        ])
    }
}

/// A server that runs, and is ended when the test is over.
struct Served {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
    port: String,
}

impl Served {
    /// Waits for a line on standard error.
    fn line(&mut self, with: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let len = self.lines.read_line(&mut line).unwrap();
            assert!(len > 0, "{with:?} was not said: {seen}");
            if line.contains(with) {
                return line;
            }
            seen.push_str(&line);
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ech(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ech"))
        .args(args)
        .env_remove("ECHKIT_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        BASE64.encode(der)
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_file_is_served_reloaded_and_ended_by_signals() {
    let bed = Bed::new();
    let mut served = bed.serve();
    let got = bed.get(&served.port);
    assert_eq!(text(&got.stdout), SECRET, "{got:?}");

    bed.configure("nowhere");
    served.signal(Signal::HUP);
    let line = served.line("nowhere");
    assert!(
        line.starts_with("ech: /") && line.contains("nowhere: No such file"),
        "{line}"
    );
    served.line("nothing was reloaded: the configuration in use stays");
    fs::write(bed.path("serve.toml"), "keys = ").unwrap();
    served.signal(Signal::HUP);
    served.line("serve.toml:1: not TOML");
    let got = bed.get(&served.port);
    assert_eq!(text(&got.stdout), SECRET, "{got:?}");

    bed.configure(PUBLIC);
    served.signal(Signal::HUP);
    served.line("configuration and certificates are loaded");
    let got = bed.get(&served.port);
    assert_eq!(text(&got.stdout), PUBLIC, "{got:?}");

    served.signal(Signal::TERM);
    served.line("ended");
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
}

#[test]
fn each_refusal_has_a_line_and_an_exit_code() {
    let bed = Bed::new();
    let file = bed.path("serve.toml");
    let file = file.to_str().unwrap();
    let checked = ech(&["serve", "--config", file, "--check"]);
    assert_eq!(
        (checked.status.code(), text(&checked.stdout)),
        (Some(0), "nothing is wrong\n".to_owned())
    );
    let good = fs::read_to_string(file).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (from, to, code, says) in [
        ("keys = \"keys\"", "key = \"keys\"", 2, "keys is missing"),
        (
            "root = \"public.example\"",
            "root = \"missing\"",
            26,
            "missing: No such file",
        ),
        (
            "names = [\"public.example\"]",
            "names = [\"other.example\"]",
            61,
            "no site has the public name",
        ),
        ("127.0.0.1:0", address.as_str(), 45, "the port is in use"),
    ] {
        fs::write(file, good.replace(from, to)).unwrap();
        let refused = ech(&["serve", "--config", file]);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{said}");
        assert!(said.contains(says), "{said}");
        assert!(said.lines().all(|line| line.starts_with("ech: ")), "{said}");
        if code != 45 {
            let checked = ech(&["serve", "--config", file, "--check", "--json"]);
            assert_eq!(checked.status.code(), Some(1));
            let document: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
            let problems = document["problems"].as_array().unwrap();
            assert!(
                problems
                    .iter()
                    .any(|line| line.as_str().unwrap().contains(says)),
                "{document}"
            );
        }
    }
}
