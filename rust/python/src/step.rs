//! A step's plan and its buffers.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use streamcore_engine::{self as engine, Column, ColumnSlice, ColumnType, Scores, step_columns};

use crate::config::{EngineConfig, dtype_name};
use crate::errors::engine_error;

macro_rules! plan_class {
    ({ $($(#[doc = $about:literal])* $name:ident,)* }) => {
        /// The sizes of a plan: how much of each column it fills.
        #[pyclass(frozen, get_all, module = "streamcore._core")]
        pub(crate) struct StepPlan {
            id: u64,
            $($name: usize,)*
        }

        impl From<engine::StepPlan> for StepPlan {
            fn from(plan: engine::StepPlan) -> Self {
                Self { id: plan.id.0, $($name: plan.$name,)* }
            }
        }
    };
}

engine::plan_sizes! { plan_class! {} }

/// A size of a plan: its name, and what it counts.
type Size = (&'static str, &'static str);
/// A column: its name, its dtype, the sizes that say together how many elements a plan fills, how
/// many more, and what its elements are.
type ColumnEntry = (&'static str, &'static str, &'static [&'static str], usize, &'static str);

/// Returns the sizes of plans, and the columns in their order.
#[pyfunction]
pub(crate) fn step_table() -> (Vec<Size>, Vec<ColumnEntry>) {
    let sizes = engine::StepPlan::SIZE_NAMES.into_iter().zip(engine::StepPlan::SIZES_ABOUT);
    let columns = engine::COLUMNS
        .iter()
        .map(|column| (column.name, dtype_name(column.column_type), column.sizes, column.more, column.about));
    (sizes.collect(), columns.collect())
}

/// Returns the numbers that a row keeps: name, dtype of the column, and what each does.
#[pyfunction]
pub(crate) fn row_parameters() -> Vec<(&'static str, &'static str, &'static str)> {
    let entry = |entry: &engine::RowParameter| (entry.name, dtype_name(entry.column_type), entry.about);
    engine::ROW_PARAMETERS.iter().map(entry).collect()
}

/// Where a runner's columns lie in memory. The runner must keep that memory alive, and leave it
/// alone during `next_step`.
#[pyclass(frozen, module = "streamcore._core")]
pub(crate) struct StepBuffers {
    addresses: Vec<(Column, usize)>,
}

#[pymethods]
impl StepBuffers {
    /// Takes the address and the number of elements of each column, in the order of
    /// `EngineConfig.step_columns()`.
    #[new]
    fn new(config: &EngineConfig, columns: Vec<(usize, usize)>) -> PyResult<Self> {
        let expected = step_columns(&config.0);
        let num_expected = expected.iter().filter(|column| column.len > 0).count();
        if num_expected != columns.len() {
            let message = format!("{} columns were given, expected {num_expected}", columns.len());
            return Err(PyValueError::new_err(message));
        }
        let mut columns = columns.into_iter();
        let place = |column: Column| match if column.len > 0 { columns.next() } else { None } {
            Some(place) => check_column((column, place)),
            None => Ok((column, NOWHERE)),
        };
        let checked = expected.into_iter().map(place);
        Ok(Self { addresses: checked.collect::<PyResult<_>>()? })
    }
}

/// The address of empty memory: any aligned one.
const NOWHERE: usize = align_of::<u64>();

fn check_column((column, (address, len)): (Column, (usize, usize))) -> PyResult<(Column, usize)> {
    let name = column.name;
    if len != column.len {
        return Err(PyValueError::new_err(format!(
            "column `{name}` has {len} elements, expected {}",
            column.len
        )));
    }
    if address == 0 || !address.is_multiple_of(8) {
        return Err(PyValueError::new_err(format!("column `{name}` is not aligned to 8 bytes")));
    }
    Ok((column, address))
}

impl StepBuffers {
    /// Lends the columns to the engine.
    ///
    /// # Safety
    /// The memory must be alive, and nothing else may use it while the result lives.
    pub(crate) unsafe fn lend(&self) -> engine::StepBuffers<'_> {
        engine::StepBuffers::from_columns(self.addresses.iter().map(|(column, address)| {
            // SAFETY: length and alignment were checked in `new`, the rest is the caller's promise.
            unsafe { column_slice(column, *address) }
        }))
    }
}

/// # Safety
/// `address` must point to `column.len` elements of the column's type that nothing else uses while
/// the result lives.
unsafe fn column_slice<'a>(column: &Column, address: usize) -> ColumnSlice<'a> {
    // SAFETY: this function's own contract.
    unsafe {
        match column.column_type {
            ColumnType::Int32 => {
                ColumnSlice::Int32(std::slice::from_raw_parts_mut(address as *mut i32, column.len))
            }
            ColumnType::Int64 => {
                ColumnSlice::Int64(std::slice::from_raw_parts_mut(address as *mut i64, column.len))
            }
            ColumnType::Float32 => {
                ColumnSlice::Float32(std::slice::from_raw_parts_mut(address as *mut f32, column.len))
            }
        }
    }
}

/// Where a column of results lies: address and number of elements.
pub(crate) type Place = (usize, usize);

/// Returns a step's results from the runner: the sampled tokens, and the log-probabilities that the
/// plan requests. The columns of these are `logprobs`, `top_ids` and `top_logprobs` of [`Scores`].
///
/// # Safety
/// Each place must hold as many elements as it says, of int32 for tokens and ids, of float32 for
/// log-probabilities, and nothing may write there while the result lives.
pub(crate) unsafe fn step_results<'a>(
    tokens: Place,
    scores: Option<(Place, Place, Place)>,
) -> PyResult<(&'a [i32], Scores<'a>)> {
    // SAFETY: this function's own contract.
    unsafe {
        let tokens = result_column(tokens, "sampled tokens")?;
        let Some((logprobs, top_ids, top_logprobs)) = scores else { return Ok((tokens, Scores::default())) };
        let scores = Scores::new(
            result_column(logprobs, "log-probabilities")?,
            result_column(top_ids, "likely tokens")?,
            result_column(top_logprobs, "log-probabilities of the likely tokens")?,
        );
        Ok((tokens, scores.map_err(engine_error)?))
    }
}

/// # Safety
/// The place must hold as many `T` as it says, and nothing may write there while the result lives.
unsafe fn result_column<'a, T>((address, len): Place, what: &str) -> PyResult<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    if address == 0 || !address.is_multiple_of(align_of::<T>()) {
        return Err(PyValueError::new_err(format!("the {what} are not at an address of 32-bit numbers")));
    }
    // SAFETY: this function's own contract.
    Ok(unsafe { std::slice::from_raw_parts(address as *const T, len) })
}
