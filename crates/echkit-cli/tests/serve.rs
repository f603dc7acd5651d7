//! `ech serve`: the real binary, its signals, and what it refuses to start with.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use echkit_test::pki::{Authority, pem};
use rustix::process::{Pid, Signal, kill_process};

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
        let text = self.authority.issue(&[name]).pem();
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
        let mut served = self.serve_until("serving on");
        served.port = served.last.rsplit(':').next().unwrap().trim().to_owned();
        served
    }

    /// Starts the server, and waits for a line.
    fn serve_until(&self, with: &str) -> Served {
        let child = Command::new(env!("CARGO_BIN_EXE_ech"))
            .args([
                "serve",
                "--config",
                self.path("serve.toml").to_str().unwrap(),
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut served = Served::new(child);
        served.last = served.line(with);
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
    /// The last line that was waited for at the start.
    last: String,
    port: String,
}

impl Served {
    fn new(mut child: Child) -> Self {
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            lines,
            last: String::new(),
            port: String::new(),
        }
    }

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

/// The text of a file of /proc about a server.
#[cfg(target_os = "linux")]
fn status_of(served: &Served, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", served.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace()
        .skip(1)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(target_os = "linux")]
#[test]
fn root_is_given_up_once_the_port_is_bound() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let bed = Bed::new();
    let text = fs::read_to_string(bed.path("serve.toml")).unwrap();
    fs::write(bed.path("serve.toml"), format!("user = \"nobody\"\n{text}")).unwrap();
    let mut served = bed.serve_until("cannot read it again");
    // The keys are root's alone.
    let line = served.line("serving on");
    served.port = line.rsplit(':').next().unwrap().trim().to_owned();
    let of = |key| status_of(&served, key);
    let uid = of("Uid:");
    assert_ne!(uid.split(' ').next(), Some("0"));
    assert_eq!(
        uid.split(' ')
            .collect::<std::collections::HashSet<_>>()
            .len(),
        1,
        "{uid}"
    );
    assert!(!of("Gid:").split(' ').any(|gid| gid == "0"));
    assert!(!of("Groups:").split(' ').any(|gid| gid == "0"));
    assert!(of("CapEff:").chars().all(|digit| digit == '0'));
    let got = bed.get(&served.port);
    // Its own files are not readable either, which is a page that is not found.
    assert!(got.status.success(), "{got:?}");

    fs::write(
        bed.path("serve.toml"),
        format!("user = \"no-such-user\"\n{text}"),
    )
    .unwrap();
    let refused = ech(&[
        "serve",
        "--config",
        bed.path("serve.toml").to_str().unwrap(),
    ]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        text_of(&refused).contains("user no-such-user: there is none"),
        "{refused:?}"
    );
}

fn text_of(output: &Output) -> String {
    text(&output.stderr)
}

#[test]
fn systemd_passes_the_socket_and_is_told_how_far_it_is() {
    let bed = Bed::new();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    let notify = std::os::unix::net::UnixDatagram::bind(bed.path("notify")).unwrap();
    let told = |expected: &str| {
        let mut buffer = [0; 1000];
        let len = notify.recv(&mut buffer).unwrap();
        let message = String::from_utf8_lossy(&buffer[..len]).into_owned();
        assert!(message.contains(expected), "{message}");
    };
    // The shell puts the socket where systemd does, at descriptor 3.
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\"";
    let child = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_ech"), "serve", "--config"])
        .arg(bed.path("serve.toml"))
        .env("NOTIFY_SOCKET", bed.path("notify"))
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut served = Served::new(child);
    served.line(&format!("serving on 127.0.0.1:{port}"));
    told("READY=1");
    let got = bed.get(&port);
    assert_eq!(text(&got.stdout), SECRET, "{got:?}");
    served.signal(Signal::HUP);
    told("RELOADING=1");
    told("READY=1");
    served.signal(Signal::TERM);
    told("STOPPING=1");
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_access_log_is_opened_again_by_a_signal() {
    let bed = Bed::new();
    let log = bed.path("access.log");
    let text = fs::read_to_string(bed.path("serve.toml")).unwrap();
    let text = format!("{text}[access_log]\nfile = \"access.log\"\n");
    fs::write(bed.path("serve.toml"), text).unwrap();
    let mut served = bed.serve();
    assert!(bed.get(&served.port).status.success());
    fs::rename(&log, bed.path("access.log.1")).unwrap();
    served.signal(Signal::USR1);
    while !log.exists() {
        std::thread::yield_now();
    }
    assert!(bed.get(&served.port).status.success());
    served.signal(Signal::TERM);
    served.line("ended");
    served.child.wait().unwrap();
    for file in [log, bed.path("access.log.1")] {
        let lines = fs::read_to_string(&file).unwrap();
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(lines.ends_with(&format!(" accepted {PUBLIC}\n")), "{lines}");
        assert!(!lines.contains(SECRET), "{lines}");
    }
}
