//! A file of session secrets, in the format of `SSLKEYLOGFILE`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use rustls::KeyLog;
use zeroize::Zeroizing;

/// Appends each secret with one call to the system, which keeps lines whole without a lock: a lock
/// that another thread holds would stay locked in a forked child.
#[derive(Debug)]
pub(crate) struct KeyLogTo(File);

impl KeyLogTo {
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self(file))
    }
}

impl KeyLog for KeyLogTo {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| Zeroizing::new(data_encoding::HEXLOWER.encode(bytes));
        let line = Zeroizing::new(format!(
            "{label} {} {}\n",
            *hex(client_random),
            *hex(secret)
        ));
        // A log that cannot be written must not end connections.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}
