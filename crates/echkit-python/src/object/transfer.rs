//! Application data in and out.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use super::SslObject;
use super::waiting::Patience;
use crate::core::CHUNK;
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
        let mut chunk = Vec::new();
        if len > 0 {
            let (_, patience) = self.patience(py)?;
            self.shake_hands(py, patience, "read")?;
            chunk = match self.run(py, patience, "read", |core, io| {
                core.fill(io)?;
                let mut chunk = vec![0; len.min(core.plaintext)];
                let taken = core.take(&mut chunk);
                chunk.truncate(taken);
                Ok(chunk)
            }) {
                Ok(chunk) => chunk,
                Err(Failure::Closed) => Vec::new(),
                Err(failure) => return Err(failure.into()),
            };
        }
        match buffer {
            None => Ok(PyBytes::new(py, &chunk).into_any()),
            Some(buffer) => {
                copy_out(py, &buffer, &chunk)?;
                Ok(chunk.len().into_pyobject(py)?.into_any())
            }
        }
    }

    /// Writes `data`, and says how much of it was written.
    pub(super) fn write_all(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let data = bytes_of(data)?;
        let (_, patience) = self.patience(py)?;
        self.shake_hands(py, patience, "write")?;
        let data = data.to_vec(py)?;
        if matches!(patience, Patience::NonBlocking) && !self.in_memory() {
            return self.write_chunk(py, patience, &data[..data.len().min(CHUNK)]);
        }
        for chunk in data.chunks(CHUNK) {
            self.write_chunk(py, patience, chunk)?;
        }
        Ok(data.len())
    }

    fn write_chunk(&self, py: Python<'_>, patience: Patience, chunk: &[u8]) -> PyResult<usize> {
        if matches!(patience, Patience::NonBlocking) && !self.in_memory() {
            return Ok(self.run(py, patience, "write", |core, io| {
                if core.unflushed == 0 {
                    core.flush(io)?;
                    core.scratch.clear();
                    core.scratch.extend_from_slice(chunk);
                    core.unflushed = core.encrypt(0)?;
                }
                core.flush(io)?;
                Ok(std::mem::take(&mut core.unflushed))
            })?);
        }
        let mut written = 0;
        loop {
            // Only what this call encrypted counts for it: another thread may be writing too.
            written += self.run(py, patience, "write", |core, io| {
                core.flush(io)?;
                core.scratch.clear();
                core.scratch.extend_from_slice(&chunk[written..]);
                core.encrypt(0)
            })?;
            self.run(py, patience, "write", |core, io| core.flush(io))?;
            if written >= chunk.len() {
                return Ok(written);
            }
        }
    }
}

/// A buffer as bytes, whatever its items are.
fn bytes_of(object: &Bound<'_, PyAny>) -> PyResult<PyBuffer<u8>> {
    PyBuffer::get(object).or_else(|_| {
        let bytes = PyMemoryView::from(object)?.call_method1("cast", ("B",))?;
        PyBuffer::get(&bytes)
    })
}

/// Copies `bytes` to the beginning of a buffer.
#[allow(unsafe_code)]
fn copy_out(py: Python<'_>, buffer: &PyBuffer<u8>, bytes: &[u8]) -> PyResult<()> {
    if !buffer.is_c_contiguous() || buffer.readonly() || bytes.len() > buffer.item_count() {
        return Err(PyValueError::new_err(
            "a contiguous, writable buffer is needed",
        ));
    }
    let _attached = py;
    // SAFETY: the buffer is contiguous, writable and long enough, and cannot be moved or freed
    // while it is exported. `bytes` is memory of ours. Other threads of Python that write to the
    // same memory at the same time would need the interpreter's lock, which is held here.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.buf_ptr().cast::<u8>(), bytes.len());
    }
    Ok(())
}
