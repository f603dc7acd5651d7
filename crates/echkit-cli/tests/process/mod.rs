//! A process of `ech` that runs until the test is over.
#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Far above what anything here takes; only a hang runs into it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// `ech` with these arguments, in an environment that asks for nothing.
pub(crate) fn ech(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ech"));
    command
        .args(arguments)
        .env_remove("ECHKIT_LOG")
        .env_remove("ECHKIT_DNS")
        .env("no_proxy", "*")
        .stdin(Stdio::null());
    command
}

pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Process {
    /// Starts `ech` with these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::of(ech(arguments))
    }

    /// Starts a command.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Self {
            child,
            lines,
            said: Vec::new(),
        }
    }

    /// The next line with these words.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {words:?} in {:#?}", self.said));
            self.said.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Sends SIGHUP, and waits for the line that says what came of it.
    pub(crate) fn reload(&mut self, words: &str) {
        self.said.extend(self.lines.try_iter());
        self.signal(Signal::HUP);
        self.wait_for(words);
    }

    /// Panics if it has ended.
    pub(crate) fn goes_on(&mut self) {
        let ended = self.child.try_wait().unwrap();
        self.said.extend(self.lines.try_iter());
        assert!(ended.is_none(), "{ended:?}: {:#?}", self.said);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.goes_on();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it with SIGTERM.
    pub(crate) fn stop(self) {
        self.signal(Signal::TERM);
        self.ends();
    }

    /// The same for one that may first wait for something, which `meanwhile` does.
    pub(crate) fn stop_with(mut self, meanwhile: impl Fn()) {
        self.signal(Signal::TERM);
        while self.child.try_wait().unwrap().is_none() {
            meanwhile();
            std::thread::sleep(Duration::from_millis(5));
        }
        self.ends();
    }

    /// Waits for its end, which is a good one.
    pub(crate) fn ends(self) {
        let (status, said) = self.end();
        assert!(status.success(), "{status}: {said}");
    }

    /// Waits for its end, and gives all that it said.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        self.said.extend(self.lines.iter());
        (status, self.said.join("\n"))
    }

    /// What it has of the system.
    pub(crate) fn used(&self) -> Used {
        let process = format!("/proc/{}", self.child.id());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let memory = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        let descriptors = std::fs::read_dir(format!("{process}/fd"));
        Used {
            kilobytes: memory.unwrap_or_default(),
            descriptors: descriptors.map_or(0, Iterator::count),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory and descriptors of a process; nothing where the system does not tell.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    kilobytes: usize,
    descriptors: usize,
}

impl Used {
    /// Whether it has not grown, beyond what the moment of looking makes.
    pub(crate) fn is_as_much_as(&self, later: &Self) -> bool {
        later.kilobytes < self.kilobytes + self.kilobytes / 4 + 10_000
            && later.descriptors < self.descriptors + 100
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KB, {} descriptors", self.kilobytes, self.descriptors)
    }
}
