//! Reading length-prefixed bytes (RFC 8446 §3), and writing them.

/// Bytes ended before the value did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ended too early")]
pub struct Short;

/// A cursor over borrowed bytes; every read checks that the bytes are there.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            whole: bytes.len(),
        }
    }

    /// How many bytes were read so far.
    pub fn position(&self) -> usize {
        self.whole - self.rest.len()
    }

    /// Whether every byte was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that were not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8, Short> {
        self.bytes(1).map(|b| b[0])
    }

    /// Reads a big-endian u16.
    pub fn u16(&mut self) -> Result<u16, Short> {
        self.bytes(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// Reads a big-endian u24.
    pub fn u24(&mut self) -> Result<u32, Short> {
        self.bytes(3)
            .map(|b| u32::from_be_bytes([0, b[0], b[1], b[2]]))
    }

    /// Reads bytes behind a length of one byte.
    pub fn vec8(&mut self) -> Result<&'a [u8], Short> {
        let len = self.u8()?;
        self.bytes(len.into())
    }

    /// Reads bytes behind a length of two bytes.
    pub fn vec16(&mut self) -> Result<&'a [u8], Short> {
        let len = self.u16()?;
        self.bytes(len.into())
    }
}

/// Bytes are more than their length prefix can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes do not fit behind their length")]
pub struct TooLong(pub usize);

/// Appends `body` behind its length in two bytes.
///
/// # Errors
///
/// When `body` is longer than 65,535 bytes; `out` is then unchanged.
pub fn put_vec16(out: &mut Vec<u8>, body: &[u8]) -> Result<(), TooLong> {
    let len = u16::try_from(body.len()).map_err(|_| TooLong(body.len()))?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(body);
    Ok(())
}

/// Appends `body` behind its length in one byte.
///
/// # Errors
///
/// When `body` is longer than 255 bytes; `out` is then unchanged.
pub fn put_vec8(out: &mut Vec<u8>, body: &[u8]) -> Result<(), TooLong> {
    out.push(u8::try_from(body.len()).map_err(|_| TooLong(body.len()))?);
    out.extend_from_slice(body);
    Ok(())
}
