//! Signals before there is anything to drain: they end the process at once.
//!
//! Python runs its handlers between two of its own instructions: a library that is being loaded or a file that is being read holds
//! them up, and the exception of Ctrl-C is lost where foreign code swallows it. A thread of its own waits here, which needs no
//! interpreter. The first process of a container is not even ended by a signal that has no handler.

use pyo3::prelude::*;

/// From now on the first of these signals ends the process: by one line, as text or as JSON, and with the status that a shell gives to
/// such an end. A handler that Python installs later takes its signal over.
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
    use std::io::{self, Write};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use signal_hook::iterator::Signals;
    use signal_hook::low_level::{exit, signal_name};

    use crate::logging;

    /// How long standard error may take for the last line.
    const PATIENCE: Duration = Duration::from_secs(1);

    pub(super) fn on(numbers: &[i32], is_json: bool) -> io::Result<()> {
        let mut signals = Signals::new(numbers)?;
        thread::Builder::new().name("streamcore-signals".to_owned()).spawn(move || {
            if let Some(number) = signals.forever().next() {
                end(number, is_json);
            }
        })?;
        Ok(())
    }

    fn end(number: i32, is_json: bool) {
        logging::close();
        let message = format!("ended by {}", signal_name(number).unwrap_or("a signal"));
        let line = if is_json {
            logging::line_of("INFO", &message, &[])
        } else {
            format!("streamcore: {message}\n")
        };
        let (written, wait) = mpsc::channel();
        // In a thread, since a pipe that is full and that is not read would take the line never.
        thread::spawn(move || written.send(io::stderr().write_all(line.as_bytes()).is_ok()));
        let _ = wait.recv_timeout(PATIENCE);
        exit(128 + number);
    }
}

#[cfg(not(unix))]
mod ending {
    /// Python's own handler stays.
    pub(super) fn on(_: &[i32], _: bool) -> std::io::Result<()> {
        Ok(())
    }
}
