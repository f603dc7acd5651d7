//! Proxies that the environment names, with the real binary against the testbed.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

use echkit_testbed::Testbed;
use serde_json::Value;

/// The value of a variable: nobody listens there, and it has a password that nobody may read.
const PROXY: &str = "http://user:hunter2@127.0.0.1:9";

const VARIABLES: [&str; 8] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

struct Bed {
    testbed: Testbed,
    dir: tempfile::TempDir,
}

impl Bed {
    async fn start() -> Self {
        let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), testbed.ca_pem()).unwrap();
        Self { testbed, dir }
    }

    /// `ech get` of the page with these variables and no others.
    async fn get(&self, set: &[(&str, &str)], arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ech"));
        for variable in VARIABLES.iter().chain(&["ECHKIT_DNS", "ECHKIT_DDR"]) {
            command.env_remove(variable);
        }
        command
            .args(["get", self.testbed.url("nominal").unwrap()])
            .args(["--dns", &self.testbed.dns_uri(), "--cacert"])
            .arg(self.dir.path().join("ca.pem"))
            .args(arguments)
            .envs(set.iter().copied())
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        let ended = Ended {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        for said in [&ended.stdout, &ended.stderr] {
            assert!(!said.contains("hunter2"), "{said}");
        }
        ended
    }
}

#[derive(Debug)]
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn report(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stdout).unwrap();
        document["report"].clone()
    }

    /// What the report says about proxies.
    fn warnings(&self) -> Vec<String> {
        let report = self.report();
        let warnings = report["ech"]["warnings"].as_array().unwrap();
        let texts = warnings.iter().map(|text| text.as_str().unwrap());
        let about = texts.filter(|text| text.contains("names a proxy"));
        about.map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_not_used_is_a_warning_on_stderr_and_in_the_report() {
    let bed = Bed::start().await;
    for variable in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        let ended = bed.get(&[(variable, PROXY)], &["--json"]).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(ended.report()["ech"]["status"], "accepted");
        let [warning] = &ended.warnings()[..] else {
            panic!("{ended:?}");
        };
        assert!(warning.starts_with(variable), "{warning}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        for part in [variable, "nominal.ech.test", "not used", "--noproxy"] {
            assert!(ended.stderr.contains(part), "{part}: {ended:?}");
        }
    }
    let set = [("HTTPS_PROXY", PROXY)];
    let silent = bed.get(&set, &["--json", "-s"]).await;
    assert_eq!((silent.code, silent.stderr.as_str()), (0, ""));
    assert_eq!(silent.warnings().len(), 1);
    // With -v it is said once, with the rest of the story.
    let told = bed.get(&set, &["--json", "-v"]).await;
    assert_eq!(told.stderr.matches("names a proxy").count(), 1, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_ech_required_a_proxy_is_an_error_before_anything_is_sent() {
    let bed = Bed::start().await;
    for variable in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        let set = [(variable, PROXY)];
        let ended = bed.get(&set, &["--json", "--ech", "require"]).await;
        assert_eq!(ended.code, 97, "{ended:?}");
        let document: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(document["error"]["kind"], "proxy");
        let report = &document["report"];
        assert_eq!(report["dns"], Value::Null, "no query: {report}");
        assert_eq!(report["attempts"], serde_json::json!([]));
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        for part in [&format!("unset {variable}"), "NO_PROXY", "--noproxy '*'"] {
            assert!(ended.stderr.contains(part), "{part}: {ended:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_without_a_proxy_are_fetched_in_silence() {
    let bed = Bed::start().await;
    let set = ("https_proxy", PROXY);
    for (variables, arguments) in [
        (vec![set], &["--noproxy", "*"][..]),
        (vec![set], &["--noproxy", "other.test,ech.test"]),
        (vec![set, ("NO_PROXY", "ech.test")], &[]),
        (vec![set, ("no_proxy", ".ech.test")], &[]),
        (vec![set, ("NO_PROXY", "other.test")], &["--noproxy", "*"]),
        (vec![("http_proxy", PROXY), ("HTTP_PROXY", PROXY)], &[]),
        (vec![("https_proxy", ""), ("ALL_PROXY", "")], &[]),
    ] {
        let more = ["--json", "--ech", "require"];
        let ended = bed.get(&variables, &[arguments, &more].concat()).await;
        assert_eq!(ended.code, 0, "{variables:?} {ended:?}");
        assert_eq!(ended.stderr, "", "{variables:?}");
        assert_eq!(ended.warnings(), [""; 0], "{variables:?}");
    }
}
