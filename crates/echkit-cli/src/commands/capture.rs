//! `--pcap`: what was recorded, as a capture file.

use std::path::Path;

use echkit::wire::WireRecorder;
use echkit_check::pcapng;

use crate::failure::Failure;
use crate::output;
use crate::private_file;

/// A capture file in the making.
pub(crate) struct Capture<'a> {
    path: &'a Path,
    recorder: WireRecorder,
}

impl<'a> Capture<'a> {
    /// Where `--pcap` was given.
    pub(crate) fn wanted(path: Option<&'a Path>) -> Option<Self> {
        let recorder = WireRecorder::default();
        path.map(|path| Self { path, recorder })
    }

    /// What records.
    pub(crate) fn recorder(&self) -> WireRecorder {
        self.recorder.clone()
    }

    /// Writes the file, which its owner alone can read: it holds the secrets of the connections.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        write(self.path, &self.recorder)
    }

    /// Writes the file once the command has ended. How it ended counts more than the file.
    pub(crate) fn write_after(&self, ended: Result<(), Failure>) -> Result<(), Failure> {
        match (ended, self.write()) {
            (Ok(()), written) => written,
            (Err(failure), Ok(())) => Err(failure),
            (Err(failure), Err(unwritten)) => {
                if let Some(line) = unwritten.line() {
                    output::note(&format!("ech: warning: {line}"));
                }
                Err(failure)
            }
        }
    }
}

/// Writes what was recorded to a capture file.
pub(crate) fn write(path: &Path, recorder: &WireRecorder) -> Result<(), Failure> {
    let connections = recorder.connections();
    let bytes = pcapng(&connections, &recorder.key_log())
        .map_err(|error| Failure::unwritten(path, error))?;
    private_file::replace(path, bytes).map_err(|error| Failure::unwritten(path, error))?;
    if connections
        .iter()
        .any(|c| c.sent_lost + c.received_lost > 0)
    {
        output::note(&format!(
            "ech: warning: {}: a connection was longer than is recorded; the file has its beginning",
            path.display()
        ));
    }
    if recorder.forgotten() > 0 {
        output::note(&format!(
            "ech: warning: {}: the file has the last {} connections; {} before them are not kept",
            path.display(),
            connections.len(),
            recorder.forgotten()
        ));
    }
    Ok(())
}
