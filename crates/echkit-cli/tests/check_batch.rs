//! `ech check` of several hosts: progress on a terminal, and what is left after Ctrl-C.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

mod bed;
mod pty;

use bed::Bed;
use echkit_testbed::Testbed;
use pty::Terminal;

/// Two hosts, one after the other: one that is finished at once, as there is no such name, and one
/// whose server takes connections and says nothing.
struct Stuck {
    bed: Bed,
    silent: TcpListener,
}

impl Stuck {
    async fn start() -> Self {
        let bed = Bed::start(&["nominal"]).await;
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = silent.local_addr().unwrap();
        bed.testbed.hand_over("nominal", to).unwrap();
        Self { bed, silent }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bed::command();
        command
            .args(["check", "absent.ech.test", &self.bed.url("nominal")])
            .args(["--jobs", "1", "--dns", &self.bed.testbed.dns_uri()])
            .args(arguments)
            .env("no_proxy", "*");
        command
    }

    /// Presses Ctrl-C once the second host is being checked, and so the first is finished.
    async fn interrupt(&self, child: Child) -> std::process::Output {
        let silent = self.silent.try_clone().unwrap();
        let work = move || {
            let _connection = silent.accept().unwrap();
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            child.wait_with_output().unwrap()
        };
        tokio::task::spawn_blocking(work).await.unwrap()
    }
}

fn piped(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_ctrl_c_the_document_has_the_hosts_that_were_done() {
    let stuck = Stuck::start().await;
    let child = piped(&mut stuck.command(&["--json"]));
    let ended = stuck.interrupt(child).await;
    assert_eq!(ended.status.code(), Some(130));
    let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(document["interrupted"], true);
    assert_eq!(document["error"]["exit_code"], 130);
    let hosts = document["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 1);
    assert_eq!(hosts[0]["origin"], "https://absent.ech.test");
    assert_eq!(hosts[0]["error"]["kind"], "name");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_ctrl_c_the_text_and_the_page_have_the_hosts_that_were_done() {
    let stuck = Stuck::start().await;
    let page = stuck.bed.path("page.html");
    let child = piped(&mut stuck.command(&["--html", page.to_str().unwrap()]));
    let ended = stuck.interrupt(child).await;
    assert_eq!(ended.status.code(), Some(130));
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(
        text.starts_with("https://absent.ech.test: could not be checked\n"),
        "{text}"
    );
    assert!(!text.contains("nominal"), "{text}");
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(said, "ech: interrupted: 1 of 2 hosts were checked\n");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<h2 id=\"host-0\">https://absent.ech.test</h2>"));
    assert!(page.ends_with("</html>\n") && !page.contains("nominal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_how_many_hosts_are_done() {
    let stuck = Stuck::start().await;
    let mut terminal = Terminal::open(80);
    let child = stuck
        .command(&[])
        .env("TERM", "xterm")
        .stdout(Stdio::piped())
        .stderr(terminal.stdio())
        .spawn()
        .unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let seen = terminal.until("1/2 hosts");
        (terminal, seen)
    });
    let (terminal, seen) = reading.await.unwrap();
    let ended = stuck.interrupt(child).await;
    assert_eq!(ended.status.code(), Some(130));
    let seen = String::from_utf8(seen).unwrap();
    assert!(seen.contains("0/2 hosts"), "{seen:?}");
    // The report goes elsewhere, and the bar is wiped before it.
    assert!(
        String::from_utf8(ended.stdout)
            .unwrap()
            .starts_with("https://absent")
    );
    drop(terminal);
}

#[tokio::test(flavor = "multi_thread")]
async fn further_hosts_of_a_case_have_the_findings_of_its_own() {
    let cases = [
        "nominal",
        "stale",
        "alias",
        "port",
        "several",
        "servfail",
        "no-record",
    ];
    let testbed = Testbed::builder().only(cases).more_hosts(2);
    let testbed = testbed.start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), testbed.ca_pem()).unwrap();
    let bed = Bed { testbed, dir };
    let mut urls = Vec::new();
    for case in bed.testbed.cases() {
        assert_eq!(case.more_urls.len(), 2);
        urls.push(case.url.clone());
        urls.extend(case.more_urls.clone());
    }
    let list = bed.path("hosts");
    std::fs::write(&list, urls.join("\n")).unwrap();
    let ended = bed
        .ech(&[
            "check",
            "--json",
            "--skip",
            "batch",
            "--batch",
            list.to_str().unwrap(),
        ])
        .await;
    let document = ended.json();
    let hosts = document["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 3 * cases.len());
    for (index, host) in hosts.iter().enumerate() {
        let own = &hosts[index - index % 3];
        assert_eq!(ids(host), ids(own), "{}", host["origin"]);
        for field in ["verdict", "accepted", "public_names"] {
            assert_eq!(host[field], own[field], "{}", host["origin"]);
        }
    }
    assert_eq!(hosts[1]["verdict"], "works");
    assert_eq!(hosts[4]["verdict"], "broken");
}

fn ids(host: &Value) -> Vec<&str> {
    let findings = host["findings"].as_array().unwrap();
    findings.iter().map(|f| f["id"].as_str().unwrap()).collect()
}
