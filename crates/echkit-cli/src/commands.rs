//! One module for each command.

pub(crate) mod decode;
pub(crate) mod generate;
pub(crate) mod keygen;
pub(crate) mod testbed;
