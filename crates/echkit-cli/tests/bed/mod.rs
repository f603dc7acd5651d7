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

pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
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
    let mut command = Command::new(env!("CARGO_BIN_EXE_ech"));
    command
        .args(arguments)
        .env_remove("ECHKIT_DNS")
        .env_remove("ECHKIT_DDR")
        .env_remove("ECHKIT_LOG")
        .env_remove("SSL_CERT_FILE")
        .env_remove("SSLKEYLOGFILE")
        .envs(variables.iter().copied())
        .env("no_proxy", "*")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
