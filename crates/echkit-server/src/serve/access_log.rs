//! The access log: a line for each request.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{
    Receiver, Sender, SyncSender, TryRecvError, TrySendError, channel, sync_channel,
};
use std::thread::JoinHandle;

use echkit::server::EchOutcome;
use hyper::{Method, StatusCode, Version};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::config::{AccessLogConfig, AccessLogFormat};
use super::outcome::{outcome_word, reason_word};
use super::peer::Peer;
use super::problem::{ServeProblem, ServeProblemKind};
use crate::open_log_file;

/// Lines that wait for the disk. A disk that does not keep up delays no request: further lines are
/// dropped, and counted.
const WAITING: usize = 8192;

/// An access log that is open.
pub(super) struct AccessLog {
    pub(super) config: AccessLogConfig,
    commands: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Line(String),
    Reopen(Sender<io::Result<()>>),
    Flush(Sender<()>),
}

/// A request that was answered.
pub(super) struct LoggedRequest {
    pub(super) at: OffsetDateTime,
    pub(super) method: Method,
    /// The target without a host.
    pub(super) path: String,
    pub(super) version: Version,
    pub(super) status: StatusCode,
    pub(super) sent: u64,
    pub(super) seconds: f64,
}

impl AccessLog {
    /// Opens the log.
    pub(super) fn open(config: AccessLogConfig) -> Result<Self, ServeProblem> {
        let target = Target::of(&config.file);
        let sink = target.open().map_err(|error| {
            let message = format!(
                "{}: cannot be opened for the access log: {error}; name a file in a directory that this \
                 user may write to",
                config.file.display()
            );
            ServeProblem::new(ServeProblemKind::Unreadable, message)
        })?;
        let (commands, received) = sync_channel(WAITING);
        let thread = std::thread::spawn(move || write(&target, sink, &received));
        Ok(Self {
            config,
            commands: Some(commands),
            thread: Some(thread),
        })
    }

    /// Writes a line for a request. Says whether there was room for it.
    pub(super) fn log(&self, peer: &Peer, request: &LoggedRequest) -> bool {
        let line = match self.config.format {
            AccessLogFormat::Text => text_line(peer, request, self.config.inner_names),
            AccessLogFormat::Json => json_line(peer, request, self.config.inner_names),
        };
        let Some(commands) = &self.commands else {
            return false;
        };
        !matches!(
            commands.try_send(Command::Line(line)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_))
        )
    }

    /// Opens the file again, which was moved away. Blocks.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let (done, waited) = channel();
        self.send(Command::Reopen(done));
        waited.recv().unwrap_or(Ok(()))
    }

    /// Waits until every line is written. Blocks.
    pub(super) fn flush(&self) {
        let (done, waited) = channel();
        self.send(Command::Flush(done));
        // An error is a thread that has ended.
        let _ = waited.recv();
    }

    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where lines go.
enum Target {
    File(PathBuf),
    Stdout,
}

impl Target {
    fn of(path: &Path) -> Self {
        match path.as_os_str() == "-" {
            true => Self::Stdout,
            false => Self::File(path.to_owned()),
        }
    }

    fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Self::Stdout => Box::new(io::stdout()),
            Self::File(path) => Box::new(open_log_file(path)?),
        })
    }
}

fn write(target: &Target, sink: Box<dyn Write + Send>, commands: &Receiver<Command>) {
    let mut out = BufWriter::new(sink);
    loop {
        let command = match commands.try_recv() {
            Ok(command) => command,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                // Nothing waits: what there is can be read.
                let _ = out.flush();
                match commands.recv() {
                    Ok(command) => command,
                    Err(_) => break,
                }
            }
        };
        match command {
            // A disk that is full stops no server.
            Command::Line(line) => drop(out.write_all(line.as_bytes())),
            Command::Reopen(done) => {
                let _ = out.flush();
                let opened = target.open().map(|sink| out = BufWriter::new(sink));
                let _ = done.send(opened);
            }
            Command::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
    }
    let _ = out.flush();
}

/// The name that the line shows: one that ECH hid only where that was asked for.
fn shown_name(peer: &Peer, inner_names: bool) -> Option<&str> {
    match &peer.outcome {
        EchOutcome::Accepted { outer_sni, .. } if !inner_names => outer_sni.as_deref(),
        EchOutcome::Backend { .. } if !inner_names => None,
        _ => Some(&peer.name),
    }
}

fn time_of(request: &LoggedRequest) -> String {
    let whole = request.at.replace_nanosecond(0).unwrap_or(request.at);
    whole.format(&Rfc3339).unwrap_or_default()
}

fn text_line(peer: &Peer, request: &LoggedRequest, inner_names: bool) -> String {
    let address = peer.address.ip().to_canonical();
    format!(
        "{address} {} \"{} {} {:?}\" {} {} {:.3} {} {}\n",
        time_of(request),
        request.method,
        escaped(&request.path),
        request.version,
        request.status.as_u16(),
        request.sent,
        request.seconds,
        outcome_word(&peer.outcome),
        shown_name(peer, inner_names).unwrap_or("-"),
    )
}

fn json_line(peer: &Peer, request: &LoggedRequest, inner_names: bool) -> String {
    let mut line = json!({
        "time": time_of(request),
        "client": peer.address.ip().to_canonical().to_string(),
        "method": request.method.as_str(),
        "path": request.path,
        "version": format!("{:?}", request.version),
        "status": request.status.as_u16(),
        "bytes": request.sent,
        "seconds": request.seconds,
        "ech": outcome_word(&peer.outcome),
        "name": shown_name(peer, inner_names),
    });
    if let EchOutcome::Accepted { config_id, .. } = &peer.outcome {
        line["config_id"] = json!(config_id);
    }
    if let EchOutcome::Rejected { reason, .. } = &peer.outcome {
        line["reason"] = json!(reason_word(reason));
    }
    format!("{line}\n")
}

/// A path cannot end the quotes or the line.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}
