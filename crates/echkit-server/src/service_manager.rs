//! What a service and systemd tell each other.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// The TCP sockets that systemd bound for this process (`ListenStream=`), in its order; none
/// where it passed none. Call it once, before anything else opens files.
///
/// # Errors
///
/// When one is not a listening TCP socket.
pub fn passed_listeners() -> io::Result<Vec<TcpListener>> {
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        if let Some(listener) = passed.take_tcp_listener(index)? {
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

/// Tells systemd (`Type=notify` or `notify-reload`) how far the service is. Where there is none, nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceState {
    /// It serves; also after a reload.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It ends.
    Stopping,
}

impl ServiceState {
    /// Tells it.
    pub fn tell(self) {
        // A service manager that does not listen changes nothing.
        let _ = match self {
            Self::Ready => sd_notify::notify(&[NotifyState::Ready]),
            Self::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
            Self::Reloading => match NotifyState::monotonic_usec_now() {
                Ok(now) => sd_notify::notify(&[NotifyState::Reloading, now]),
                Err(error) => Err(error),
            },
        };
    }
}
