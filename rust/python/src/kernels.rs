//! `streamcore._core.kernels`: addresses and sizes in, kernels run with the interpreter released.
//!
//! `python/streamcore/kernels` is the only caller: it checks dtypes, shapes, strides and devices of
//! the tensors, and holds them until the call returns. An address is 0 or that of a tensor's first
//! element; strides are in elements.

use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use streamcore_kernels::cuda::{self, CudaError, Stream};
use streamcore_kernels::ops::{self, OpError};
use streamcore_kernels::{cpu, program};

fn value_error(error: OpError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Returns the CUDA kernels of this build, or an error if it has none: callers check `cuda_build`
/// first.
fn cuda_library() -> PyResult<&'static cuda::Library> {
    cuda::library().ok_or_else(|| PyRuntimeError::new_err("built without CUDA kernels"))
}

fn cuda_error(error: CudaError) -> PyErr {
    PyRuntimeError::new_err(format!("CUDA kernel failed: {error}"))
}

/// The name and type of a field.
type Field = (&'static str, &'static str);

/// An operation: its name, its fields, and the one that counts the rows.
type Listed = (&'static str, Vec<Field>, &'static str);

fn listed(layout: &ops::Layout) -> Listed {
    let fields = layout.fields.iter().map(|(name, _, kind)| (*name, *kind)).collect();
    (layout.name, fields, layout.rows.1)
}

#[pymodule]
pub(crate) mod kernels {
    use super::*;

    /// Returns the instruction set of the CPU kernels: `avx512`, `avx2` or `portable`, and whether
    /// AMX is used beside it.
    #[pyfunction]
    fn cpu_features() -> &'static str {
        if cpu::has_tiles() { "avx512 with AMX" } else { streamcore_kernels::cpu_features() }
    }

    /// Sets how many threads share a CPU kernel, the calling one included.
    #[pyfunction]
    fn set_num_threads(num_threads: usize) {
        streamcore_kernels::set_num_threads(num_threads);
    }

    /// Returns the number of threads that share a CPU kernel, the calling one included.
    #[pyfunction]
    fn num_threads() -> usize {
        streamcore_kernels::num_threads()
    }

    /// Returns the CPU's operations in the order of their numbers: name, fields (name and type),
    /// and the field that counts the rows.
    #[pyfunction]
    fn operations() -> Vec<Listed> {
        cpu::OPERATIONS.iter().map(|operation| listed(&operation.layout)).collect()
    }

    /// Returns the name and type of each field of the struct that says how a weight in groups lies
    /// in memory.
    #[pyfunction]
    fn form_fields() -> Vec<Field> {
        cpu::Form::FIELDS.iter().map(|(name, _, kind)| (*name, *kind)).collect()
    }

    /// Carries out an operation by its number; `arguments` is the address of its struct.
    #[pyfunction]
    fn run(py: Python<'_>, op: u32, arguments: usize) -> PyResult<()> {
        let operation = ops::Operation::of(op).map_err(value_error)?;
        // SAFETY: the Python caller filled the struct with tensors that it keeps alive during the
        // call.
        py.detach(|| unsafe { operation.run(arguments as *const u8) }).map_err(value_error)
    }

    /// Operations that are carried out in one call.
    #[pyclass(module = "streamcore._core.kernels")]
    #[derive(Default)]
    struct Program(program::Program);

    #[pymethods]
    impl Program {
        #[new]
        fn new() -> Self {
            Self::default()
        }

        /// Adds an operation by its number; it takes its number of rows from index `which` of those
        /// given to `run`.
        fn append(&mut self, op: u32, arguments: usize, which: usize) -> PyResult<()> {
            // SAFETY: the Python caller passes the address of the operation's struct.
            unsafe { self.0.append(op, arguments as *const u8, which) }.map_err(value_error)
        }

        fn __len__(&self) -> usize {
            self.0.len()
        }

        /// Carries all operations out with these numbers of rows.
        fn run(&self, py: Python<'_>, rows: [usize; 4]) -> PyResult<()> {
            // SAFETY: the Python caller keeps every tensor of the program alive, each with room for
            // this many rows.
            py.detach(|| unsafe { self.0.run(&rows) }).map_err(value_error)
        }

        /// As `run`; the seconds that each operation took, in order.
        fn run_timed(&self, py: Python<'_>, rows: [usize; 4]) -> PyResult<Vec<f64>> {
            // SAFETY: as in `run`.
            let times = py.detach(|| unsafe { self.0.run_timed(&rows) }).map_err(value_error)?;
            Ok(times.iter().map(Duration::as_secs_f64).collect())
        }
    }

    /// Returns the elements of a packed weight.
    #[pyfunction]
    fn cpu_packed_len(num_outputs: usize, num_inputs: usize, is_wide: bool) -> usize {
        cpu::packed_len(num_outputs, num_inputs, is_wide)
    }

    /// Packs a weight, `float32` or `bfloat16`; `sizes`: outputs, inputs.
    #[pyfunction]
    fn cpu_pack_linear(py: Python<'_>, packed: usize, weight: usize, sizes: [usize; 2], is_wide: bool) {
        let [num_outputs, num_inputs] = sizes;
        let args = cpu::PackLinear { packed, weight, num_inputs, num_outputs, is_wide };
        // SAFETY: the Python caller checked the tensors behind the addresses and keeps them alive
        // during the call.
        py.detach(|| unsafe { cpu::pack_linear(&args) });
    }

    /// Returns whether a product is faster on this processor with activations rounded to
    /// `bfloat16`.
    #[pyfunction]
    fn cpu_prefers_rounding() -> bool {
        cpu::prefers_rounding()
    }

    /// Returns whether attention over a `bfloat16` cache rounds queries and weights on this
    /// processor, for heads of this many elements.
    #[pyfunction]
    fn cpu_attention_rounds(head_dim: usize) -> bool {
        cpu::attention_rounds(head_dim)
    }

    /// Returns whether the product of a weight with this many outputs is activated at once.
    #[pyfunction]
    fn cpu_activates(num_outputs: usize) -> bool {
        cpu::activates(num_outputs)
    }

    /// Returns the toolkit version and the targets of the CUDA kernels; None if this build has
    /// none.
    #[pyfunction]
    fn cuda_build() -> Option<(&'static str, &'static str)> {
        cuda::library().map(|library| (library.build.toolkit, library.build.targets))
    }

    /// Returns the number of CUDA devices; if 0, the name of the CUDA error too.
    #[pyfunction]
    fn cuda_device_count(py: Python<'_>) -> PyResult<(i32, Option<&'static str>)> {
        let library = cuda_library()?;
        Ok(match py.detach(|| library.device_count()) {
            Ok(count) => (count, None),
            Err(error) => (0, Some(error.name)),
        })
    }

    /// Returns whether the CUDA kernels have code that the device can run.
    #[pyfunction]
    fn cuda_device_covered(py: Python<'_>, device: i32) -> PyResult<bool> {
        let library = cuda_library()?;
        py.detach(|| library.device_covered(device)).map_err(cuda_error)
    }

    /// Returns the operations of a CUDA device, listed as `operations` lists those of the CPU; in
    /// every build.
    #[pyfunction]
    fn cuda_operations() -> Vec<Listed> {
        cuda::OPERATIONS.iter().map(listed).collect()
    }

    /// Launches a CUDA operation by its number on a stream, given as device number and handle;
    /// `arguments` is the address of its struct.
    #[pyfunction]
    fn cuda_run(py: Python<'_>, op: u32, arguments: usize, stream: (i32, usize)) -> PyResult<()> {
        let (library, stream) = (cuda_library()?, Stream { device: stream.0, handle: stream.1 });
        // SAFETY: the Python caller checked the tensors; the stream orders their release after the
        // launch.
        py.detach(|| unsafe { library.launch(op, arguments as *const u8, stream) }).map_err(cuda_error)
    }
}
