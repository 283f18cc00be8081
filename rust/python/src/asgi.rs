//! `streamcore._core.Doorbell` and `Exchange`: requests and answers as ASGI messages.
//!
//! Every call is short and never waits, so none releases the interpreter: getting it back could
//! take longer than the call. A descriptor wakes the event loop when messages are ready.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use streamcore_server::door::{self, Part};

/// Wakes one event loop when exchanges have messages for it.
#[pyclass(frozen, module = "streamcore._core")]
pub(crate) struct Doorbell(pub(crate) Arc<door::Doorbell>);

#[pymethods]
impl Doorbell {
    /// Rings by writing to a descriptor that does not block; it is duplicated, so the caller closes
    /// its own.
    #[new]
    fn new(descriptor: i32) -> PyResult<Self> {
        Ok(Self(Arc::new(door::Doorbell::new(duplicate(descriptor)?))))
    }

    /// Returns the ready messages: the number of each exchange with the ASGI message to send, None
    /// when a piece of the request's body is wanted, or an empty message when the answer is lost.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Vec<(u64, Option<Bound<'py, PyDict>>)>> {
        let ready = self.0.take();
        ready.into_iter().map(|(number, part)| Ok((number, message(py, part)?))).collect()
    }
}

#[cfg(unix)]
fn duplicate(descriptor: i32) -> PyResult<File> {
    use pyo3::exceptions::PyValueError;
    use std::os::fd::BorrowedFd;

    if descriptor < 0 {
        return Err(PyValueError::new_err(format!("`descriptor` is {descriptor}")));
    }
    // SAFETY: the caller keeps its descriptor open during this call; a wrong number is refused by
    // the system.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(File::from(borrowed.try_clone_to_owned()?))
}

#[cfg(not(unix))]
fn duplicate(_descriptor: i32) -> PyResult<File> {
    Err(pyo3::exceptions::PyOSError::new_err("event loops watch descriptors only on Unix"))
}

/// Returns the ASGI message of a part.
fn message(py: Python<'_>, part: Part) -> PyResult<Option<Bound<'_, PyDict>>> {
    let message = PyDict::new(py);
    match part {
        Part::BodyWanted => return Ok(None),
        Part::Lost => {}
        Part::Head(head) => {
            let headers = head.headers.iter().map(|(name, value)| {
                (PyBytes::new(py, name.as_str().as_bytes()), PyBytes::new(py, value.as_bytes()))
            });
            message.set_item("type", "http.response.start")?;
            message.set_item("status", head.status.as_u16())?;
            message.set_item("headers", PyList::new(py, headers.collect::<Vec<_>>())?)?;
        }
        Part::Data { data, is_last } => {
            message.set_item("type", "http.response.body")?;
            message.set_item("body", PyBytes::new(py, &data))?;
            message.set_item("more_body", !is_last)?;
        }
    }
    Ok(Some(message))
}

/// One request and its answer. Closing or dropping it aborts what is still running.
#[pyclass(frozen, module = "streamcore._core")]
pub(crate) struct Exchange(pub(crate) door::Exchange);

#[pymethods]
impl Exchange {
    /// Asks for the next part of the answer.
    fn resume(&self) {
        self.0.resume();
    }

    /// Hands over the requested piece of the body; the first may come unrequested.
    fn feed(&self, piece: &[u8], is_last: bool) {
        self.0.feed(Bytes::copy_from_slice(piece), is_last);
    }

    /// Aborts what is still running.
    fn close(&self) {
        self.0.close();
    }
}
