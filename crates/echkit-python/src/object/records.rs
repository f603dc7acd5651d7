//! Records on their way to a `MemoryBIO`.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;

/// Records that a BIO takes from where they are: `bytes` would be another copy.
#[pyclass(frozen)]
pub(super) struct Records(pub(super) Vec<u8>);

#[pymethods]
impl Records {
    /// # Safety
    ///
    /// `view` is a `Py_buffer` of the interpreter's to be filled in (`bf_getbuffer`).
    #[allow(unsafe_code)]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let bytes = &slf.get().0;
        let len = isize::try_from(bytes.len())?;
        // SAFETY: the bytes stay where they are and as they are, because the class is frozen and has
        // no other method; the view keeps the object alive, and is marked as read only.
        let status = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                bytes.as_ptr().cast_mut().cast(),
                len,
                1,
                flags,
            )
        };
        match status {
            0 => Ok(()),
            _ => Err(PyErr::fetch(slf.py())),
        }
    }
}
