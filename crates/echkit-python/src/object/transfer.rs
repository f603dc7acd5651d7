//! Application data in and out.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use super::SslObject;
use super::waiting::Patience;
use crate::core::{CHUNK, Core, Io};
use crate::failure::Failure;

impl SslObject {
    /// Reads up to `len` bytes, into `buffer` where it is given.
    pub(super) fn read_into<'py>(
        &self,
        py: Python<'py>,
        len: isize,
        buffer: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let buffer = buffer.map(|b| bytes_of(&b)).transpose()?;
        let len = match (&buffer, usize::try_from(len)) {
            (None, Ok(len)) => len,
            (None, Err(_)) => return Err(PyValueError::new_err("size should not be negative")),
            (Some(buffer), Ok(len)) if len > 0 => len.min(buffer.item_count()),
            (Some(buffer), _) => buffer.item_count(),
        };
        if buffer.as_ref().is_some_and(|b| b.readonly()) {
            return Err(PyTypeError::new_err("a writable buffer is needed"));
        }
        let Some(buffer) = buffer else {
            let mut chunk = Vec::new();
            self.read_with(py, len, |core, io| {
                chunk.reserve(core.expected(io, len));
                core.read(io, len, |plaintext| chunk.extend_from_slice(plaintext))
            })?;
            return Ok(PyBytes::new(py, &chunk).into_any());
        };
        let mut target = Target::new(&buffer)?;
        let taken = self.read_with(py, len, |core, io| {
            core.read(io, len, |plaintext| target.put(plaintext))
        })?;
        Ok(taken.into_pyobject(py)?.into_any())
    }

    fn read_with(
        &self,
        py: Python<'_>,
        len: usize,
        read: impl FnMut(&mut Core, Io) -> Result<usize, Failure> + Send,
    ) -> PyResult<usize> {
        if len == 0 {
            return Ok(0);
        }
        let (_, patience) = self.patience(py)?;
        self.shake_hands(py, patience, "read")?;
        match self.run(py, patience, "read", read) {
            Err(Failure::Closed) => Ok(0),
            other => Ok(other?),
        }
    }

    /// Writes `data`, and says how much of it was written.
    pub(super) fn write_all(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let data = Source::new(bytes_of(data)?)?;
        let (_, patience) = self.patience(py)?;
        self.shake_hands(py, patience, "write")?;
        let mut chunk = Vec::with_capacity(data.len().min(CHUNK));
        if matches!(patience, Patience::NonBlocking) && !self.in_memory() {
            data.copy(py, 0, &mut chunk);
            let written = self.run(py, patience, "write", |core, io| {
                // What was taken from a longer buffer is on its way, and cannot be told as part of
                // this one.
                if core.unflushed > chunk.len() {
                    return Err(Failure::Other("BAD_LENGTH", "bad length".to_owned()));
                }
                if core.unflushed == 0 {
                    core.flush(io)?;
                    core.unflushed = core.encrypt(&chunk)?;
                }
                core.flush(io)?;
                Ok(std::mem::take(&mut core.unflushed))
            });
            return Ok(written.map_err(Failure::of_data)?);
        }
        let mut start = 0;
        while start < data.len() {
            data.copy(py, start, &mut chunk);
            start += chunk.len();
            // Only what this call encrypted counts for it: another thread may be writing too.
            let mut written = 0;
            self.run(py, patience, "write", |core, io| {
                while written < chunk.len() {
                    core.flush(io)?;
                    written += core.encrypt(&chunk[written..])?;
                }
                core.flush(io)
            })
            .map_err(Failure::of_data)?;
        }
        Ok(data.len())
    }
}

/// A buffer as bytes, whatever its items are.
fn bytes_of(object: &Bound<'_, PyAny>) -> PyResult<PyBuffer<u8>> {
    PyBuffer::get(object).or_else(|_| {
        let bytes = PyMemoryView::from(object)?.call_method1("cast", ("B",))?;
        PyBuffer::get(&bytes)
    })
}

/// A buffer of Python's to write plaintext to, without the interpreter's lock.
struct Target<'a> {
    next: *mut u8,
    room: usize,
    /// Keeps the memory where it is.
    _buffer: &'a PyBuffer<u8>,
}

// SAFETY: the pointer leads to memory that `_buffer` keeps in place for `'a`, and nothing about it
// belongs to one thread. `PyBuffer` itself may be sent.
#[allow(unsafe_code)]
unsafe impl Send for Target<'_> {}

impl<'a> Target<'a> {
    fn new(buffer: &'a PyBuffer<u8>) -> PyResult<Self> {
        if !buffer.is_c_contiguous() || buffer.readonly() {
            return Err(PyValueError::new_err(
                "a contiguous, writable buffer is needed",
            ));
        }
        Ok(Self {
            next: buffer.buf_ptr().cast(),
            room: buffer.item_count(),
            _buffer: buffer,
        })
    }

    /// Copies as much as there is room for.
    #[allow(unsafe_code)]
    fn put(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(self.room);
        // SAFETY: `next` leads to `room` more bytes of a contiguous, writable buffer, which is not
        // moved or freed while it is exported; `bytes` is memory of ours. No reference to Python's
        // memory is made. A program that touches the buffer in another thread during the call
        // gets what it would get from the standard module, which writes there unlocked as well.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.next, len);
            self.next = self.next.add(len);
        }
        self.room -= len;
    }
}

/// A buffer of Python's to take plaintext from.
struct Source(PyBuffer<u8>);

impl Source {
    fn new(buffer: PyBuffer<u8>) -> PyResult<Self> {
        match buffer.is_c_contiguous() {
            true => Ok(Self(buffer)),
            false => Err(PyValueError::new_err("a contiguous buffer is needed")),
        }
    }

    fn len(&self) -> usize {
        self.0.item_count()
    }

    /// Replaces `chunk` with what begins at `start`, as far as it may hold.
    #[allow(unsafe_code)]
    fn copy(&self, py: Python<'_>, start: usize, chunk: &mut Vec<u8>) {
        let _attached = py;
        let len = self.len().saturating_sub(start).min(CHUNK);
        chunk.clear();
        if len == 0 {
            return;
        }
        // SAFETY: `start + len` is within a contiguous buffer that is kept in place while it is
        // exported. The interpreter's lock is held, so that no other thread changes it.
        let bytes =
            unsafe { std::slice::from_raw_parts(self.0.buf_ptr().cast::<u8>().add(start), len) };
        chunk.extend_from_slice(bytes);
    }
}
