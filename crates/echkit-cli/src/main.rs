//! The command `ech`.
fn main() {}
