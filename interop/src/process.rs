//! A subprocess whose output is read as it comes, and which never outlives its owner.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Far above what a peer needs on the slowest machine; only a hang runs into it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What went wrong with a subprocess, with its output for the reader.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started, or its pipes failed.
    #[error("cannot run {program}: {error}")]
    Io {
        /// The program's path.
        program: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// It ended, or was silent for too long, before it said what was waited for.
    #[error("{program} never said {awaited}; it said:\n{output}")]
    Silent {
        /// The program's path.
        program: String,
        /// What was waited for.
        awaited: String,
        /// Everything that it printed.
        output: String,
    },
    /// It did not end.
    #[error("{program} did not end; it said:\n{output}")]
    Hangs {
        /// The program's path.
        program: String,
        /// Everything that it printed.
        output: String,
    },
}

/// Lines of both output streams, in the order in which they were read.
#[derive(Default)]
struct Output {
    lines: Mutex<(Vec<String>, usize)>,
    changed: Condvar,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, (Vec<String>, usize)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running program.
pub struct Process {
    program: String,
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

/// A program that ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it printed, standard error included.
    pub output: String,
}

impl Process {
    /// Starts a program; `input` is written to its standard input, which is then closed.
    pub fn start(
        program: &Path,
        arguments: &[OsString],
        input: Option<&[u8]>,
    ) -> Result<Self, ProcessError> {
        let mut started = Self::start_open(program, arguments, input.is_some())?;
        if let (Some(input), Some(mut pipe)) = (input, started.child.stdin.take()) {
            // A peer that ended early has closed its end; its output says why.
            let _ = pipe.write_all(input);
        }
        Ok(started)
    }

    /// Starts a program; with `open` its standard input stays open, and nothing comes from it.
    pub fn start_open(
        program: &Path,
        arguments: &[OsString],
        open: bool,
    ) -> Result<Self, ProcessError> {
        let name = program.display().to_string();
        let io = |error| ProcessError::Io {
            program: name.clone(),
            error,
        };
        let mut child = Command::new(program)
            .args(arguments)
            // A peer configured by the machine would not be the peer that we test.
            .env_remove("OPENSSL_CONF")
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR")
            .env_remove("GODEBUG")
            .stdin(match open {
                true => Stdio::piped(),
                false => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(io)?;
        let output = Arc::new(Output::default());
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(read_lines(pipe, output.clone()));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(read_lines(pipe, output.clone()));
        }
        Ok(Self {
            program: name,
            child,
            output,
            readers,
        })
    }

    /// Waits until `find` gets something out of a line.
    pub fn wait_for<T>(
        &self,
        awaited: &str,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ProcessError> {
        self.wait_until(awaited, |lines| lines.iter().find_map(|line| find(line)))
    }

    /// Waits until `find` gets something out of all lines so far.
    pub fn wait_until<T>(
        &self,
        awaited: &str,
        find: impl Fn(&[String]) -> Option<T>,
    ) -> Result<T, ProcessError> {
        let until = Instant::now() + PATIENCE;
        let mut state = self.output.lock();
        loop {
            if let Some(found) = find(&state.0) {
                return Ok(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.1 == self.readers.len() {
                return Err(ProcessError::Silent {
                    program: self.program.clone(),
                    awaited: awaited.to_owned(),
                    output: state.0.join("\n"),
                });
            }
            state = self
                .output
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.output.lock().0.join("\n")
    }

    /// Closes its standard input, and waits for its end.
    pub fn finish(mut self) -> Result<Finished, ProcessError> {
        drop(self.child.stdin.take());
        let until = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    for reader in self.readers.drain(..) {
                        let _ = reader.join();
                    }
                    let output = self.output();
                    return Ok(Finished { status, output });
                }
                Ok(None) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(None) => {
                    return Err(ProcessError::Hangs {
                        program: self.program.clone(),
                        output: self.output(),
                    });
                }
                Err(error) => {
                    return Err(ProcessError::Io {
                        program: self.program.clone(),
                        error,
                    });
                }
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Peers print what was received too, so bytes that are no UTF-8 must not end the reading.
fn read_lines(pipe: impl Read + Send + 'static, output: Arc<Output>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(count) if count > 0) {
            let text = String::from_utf8_lossy(&line);
            output
                .lock()
                .0
                .push(text.trim_end_matches(['\r', '\n']).to_owned());
            output.changed.notify_all();
            line.clear();
        }
        output.lock().1 += 1;
        output.changed.notify_all();
    })
}
