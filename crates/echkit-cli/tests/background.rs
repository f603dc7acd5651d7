//! `ech testbed --detach`: a testbed that goes on when the command has ended, until it is killed.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getsid, kill_process};
use serde_json::Value;

fn ech(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ech"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("ECHKIT_DNS")
        .env_remove("ECHKIT_DDR")
        .env_remove("ECHKIT_LOG")
        .env("no_proxy", "*")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A testbed in the background, which no failing test leaves behind.
struct Detached {
    folder: tempfile::TempDir,
    pid: Pid,
    document: Value,
}

impl Detached {
    /// The streams of the command are read to their end, which comes while the testbed serves.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flags =
            "testbed --only nominal --more-hosts 2 --detach --json --ca-file ca.pem --pid-file pid";
        let started = ech(folder.path(), &flags.split(' ').collect::<Vec<_>>());
        assert!(started.status.success(), "{}", text(&started.stderr));
        assert_eq!(text(&started.stderr), "");
        let document: Value = serde_json::from_slice(&started.stdout).unwrap();
        let pid = i32::try_from(document["pid"].as_i64().unwrap()).unwrap();
        Self {
            folder,
            pid: Pid::from_raw(pid).unwrap(),
            document,
        }
    }

    fn pid_file(&self) -> std::path::PathBuf {
        self.folder.path().join("pid")
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

#[test]
fn it_serves_after_the_command_has_ended_and_until_it_is_killed() {
    let bed = Detached::start();
    let further = bed.document["cases"][0]["more_urls"].as_array().unwrap();
    let last = further[1].as_str().unwrap();
    assert!(last.starts_with("https://h2.nominal.ech.test:"), "{last}");
    let written = std::fs::read_to_string(bed.pid_file()).unwrap();
    assert_eq!(written.trim(), bed.pid.to_string());
    assert_eq!(
        getsid(Some(bed.pid)).unwrap(),
        bed.pid,
        "no terminal ends it"
    );
    let url = bed.document["cases"][0]["url"].as_str().unwrap();
    let dns = bed.document["dns"].as_str().unwrap();
    let get = [
        "get", "--ech", "require", "--cacert", "ca.pem", "--dns", dns, url,
    ];
    let got = ech(bed.folder.path(), &get);
    assert!(got.status.success(), "{}", text(&got.stderr));

    // What tests in other languages read, by any HTTP client.
    let inspect = bed.document["inspect"].as_str().unwrap();
    let read = |path: &str| {
        let got = ech(
            bed.folder.path(),
            &["get", "-f", &format!("{inspect}{path}")],
        );
        assert!(got.status.success(), "{}", text(&got.stderr));
        text(&got.stdout)
    };
    assert!(read("/hosts").contains("127.0.0.1 nominal.ech.test\n"));
    let captures: Value = serde_json::from_str(&read("/captures?wait=60")).unwrap();
    assert_eq!(captures[0]["names"], serde_json::json!(["public.ech.test"]));

    // Whatever is left of it: its files and its ports are not.
    kill_process(bed.pid, Signal::TERM).unwrap();
    let address = dns.trim_start_matches("udp://");
    let free = || !bed.pid_file().exists() && UdpSocket::bind(address).is_ok();
    while !free() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_prevents_it_is_said_by_the_command_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let flags = [
        "testbed",
        "--only",
        "nominal",
        "--port",
        &port,
        "--pid-file",
        "pid",
        "--detach",
    ];
    let ended = ech(folder.path(), &flags);
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains(&format!("127.0.0.1:{port} for DNS")),
        "{said}"
    );
    assert_eq!(text(&ended.stdout), "");
    assert!(!folder.path().join("pid").exists());

    let ended = ech(folder.path(), &[&flags[..], &["--json"]].concat());
    let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(document["error"]["exit_code"], 2);

    let nowhere = [
        "testbed",
        "--only",
        "nominal",
        "--ca-file",
        "none/ca.pem",
        "--detach",
    ];
    let ended = ech(folder.path(), &nowhere);
    assert_eq!(ended.status.code(), Some(23), "{}", text(&ended.stderr));
    assert!(text(&ended.stderr).contains("none/ca.pem"));
}

#[test]
fn the_pid_file_of_a_running_testbed_is_not_overwritten() {
    let bed = Detached::start();
    let ended = ech(
        bed.folder.path(),
        &[
            "testbed",
            "--only",
            "nominal",
            "--pid-file",
            "pid",
            "--detach",
        ],
    );
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("kill {}", bed.pid)), "{said}");
    let written = std::fs::read_to_string(bed.pid_file()).unwrap();
    assert_eq!(written.trim(), bed.pid.to_string());
}
