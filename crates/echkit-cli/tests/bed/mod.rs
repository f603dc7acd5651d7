//! A testbed, and the real binary beside it.
#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use echkit_testbed::Testbed;
use serde_json::Value;

pub(crate) struct Bed {
    pub(crate) testbed: Testbed,
    pub(crate) dir: tempfile::TempDir,
}

impl Bed {
    pub(crate) async fn start(cases: &[&str]) -> Self {
        let testbed = Testbed::builder()
            .only(cases.to_vec())
            .start()
            .await
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), testbed.ca_pem()).unwrap();
        Self { testbed, dir }
    }

    pub(crate) fn url(&self, case: &str) -> String {
        self.testbed.url(case).unwrap().to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `ech` with the testbed's resolver and CA.
    pub(crate) async fn ech(&self, arguments: &[&str]) -> Ended {
        let dns = self.testbed.dns_uri();
        let ca = self.path("ca.pem");
        let more = ["--dns", &dns, "--cacert", ca.to_str().unwrap()];
        run(&[arguments, &more].concat()).await
    }
}

#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// The document of `ech lookup --json`, or the report of `ech get --json`.
    pub(crate) fn report(&self) -> Value {
        let document = self.json();
        match document.get("report") {
            Some(report) => report.clone(),
            None => document,
        }
    }

    /// The body of the response in `ech get --json`.
    pub(crate) fn page(&self) -> Value {
        self.json()["http"]["body"].clone()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "{error}: {} {}",
                String::from_utf8_lossy(&self.stdout),
                self.stderr
            );
        })
    }
}

pub(crate) async fn run(arguments: &[&str]) -> Ended {
    run_with(arguments, &[]).await
}

/// With these variables in the environment.
pub(crate) async fn run_with(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = command();
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .env("no_proxy", "*");
    run_command(command).await
}

/// `ech` without what this environment says of resolvers, trust, logs and proxies.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ech"));
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy().to_ascii_lowercase();
        if name.ends_with("_proxy") || name.starts_with("echkit_") {
            command.env_remove(&variable);
        }
    }
    command
        .env_remove("SSL_CERT_FILE")
        .env_remove("SSLKEYLOGFILE")
        .stdin(Stdio::null());
    command
}

pub(crate) async fn run_command(mut command: Command) -> Ended {
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The same; nothing that is printed has the password of the tests' proxies in it.
pub(crate) async fn run_behind_proxy(command: Command) -> Ended {
    let ended = run_command(command).await;
    for said in [ended.text(), &ended.stderr] {
        assert!(!said.contains("hunter2"), "{said}");
    }
    ended
}
