//! Reading length-prefixed bytes (RFC 8446 §3), and writing them.

/// Bytes ended before the value did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ended too early")]
pub struct Short;

/// A cursor over borrowed bytes; every read checks that the bytes are there.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// Never beyond the end of `bytes`.
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Starts at the byte number `position` of `bytes`, counted from 0; a position beyond the end
    /// is the end. Formats with pointers, such as DNS messages, need that.
    pub fn starting_at(bytes: &'a [u8], position: usize) -> Self {
        Self {
            bytes,
            at: position.min(bytes.len()),
        }
    }

    /// How many bytes of the whole are before the cursor.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether every byte was read.
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// The bytes that were not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Reads `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let (head, _) = self.rest().split_at_checked(len).ok_or(Short)?;
        self.at += len;
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

    /// Reads a big-endian u32.
    pub fn u32(&mut self) -> Result<u32, Short> {
        self.bytes(4)
            .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
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
#[error("{0} bytes are too long for their length field")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_what_is_there_and_stays_where_it_failed() {
        let mut reader = Reader::new(&[1, 0, 2, 7, 8, 0, 0, 1, 0, 9]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.vec16(), Ok(&[7, 8][..]));
        assert_eq!(reader.position(), 5);
        assert_eq!(reader.u32(), Ok(0x0100));
        assert_eq!(reader.u16(), Err(Short));
        assert_eq!(reader.vec8(), Err(Short));
        assert!(reader.is_empty(), "the length of the vector was read");
        let mut reader = Reader::new(&[1]);
        assert_eq!(reader.u32(), Err(Short));
        assert_eq!(reader.rest(), [1]);
    }

    #[test]
    fn starts_within_the_bytes_wherever_it_is_told_to() {
        let bytes = [1, 2, 3];
        assert_eq!(Reader::starting_at(&bytes, 2).u8(), Ok(3));
        for beyond in [3, 4, usize::MAX] {
            let mut reader = Reader::starting_at(&bytes, beyond);
            assert_eq!(reader.position(), 3);
            assert_eq!(reader.u8(), Err(Short));
        }
    }
}
