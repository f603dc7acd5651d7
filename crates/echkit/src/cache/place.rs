//! What retry configs are kept for.

/// What configs are for and where they come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The ECHConfigList that led to them; `None` where there was no record, and they were asked
    /// for on purpose.
    pub(crate) published: Option<Vec<u8>>,
}
