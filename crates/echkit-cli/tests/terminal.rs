//! `ech get` on a terminal: the progress of a download, and bodies that a terminal cannot show.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

mod bed;
mod pty;

use pty::{Terminal, end};

const BINARY: &[u8] = b"\x7fELF\0\x01\x1b[31m";

/// Serves one connection: the head, then what `body` writes.
fn serve(length: usize, body: impl FnOnce(&mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            tcp.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        tcp.write_all(head.as_bytes()).unwrap();
        body(&mut tcp);
        // The client closes first.
        let _ = tcp.read(&mut [0]);
    });
    url
}

fn get(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = bed::command();
    command
        .arg("get")
        .args(arguments)
        .current_dir(folder)
        .env("TERM", "xterm")
        .env("no_proxy", "*")
        .env("NO_COLOR", "1");
    command
}

#[test]
fn a_download_to_a_file_shows_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let length = 40_000;
    for (flags, bar) in [(&["-o", "file"][..], true), (&["-o", "file", "-s"], false)] {
        let (go_on, wait) = mpsc::channel::<()>();
        let url = serve(length, move |tcp| {
            tcp.write_all(&vec![b'a'; length / 2]).unwrap();
            wait.recv().unwrap();
            tcp.write_all(&vec![b'a'; length / 2]).unwrap();
        });
        let mut terminal = Terminal::open(100);
        let child = get(folder.path(), &[flags, &[&*url]].concat())
            .stdout(Stdio::null())
            .stderr(terminal.stdio())
            .spawn()
            .unwrap();
        // The rest is sent once the bar is there: it is shown while the body arrives.
        let seen = match bar {
            true => terminal.until("/39.06 KiB"),
            false => Vec::new(),
        };
        go_on.send(()).unwrap();
        let (code, seen) = end(child, terminal, seen);
        assert_eq!(code, 0, "{seen}");
        assert_eq!(seen.contains("KiB"), bar, "{seen}");
        let written = std::fs::metadata(folder.path().join("file")).unwrap();
        assert_eq!(written.len(), length as u64);
    }
}

#[test]
fn a_binary_body_is_not_shown_on_a_terminal_unless_it_was_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let text: &[u8] = b"a page\n";
    for (body, flags, code, shown) in [
        (BINARY, &[][..], 23, false),
        (BINARY, &["-o", "-"], 0, true),
        (text, &[], 0, true),
    ] {
        let url = serve(body.len(), move |tcp| tcp.write_all(body).unwrap());
        let terminal = Terminal::open(100);
        let mut errors = tempfile::tempfile().unwrap();
        let child = get(folder.path(), &[flags, &[&*url]].concat())
            .stdout(terminal.stdio())
            .stderr(errors.try_clone().unwrap())
            .spawn()
            .unwrap();
        let (ended, seen) = end(child, terminal, Vec::new());
        let mut said = String::new();
        std::io::Seek::rewind(&mut errors).unwrap();
        errors.read_to_string(&mut said).unwrap();
        assert_eq!(ended, code, "{said}");
        let start = String::from_utf8_lossy(&body[..4]).into_owned();
        assert_eq!(seen.contains(&start), shown, "{seen:?}");
        assert_eq!(said.contains("-o -"), code == 23, "{said}");
    }
}

#[test]
fn a_binary_body_goes_into_a_pipe_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve(BINARY.len(), |tcp| tcp.write_all(BINARY).unwrap());
    let output = get(folder.path(), &[&url]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        (output.stdout, output.stderr),
        (BINARY.to_vec(), Vec::new())
    );
}
