//! Keyword arguments to [`streamcore_engine::EngineConfig`]; unknown names are a `TypeError`.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use streamcore_engine::{self as engine, ColumnType};

use crate::errors::engine_error;

/// The limits of an engine.
#[pyclass(frozen, module = "streamcore._core")]
pub(crate) struct EngineConfig(pub(crate) engine::EngineConfig);

#[pymethods]
impl EngineConfig {
    #[new]
    #[pyo3(signature = (
        *, block_size, num_blocks, max_num_batched_tokens, max_num_seqs, max_model_len, max_steps_in_flight = 1,
        enable_prefix_caching = true, capture_sizes = None, target_itl_s = None, min_prefill_share = 0,
        num_mask_words = 0
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        block_size: usize,
        num_blocks: usize,
        max_num_batched_tokens: usize,
        max_num_seqs: usize,
        max_model_len: usize,
        max_steps_in_flight: usize,
        enable_prefix_caching: bool,
        capture_sizes: Option<Vec<usize>>,
        target_itl_s: Option<f64>,
        min_prefill_share: u32,
        num_mask_words: usize,
    ) -> PyResult<Self> {
        let target_itl = target_itl_s.map(|seconds| duration("target_itl_s", seconds)).transpose()?;
        let config = engine::EngineConfig {
            block_size,
            num_blocks,
            max_num_batched_tokens,
            max_num_seqs,
            max_model_len,
            max_steps_in_flight,
            enable_prefix_caching,
            capture_sizes: capture_sizes.unwrap_or_default(),
            target_itl,
            min_prefill_share,
            num_mask_words,
        };
        config.validate().map_err(engine_error)?;
        Ok(Self(config))
    }

    /// Returns the maximum tokens of one sequence.
    #[getter]
    fn max_seq_len(&self) -> usize {
        self.0.max_seq_len()
    }

    /// Returns the maximum blocks of one sequence: the length of a row of the block tables.
    #[getter]
    fn max_blocks_per_seq(&self) -> usize {
        self.0.max_blocks_per_seq()
    }

    /// Returns the columns that a runner must allocate: name, dtype and number of elements of each.
    fn step_columns(&self) -> Vec<(&'static str, &'static str, usize)> {
        engine::step_columns(&self.0)
            .iter()
            .filter(|column| column.len > 0)
            .map(|column| (column.name, dtype_name(column.column_type), column.len))
            .collect()
    }
}

/// Reads a time in seconds.
pub(crate) fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| PyValueError::new_err(format!("`{name}` is {seconds}: {error}")))
}

pub(crate) fn dtype_name(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Int32 => "int32",
        ColumnType::Int64 => "int64",
        ColumnType::Float32 => "float32",
    }
}
