//! How many connections a server may hold: as many as the system lets it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of file descriptors as far as it goes without privileges. Shells start programs
/// with 1024, which is a few hundred connections.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // With the old one the server has less room.
    let _ = setrlimit(Resource::Nofile, raised);
}
