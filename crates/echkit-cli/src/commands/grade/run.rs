//! Runs a client once.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How often it is looked whether the client has ended.
const GLANCE: Duration = Duration::from_millis(5);

/// The client under test.
pub(super) struct Client {
    /// What it is, for the report.
    pub(super) name: String,
    /// Its version, where it says one.
    pub(super) version: Option<String>,
    /// The program and its arguments, with placeholders.
    pub(super) command: Vec<String>,
}

/// What stands for each placeholder.
#[derive(Clone)]
pub(super) struct Substitutions(Vec<(&'static str, String)>);

impl Substitutions {
    pub(super) fn new(pairs: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// The text with what stands for its placeholders; other braces stay. What was put in is not
    /// looked at again.
    fn apply(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let found = self.0.iter().find_map(|(name, value)| {
                let end = rest[1..].strip_prefix(name)?.strip_prefix('}')?;
                Some((value, end))
            });
            match found {
                Some((value, end)) => {
                    out.push_str(value);
                    rest = end;
                }
                None => {
                    out.push('{');
                    rest = &rest[1..];
                }
            }
        }
        out + rest
    }
}

impl Client {
    /// A command of the user's.
    pub(super) fn of_command(command: &[String]) -> Self {
        Self {
            name: command.join(" "),
            version: None,
            command: command.to_vec(),
        }
    }

    /// Runs it. The exit code is `None` where it was ended by a signal, or took longer than
    /// `limit` and was ended with all that it had started.
    pub(super) async fn run(
        &self,
        substitutions: &Substitutions,
        limit: Duration,
    ) -> Result<Option<i32>, Failure> {
        let words: Vec<String> = self
            .command
            .iter()
            .map(|w| substitutions.apply(w))
            .collect();
        let task = tokio::task::spawn_blocking(move || run(&words, limit));
        match task.await {
            Ok(ended) => ended,
            Err(error) => Err(Failure::system(error.to_string())),
        }
    }
}

fn run(words: &[String], limit: Duration) -> Result<Option<i32>, Failure> {
    let [program, arguments @ ..] = words else {
        return Err(Failure::usage("no command was given"));
    };
    let failed = |error: io::Error| Failure::usage(format!("cannot run {program}: {error}"));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Proxies and key logs of this process are not the client's.
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy().to_ascii_lowercase();
        if name.ends_with("_proxy") || name.starts_with("echkit_") || name == "sslkeylogfile" {
            command.env_remove(&variable);
        }
    }
    // With a group of its own it can be ended together with what it has started.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(failed)?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            // What it leaves running would be taken for what it does in the next case.
            end(&mut child);
            return Ok(status.code());
        }
        if begun.elapsed() >= limit {
            end(&mut child);
            return Ok(None);
        }
        std::thread::sleep(GLANCE);
    }
}

fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        // It may have ended by itself.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The first line that a program prints about its version when it is given these arguments.
pub(super) fn version(program: &str, arguments: &[&str]) -> Option<String> {
    if arguments.is_empty() {
        return None;
    }
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut text = String::new();
    let mut out = child.stdout.take()?.take(4096);
    out.read_to_string(&mut text).ok()?;
    // A program that says more than that gets a broken pipe.
    drop(out);
    child.wait().ok()?;
    Some(text.lines().next()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_once_and_other_braces_stay() {
        let substitutions = Substitutions::new([
            ("url", "https://a.test/{host}".to_owned()),
            ("host", "a.test".to_owned()),
            ("ech", String::new()),
        ]);
        assert_eq!(
            substitutions.apply("{url} {host}{ech} {other} {host {} {"),
            "https://a.test/{host} a.test {other} {host {} {"
        );
    }
}
