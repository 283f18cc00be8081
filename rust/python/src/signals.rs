//! Signals before there is anything to drain: they end the process at once.
//!
//! Python runs its handlers between two of its own instructions: loading a library or reading a
//! file delays them, and foreign code may swallow the exception of Ctrl-C. These handlers interrupt
//! any code, and need no interpreter, memory or lock. Default actions do not suffice: they do not
//! end the first process of a container.

use pyo3::prelude::*;

/// Ends the process at the first of these signals, with one line as text or JSON and the exit
/// status of a shell. A handler that Python installs later replaces this one.
///
/// Raises:
///     OSError: a signal cannot be caught.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "converted from a Python object")]
pub(crate) fn end_on_signals(numbers: Vec<i32>, format: &str) -> PyResult<()> {
    Ok(ending::on(&numbers, format == "json")?)
}

#[cfg(unix)]
mod ending {
    use std::fmt::{self, Write};
    use std::io;

    use signal_hook::low_level::{exit, register, signal_name};
    use tracing_subscriber::fmt::format::Writer;
    use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

    /// Maximum wait for the reader of a full pipe, in milliseconds.
    const PATIENCE_MS: i32 = 1000;

    pub(super) fn on(numbers: &[i32], is_json: bool) -> io::Result<()> {
        for &number in numbers {
            // SAFETY: `end` allocates nothing, takes no lock and cannot panic; its system calls are
            // allowed in a handler.
            unsafe { register(number, move || end(number, is_json)) }?;
        }
        Ok(())
    }

    fn end(number: i32, is_json: bool) {
        let mut line = Line { bytes: [0; 256], len: 0 };
        if describe(&mut line, number, is_json).is_ok() {
            write_to_standard_error(&line.bytes[..line.len]);
        }
        exit(128 + number);
    }

    fn describe(line: &mut Line, number: i32, is_json: bool) -> fmt::Result {
        let name = signal_name(number).unwrap_or("a signal");
        if !is_json {
            return writeln!(line, "streamcore: ended by {name}");
        }
        line.write_str(r#"{"timestamp":""#)?;
        SystemTime.format_time(&mut Writer::new(line))?;
        writeln!(line, r#"","level":"INFO","message":"ended by {name}"}}"#)
    }

    /// Room for a line without an allocation.
    struct Line {
        bytes: [u8; 256],
        len: usize,
    }

    impl Write for Line {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let place = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
            place.copy_from_slice(text.as_bytes());
            self.len += text.len();
            Ok(())
        }
    }

    /// Writes the line unless a full pipe stays unread, which would hold the process for ever.
    fn write_to_standard_error(line: &[u8]) {
        let mut place = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
        // SAFETY: both get memory that is valid during the call, and its length.
        unsafe {
            if libc::poll(&raw mut place, 1, PATIENCE_MS) == 1 {
                libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
            }
        }
    }
}

#[cfg(not(unix))]
mod ending {
    /// Python's own handler stays.
    pub(super) fn on(_: &[i32], _: bool) -> std::io::Result<()> {
        Ok(())
    }
}
