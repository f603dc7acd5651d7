//! A terminal that a test reads.
#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::fs::File;
use std::io::Read;
use std::process::{Child, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A pseudo-terminal: the side that a person sees, and the side of the command.
pub(crate) struct Terminal {
    shown: File,
    device: File,
}

impl Terminal {
    /// A terminal of that many columns.
    pub(crate) fn open(columns: u16) -> Self {
        let shown = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&shown).unwrap();
        unlockpt(&shown).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&shown, size).unwrap();
        let name = ptsname(&shown, Vec::new()).unwrap();
        let name = name.to_str().unwrap();
        let device = File::options().read(true).write(true).open(name).unwrap();
        Self {
            shown: shown.into(),
            device,
        }
    }

    /// Reads until the text is shown, and returns everything that was.
    pub(crate) fn until(&mut self, text: &str) -> Vec<u8> {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut bytes = [0; 4096];
            let read = self.shown.read(&mut bytes).unwrap();
            seen.extend(&bytes[..read]);
        }
        seen
    }

    /// The command's side.
    pub(crate) fn stdio(&self) -> Stdio {
        self.device.try_clone().unwrap().into()
    }
}

/// The exit code, and what the terminal still shows: it ends when the command holds it no more.
pub(crate) fn end(mut child: Child, terminal: Terminal, mut seen: Vec<u8>) -> (i32, String) {
    let Terminal { mut shown, device } = terminal;
    let code = child.wait().unwrap().code().unwrap();
    drop(device);
    let mut bytes = [0; 4096];
    // The end of a terminal is an error to read (EIO).
    while let Ok(read @ 1..) = shown.read(&mut bytes) {
        seen.extend(&bytes[..read]);
    }
    (code, String::from_utf8_lossy(&seen).into_owned())
}
