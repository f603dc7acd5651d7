//! `ech rotate`: the real binary, its hooks, and what is left when it is killed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use echkit_server::KeyDirectory;
use rand::Rng;
use serde_json::Value;

/// Fast enough for a test: a key is due every 50 ms, and an old one goes after a second.
const FAST: [&str; 10] = [
    "--every",
    "0.05",
    "--ttl",
    "1",
    "--retry-window",
    "0",
    "--lead",
    "0",
    "--public-name",
    "public.example",
];

fn command(directory: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ech"));
    command.arg("rotate").arg(directory).args(more);
    command.env_remove("ECHKIT_LOG").stdin(Stdio::null());
    command
}

fn rotate(directory: &Path, more: &[&str]) -> Output {
    command(directory, more).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn steps(output: &Output) -> Vec<String> {
    let document = json(output);
    let steps = document["steps"].as_array().unwrap().iter();
    steps
        .map(|step| step["step"].as_str().unwrap().to_owned())
        .collect()
}

fn states(directory: &Path) -> Vec<String> {
    let status = json(&rotate(directory, &["--status", "--json"]));
    let keys = status["keys"].as_array().unwrap().iter();
    keys.map(|key| key["state"].as_str().unwrap().to_owned())
        .collect()
}

fn new() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("ech");
    (parent, path)
}

#[test]
fn the_status_of_a_directory_that_was_never_rotated_shows_its_keys() {
    let (_parent, path) = new();
    fs::create_dir(&path).unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_ech"))
        .args(["keygen", "public.example", "--config-id", "7", "-o"])
        .arg(path.join("1.pem"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let status = json(&rotate(&path, &["--status", "--json"]));
    let keys = status["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1, "{status}");
    assert_eq!(keys[0]["file"], "1.pem");
    assert_eq!(keys[0]["config_id"], 7);
    assert_eq!(keys[0]["state"], "published");
    // To look changes nothing.
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
}

fn error_line(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    text.lines().last().unwrap().to_owned()
}

#[test]
fn the_first_turn_publishes_a_key_and_the_next_has_nothing_to_do() {
    let (_parent, path) = new();
    let refused = rotate(&path, &["--once"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(error_line(&refused).contains("--public-name"));
    let first = rotate(
        &path,
        &["--once", "--json", "--public-name", "public.example"],
    );
    assert_eq!(steps(&first), ["make", "publish", "make"]);
    let second = rotate(&path, &["--once", "--json"]);
    assert_eq!(steps(&second), Vec::<String>::new());
    assert_eq!(states(&path), ["published", "made"]);
    let due = json(&rotate(&path, &["--dry-run", "--json"]));
    assert_eq!(due["due"], serde_json::json!([]));
    let keys = KeyDirectory::open(&path).unwrap().load().unwrap();
    let listed = json(&first)["steps"][1]["ech"].clone();
    assert_eq!(
        keys.retry_configs().unwrap().to_base64(),
        listed.as_str().unwrap()
    );
}

#[test]
fn hooks_are_told_of_a_key_and_their_order_is_servers_first() {
    let (parent, path) = new();
    let log = parent.path().join("log");
    let publish = format!(
        "echo \"publish $ECH_CONFIG_LIST $ECH_TTL\" >> '{}'",
        log.display()
    );
    let reload = format!("echo reload >> '{}'", log.display());
    let hooks = [
        "--once",
        "--json",
        "--publish-command",
        &publish,
        "--reload-command",
        &reload,
    ];
    let turn = rotate(&path, &[&hooks[..], &FAST].concat());
    assert!(turn.status.success(), "{turn:?}");
    let list = json(&turn)["steps"][1]["ech"].as_str().unwrap().to_owned();
    let told = fs::read_to_string(&log).unwrap();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told, ["reload", &format!("publish {list} 1"), "reload"]);
}

#[test]
fn nginx_is_told_of_the_keys_before_each_reload_the_published_one_first() {
    let (parent, path) = new();
    let (include, seen) = (parent.path().join("ech.conf"), parent.path().join("seen"));
    let reload = format!("cat '{}' >> '{}'", include.display(), seen.display());
    let hooks = [
        "--once",
        "--json",
        "--nginx-include",
        include.to_str().unwrap(),
        "--reload-command",
        &reload,
    ];
    let turn = rotate(&path, &[&hooks[..], &FAST].concat());
    assert!(turn.status.success(), "{turn:?}");
    let file = |step: usize| {
        let name = json(&turn)["steps"][step]["file"].clone();
        let path = fs::canonicalize(&path).unwrap();
        format!(
            "ssl_ech_file \"{}\";",
            path.join(name.as_str().unwrap()).display()
        )
    };
    let (published, made) = (file(0), file(2));
    let lines = |path: &Path| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(lines(&include), [published.clone(), made.clone()]);
    // Once before the first key was published, and once when there was another.
    assert_eq!(
        lines(&seen),
        [published.clone(), published.clone(), made.clone()]
    );

    // An old key goes to the end, so that its ECHConfig is sent to nobody.
    std::thread::sleep(Duration::from_millis(100));
    assert!(
        rotate(&path, &[&hooks[..], &FAST].concat())
            .status
            .success()
    );
    let after = lines(&include);
    assert_eq!((&after[0], &after[2]), (&made, &published), "{after:?}");
}

#[test]
fn a_key_that_cannot_be_published_leaves_the_old_one_published() {
    let (_parent, path) = new();
    assert!(
        rotate(&path, &[&["--once"][..], &FAST].concat())
            .status
            .success()
    );
    let before = KeyDirectory::open(&path).unwrap().load().unwrap();
    for hook in ["--publish-command", "--reload-command"] {
        std::thread::sleep(Duration::from_millis(100));
        let turn = rotate(&path, &[&["--once", hook, "exit 3"][..], &FAST].concat());
        assert_eq!(turn.status.code(), Some(1), "{turn:?}");
        let line = error_line(&turn);
        assert!(line.contains(&path.display().to_string()), "{line}");
        assert!(
            line.contains(hook) && line.contains("exit status: 3"),
            "{line}"
        );
        let after = KeyDirectory::open(&path).unwrap().load().unwrap();
        assert_eq!(after.retry_configs(), before.retry_configs(), "{hook}");
    }
    assert!(
        rotate(&path, &[&["--once"][..], &FAST].concat())
            .status
            .success()
    );
    let after = KeyDirectory::open(&path).unwrap().load().unwrap();
    assert_ne!(after.retry_configs(), before.retry_configs());
}

#[test]
fn a_kill_at_any_moment_leaves_a_directory_that_loads_and_goes_on() {
    let (_parent, path) = new();
    let arguments = [&["--once"][..], &FAST].concat();
    assert!(rotate(&path, &arguments).status.success());
    let directory = KeyDirectory::open(&path).unwrap();
    let mut rng = rand::rng();
    for _ in 0..60 {
        let mut child = command(&path, &arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(rng.random_range(0..30_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let keys = directory.load().unwrap();
        assert!(keys.retry_configs().is_some());
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(100));
    let last = rotate(&path, &arguments);
    assert!(last.status.success(), "{last:?}");
    let states = states(&path);
    assert_eq!(
        states.iter().filter(|state| *state == "published").count(),
        1
    );
    assert!(states.iter().any(|state| state == "retiring"), "{states:?}");
    for entry in fs::read_dir(&path).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with("ech-tmp"), "{name}");
    }
}

#[test]
fn without_once_keys_change_until_sigterm_and_a_failure_is_told_once() {
    use rustix::process::{Pid, Signal, kill_process};
    let (parent, path) = new();
    let hook = parent.path().join("publish");
    // It fails while the file is there, and says so each time.
    let failing = parent.path().join("failing");
    let publish = format!(
        "test ! -e '{0}' || {{ echo x >> '{0}'; exit 1; }}",
        failing.display()
    );
    let mut child = command(
        &path,
        &[&FAST[..], &["--json", "--publish-command", &publish]].concat(),
    )
    .stdout(Stdio::piped())
    .stderr(fs::File::create(&hook).unwrap())
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut published = 0;
    let mut read = |count: usize| {
        let until = published + count;
        while published < until {
            let line = lines.next().expect("it goes on").unwrap();
            let step: Value = serde_json::from_str(&line).unwrap();
            published += usize::from(step["step"] == "publish");
        }
    };
    read(3);
    fs::write(&failing, "").unwrap();
    let tries = || fs::read_to_string(&failing).unwrap().lines().count();
    while tries() < 3 {
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::remove_file(&failing).unwrap();
    read(2);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status:?}");
    let said = fs::read_to_string(&hook).unwrap();
    assert_eq!(
        said.matches("--publish-command failed").count(),
        1,
        "{said}"
    );
    let directory = KeyDirectory::open(&path).unwrap();
    assert!(directory.load().unwrap().retry_configs().is_some());
}

#[test]
fn private_keys_that_others_can_read_are_refused_with_the_way_out() {
    use std::os::unix::fs::PermissionsExt;
    let (_parent, path) = new();
    assert!(
        rotate(&path, &[&["--once"][..], &FAST].concat())
            .status
            .success()
    );
    let is_key = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "ech");
    let mut files = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let file = files.find(is_key).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = rotate(&path, &[&["--once"][..], &FAST].concat());
    let line = error_line(&refused);
    assert_eq!(refused.status.code(), Some(26));
    assert!(
        line.contains(&file.display().to_string()) && line.contains("chmod 0600"),
        "{line}"
    );
}
