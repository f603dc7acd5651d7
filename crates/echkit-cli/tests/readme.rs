//! README's block for the command, pasted whole into bash and into sh.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// How many ports the testbed takes from the first on, and some.
const PORTS: u16 = 230;

fn block() -> String {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let blocks = readme.split("```sh\n").skip(1);
    let mut blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    let block = blocks.find(|block| block.contains("--detach")).unwrap();
    block.to_owned()
}

/// A first port after which all were free a moment ago.
fn free_ports(tries: u16) -> u16 {
    let own = u16::try_from(std::process::id() % 200).unwrap();
    let first = 21_000 + own * 50 + tries * PORTS;
    let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    match (first..first + PORTS).all(free) {
        true => first,
        false => free_ports(tries + 1),
    }
}

/// The lines come on stdin, as they do from a clipboard: a command that reads it would swallow them.
fn paste(shell: &str, text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_ech")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new(shell)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("TMPDIR", folder.path())
        // The block names a proxy itself, and no other is to be used.
        .env_remove("https_proxy")
        .env_remove("HTTPS_PROXY")
        .env_remove("all_proxy")
        .env_remove("ALL_PROXY")
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .env_remove("ECHKIT_DNS")
        .env_remove("ECHKIT_DDR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = shell.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    shell.wait_with_output().unwrap()
}

#[test]
fn the_block_survives_being_pasted_whole() {
    let block = block();
    for shell in ["bash", "sh"] {
        let first = free_ports(0);
        let block = block
            .replace("20000", &first.to_string())
            .replace("20010", &(first + 10).to_string())
            .replace("20200", &(first + 200).to_string());
        // The first command that fails ends it.
        let ran = paste(shell, &format!("set -e\n{block}echo the end\n"));
        let (out, err) = (
            String::from_utf8_lossy(&ran.stdout).into_owned(),
            String::from_utf8_lossy(&ran.stderr).into_owned(),
        );
        assert!(ran.status.success(), "{shell}: {err}{out}");
        assert!(out.ends_with("the end\n"), "{shell}: {out}");
        assert!(err.contains("accepted (mode require"), "{shell}: {err}");
    }
}
