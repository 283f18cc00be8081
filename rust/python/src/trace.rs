//! Records, replays and simulates traces of the engine.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::path::PathBuf;

use pyo3::prelude::*;
use streamcore_engine::EngineConfig;
use streamcore_trace::simulation::{Settings, StartError};
use streamcore_trace::{ModelShape, Recorder, Replay, ReplayError, Replayed, read_model};

use crate::errors::{ConfigError, TraceError};

/// Calls between two checks for Ctrl-C.
const CALLS_AT_ONCE: u64 = 4096;

/// Steps between two checks for Ctrl-C: some milliseconds.
const STEPS_AT_ONCE: u64 = 256;

/// A [`ModelShape`] as a tuple, its fields in order.
pub(crate) type Shape = (String, u64, u64);

/// Begins a trace; the error names the file.
pub(crate) fn create(path: &Path, config: &EngineConfig, model: Option<Shape>) -> io::Result<Recorder> {
    let model = model.map(|(name, num_weights, kv_numbers_per_token)| ModelShape {
        name,
        num_weights,
        kv_numbers_per_token,
    });
    Recorder::create(path, config, model).map_err(|error| about(path, "written", &error))
}

fn about(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("trace {} cannot be {what}: {error}", path.display()))
}

/// Makes the calls of a trace again. Returns how many calls and how many plans were the same, and
/// whether the last line was incomplete. Raises TraceError at the first line that cannot be read or
/// whose plan differs, OSError if there is no such file.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "converted from a Python object")]
pub(crate) fn replay(py: Python<'_>, path: PathBuf) -> PyResult<(u64, u64, bool)> {
    let file = File::open(&path).map_err(|error| about(&path, "read", &error))?;
    let trace_error = |error: ReplayError| TraceError::new_err(format!("trace {}: {error}", path.display()));
    let mut replay = py.detach(|| Replay::new(BufReader::new(file))).map_err(trace_error)?;
    loop {
        let advanced = py.detach(|| replay.advance(CALLS_AT_ONCE)).map_err(trace_error)?;
        if let Some(Replayed { num_calls, num_steps, is_cut_off }) = advanced {
            return Ok((num_calls, num_steps, is_cut_off));
        }
        py.check_signals()?;
    }
}

/// Returns the model of a trace; None if it names none. Raises OSError or TraceError.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "converted from a Python object")]
pub(crate) fn trace_model(path: PathBuf) -> PyResult<Option<Shape>> {
    let file = File::open(&path).map_err(|error| about(&path, "read", &error))?;
    let model = read_model(BufReader::new(file))
        .map_err(|error| TraceError::new_err(format!("trace {}: {error}", path.display())))?;
    Ok(model.map(|model| (model.name, model.num_weights, model.kv_numbers_per_token)))
}

/// Simulates by settings in JSON; the report is JSON too. Raises ConfigError, OSError or
/// TraceError.
#[pyfunction]
pub(crate) fn simulate(py: Python<'_>, settings: &str) -> PyResult<String> {
    let config_error = |error: &dyn ToString| ConfigError::new_err(error.to_string());
    let settings: Settings = serde_json::from_str(settings).map_err(|error| config_error(&error))?;
    let mut simulation = py.detach(|| settings.start()).map_err(|error| match &error {
        StartError::Setting(_) => config_error(&error),
        StartError::Io { error: system, .. } => io::Error::new(system.kind(), error.to_string()).into(),
        StartError::Trace { .. } => TraceError::new_err(error.to_string()),
    })?;
    loop {
        let advanced =
            py.detach(|| simulation.advance(STEPS_AT_ONCE)).map_err(|error| config_error(&error))?;
        if let Some(report) = advanced {
            return serde_json::to_string(&report).map_err(|error| config_error(&error));
        }
        py.check_signals()?;
    }
}
