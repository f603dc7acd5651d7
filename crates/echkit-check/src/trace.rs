//! What an eavesdropper saw of a connection, and what the client kept to itself.
//!
//! A [`Trace`] is made from recorded bytes: each ClientHello is parsed out of what was sent, and the
//! ClientHelloInner is what the connection's own secrets open (RFC 9850). Nothing is taken from what
//! the client meant to send.

mod hello;
mod names;
mod page;
mod parts;
mod server;
mod story;
mod table;

pub use hello::{HelloField, HelloFields};
pub(crate) use parts::client_hellos;
pub use parts::{ConnectionTrace, HelloTrace, SeenEch, Sighting, Trace};
pub use server::ServerAnswer;
pub use table::Paint;

impl Trace {
    /// For a terminal of that many columns, 80 at least. `paint` is told what each part is.
    pub fn text(&self, columns: usize, paint: impl Fn(Paint, &str) -> String) -> String {
        table::text(self, columns.max(80), &paint)
    }

    /// A page of HTML that needs nothing else, in light and dark.
    pub fn html(&self) -> String {
        page::html(self)
    }
}
