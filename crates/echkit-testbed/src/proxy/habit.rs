//! What a proxy does.

use std::net::SocketAddr;
use std::time::Duration;

/// The user that [`ProxyHabit::Password`] knows.
pub const PROXY_USER: &str = "user";
/// The password of that user.
pub const PROXY_PASSWORD: &str = "hunter2";

/// What a proxy does. All names are at 127.0.0.1 for it, unless it is said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyHabit {
    /// Connects to where it is told.
    Open,
    /// The same, for clients that know [`PROXY_USER`] and [`PROXY_PASSWORD`].
    Password,
    /// Asks for a password and accepts none: 407 each time.
    PasswordInVain,
    /// Connects to nowhere.
    Refuses {
        /// The status of its answer to CONNECT.
        status: u16,
        /// The reply code of its answer in SOCKS5.
        reply: u8,
    },
    /// Connects to names, and refuses addresses.
    NamesOnly,
    /// Closes a connection as soon as it is accepted.
    ClosesAtOnce,
    /// Closes a connection once it has been told where to connect to.
    ClosesWhenAsked,
    /// Closes both connections when the server has sent so many bytes; the last is not passed on.
    ClosesMidTunnel {
        /// How many.
        after: u64,
    },
    /// Reads everything and sends nothing.
    Silent,
    /// Waits this long before it answers.
    Slow(Duration),
    /// Sends interim answers and a head of 20 KiB before the tunnel begins.
    LongHead,
    /// Sends a head that does not end before 1 MiB.
    EndlessHead,
    /// Sends bytes of the tunnel in the same segment as its answer.
    TalksFirst,
    /// Passes one byte at a time.
    Drips,
    /// Changes a bit of what the server sends.
    Tampers,
    /// Connects to this place whatever it is told.
    LeadsTo(SocketAddr),
    /// Connects to this place for names, and to addresses as it is told.
    LooksUpWrongly(SocketAddr),
    /// Sends these bytes when the client has sent something, whatever it is.
    Answers(&'static [u8]),
}
