//! Application data in and out.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use super::waiting::Patience;
use super::{SslObject, lock};
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
            if self.in_memory() {
                return self.read_one(py, len);
            }
            let mut chunk = Vec::new();
            self.read_with(py, len, |core, io| {
                chunk.reserve(core.expected(len));
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

    /// Reads from one record, into an object of Python's without a copy between (memory only).
    fn read_one<'py>(&self, py: Python<'py>, len: usize) -> PyResult<Bound<'py, PyAny>> {
        loop {
            let ready = self.read_with(py, len, |core, io| {
                core.make_readable(io)?;
                Ok(core.plaintext)
            })?;
            if ready == 0 {
                return Ok(PyBytes::new(py, &[]).into_any());
            }
            // To make bytes calls nothing of Python's, nor lets another thread go on.
            let mut core = lock(&self.core);
            let data = core.at_hand();
            let len = len.min(data.len());
            // Another thread may have read it meanwhile.
            if len == 0 {
                continue;
            }
            let bytes = PyBytes::new(py, &data[..len]);
            core.consume(len);
            return Ok(bytes.into_any());
        }
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
        let data = Source::new(data)?;
        let (_, patience) = self.patience(py)?;
        self.shake_hands(py, patience, "write")?;
        let mut copy = Vec::new();
        if matches!(patience, Patience::NonBlocking) && !self.in_memory() {
            let chunk = data.piece(py, 0, &mut copy);
            let written = self.run(py, patience, "write", |core, io| {
                // What was taken from a longer buffer is on its way, and cannot be told as part of
                // this one.
                if core.unflushed > chunk.len() {
                    return Err(Failure::Other("BAD_LENGTH", "bad length".to_owned()));
                }
                if core.unflushed == 0 {
                    core.flush(io)?;
                    core.unflushed = core.encrypt(chunk)?;
                }
                core.flush(io)?;
                Ok(std::mem::take(&mut core.unflushed))
            });
            return Ok(written.map_err(Failure::of_data)?);
        }
        let mut start = 0;
        while start < data.len() {
            let chunk = data.piece(py, start, &mut copy);
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
struct Source {
    buffer: PyBuffer<u8>,
    /// Whether it is that of `bytes`, which never change.
    constant: bool,
}

impl Source {
    fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = bytes_of(object)?;
        if !buffer.is_c_contiguous() {
            return Err(PyValueError::new_err("a contiguous buffer is needed"));
        }
        // Not of a subclass, which may lend another buffer (3.12 and later).
        let constant = match object.cast::<PyMemoryView>() {
            // `sendall` hands over a view.
            Ok(view) => view
                .getattr(intern!(object.py(), "obj"))?
                .is_exact_instance_of::<PyBytes>(),
            Err(_) => object.is_exact_instance_of::<PyBytes>(),
        };
        Ok(Self { buffer, constant })
    }

    fn len(&self) -> usize {
        self.buffer.item_count()
    }

    /// What begins at `start`, at most [`CHUNK`]: as it lies there if it is constant, else a copy.
    #[allow(unsafe_code)]
    fn piece<'a>(&'a self, py: Python<'_>, start: usize, copy: &'a mut Vec<u8>) -> &'a [u8] {
        let _attached = py;
        let len = self.len().saturating_sub(start).min(CHUNK);
        if len == 0 {
            return &[];
        }
        // SAFETY: `start + len` is within a contiguous buffer that is kept in place while it is
        // exported. The bytes of `bytes` never change; others cannot while the interpreter's lock
        // is held, which is until they are copied.
        let bytes = unsafe {
            std::slice::from_raw_parts(self.buffer.buf_ptr().cast::<u8>().add(start), len)
        };
        if self.constant {
            return bytes;
        }
        copy.clear();
        copy.extend_from_slice(bytes);
        copy
    }
}
