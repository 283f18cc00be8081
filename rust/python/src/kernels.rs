//! `streamcore._core.kernels`: addresses and sizes in, kernels run with the interpreter released.
//!
//! `python/streamcore/kernels` is the only caller: it checks dtypes, shapes, strides and devices of the tensors, and
//! holds them until the call returns. An address is 0 or that of a tensor's first element; strides are in elements.

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use streamcore_kernels::cuda::{self, CudaError, Stream};
use streamcore_kernels::{Dtype, KvDtypes, cpu};

fn parse_dtype(code: i32) -> PyResult<Dtype> {
    Dtype::from_code(code).ok_or_else(|| PyValueError::new_err(format!("unknown dtype code {code}")))
}

fn parse_kv_dtypes((dtype, cache_dtype): (i32, i32)) -> PyResult<KvDtypes> {
    KvDtypes::from_codes(dtype, cache_dtype).ok_or_else(|| {
        PyValueError::new_err(format!("no kernel for dtype code {dtype} over a cache of code {cache_dtype}"))
    })
}

/// The CUDA kernels of this build, or the error of a caller that did not ask `cuda_build` first.
fn cuda_library() -> PyResult<&'static cuda::Library> {
    cuda::library().ok_or_else(|| PyRuntimeError::new_err("built without CUDA kernels"))
}

fn cuda_error(error: CudaError) -> PyErr {
    PyRuntimeError::new_err(format!("CUDA kernel failed: {error}"))
}

#[pymodule]
pub(crate) mod kernels {
    use super::*;

    /// The instruction set of the CPU kernels: `avx512`, `avx2` or `portable`.
    #[pyfunction]
    fn cpu_features() -> &'static str {
        streamcore_kernels::cpu_features()
    }

    /// Sets how many threads share a CPU kernel, the calling one included.
    #[pyfunction]
    fn set_num_threads(num_threads: usize) {
        streamcore_kernels::set_num_threads(num_threads);
    }

    /// Threads that share a CPU kernel, the calling one included.
    #[pyfunction]
    fn num_threads() -> usize {
        streamcore_kernels::num_threads()
    }

    /// `tensors`: output, x, residual or 0, weight; `sizes`: tokens, hidden; `strides`: x, residual.
    #[pyfunction]
    fn cpu_rms_norm(
        py: Python<'_>,
        tensors: [usize; 4],
        sizes: [usize; 2],
        strides: [usize; 2],
        eps: f32,
        dtype: i32,
    ) -> PyResult<()> {
        let [output, x, residual, weight] = tensors;
        let [num_tokens, hidden] = sizes;
        let [x_stride, residual_stride] = strides;
        let args =
            cpu::RmsNorm { output, x, residual, weight, num_tokens, hidden, x_stride, residual_stride, eps };
        let dtype = parse_dtype(dtype)?;
        // SAFETY: the Python caller checked the tensors behind the addresses and keeps them alive during the call.
        py.detach(|| unsafe { cpu::rms_norm(dtype, &args) });
        Ok(())
    }

    /// `tensors`: output, gate_up; `sizes`: tokens, inter.
    #[pyfunction]
    fn cpu_silu_mul(
        py: Python<'_>,
        tensors: [usize; 2],
        sizes: [usize; 2],
        gate_up_stride: usize,
        dtype: i32,
    ) -> PyResult<()> {
        let [output, gate_up] = tensors;
        let [num_tokens, inter] = sizes;
        let args = cpu::SiluMul { output, gate_up, num_tokens, inter, gate_up_stride };
        let dtype = parse_dtype(dtype)?;
        // SAFETY: the Python caller checked the tensors behind the addresses and keeps them alive during the call.
        py.detach(|| unsafe { cpu::silu_mul(dtype, &args) });
        Ok(())
    }

    /// `tensors`: query, key, value, cos_sin, positions, slot_mapping, key and value cache; `sizes`: tokens, heads,
    /// KV heads, head_dim, rotary_dim; `strides`: query, key, value; `limits`: what positions and slots must be below.
    #[pyfunction]
    fn cpu_rope_and_store_kv(
        py: Python<'_>,
        tensors: [usize; 8],
        sizes: [usize; 5],
        strides: [usize; 3],
        dtypes: (i32, i32),
        limits: [usize; 2],
    ) -> PyResult<()> {
        let [query, key, value, cos_sin, positions, slot_mapping, key_cache, value_cache] = tensors;
        let [num_tokens, num_heads, num_kv_heads, head_dim, rotary_dim] = sizes;
        let [query_stride, key_stride, value_stride] = strides;
        let [max_position, num_slots] = limits;
        let args = cpu::RopeAndStore {
            query,
            key,
            value,
            query_stride,
            key_stride,
            value_stride,
            num_tokens,
            num_heads,
            num_kv_heads,
            head_dim,
            rotary_dim,
            cos_sin,
            max_position,
            positions,
            slot_mapping,
            num_slots,
            key_cache,
            value_cache,
        };
        let dtypes = parse_kv_dtypes(dtypes)?;
        // SAFETY: the Python caller checked the tensors behind the addresses and keeps them alive during the call.
        py.detach(|| unsafe { cpu::rope_and_store_kv(dtypes, &args) })
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// `tensors`: output, query, key cache, value cache, block_tables, rows, context_lens, query_starts; `sizes`:
    /// sequences, heads, KV heads, head_dim, block size; `strides`: query, block_tables.
    #[pyfunction]
    fn cpu_paged_attention(
        py: Python<'_>,
        tensors: [usize; 8],
        sizes: [usize; 5],
        strides: [usize; 2],
        scale: f32,
        dtypes: (i32, i32),
    ) -> PyResult<()> {
        let [output, query, key_cache, value_cache, block_tables, rows, context_lens, query_starts] = tensors;
        let [num_seqs, num_heads, num_kv_heads, head_dim, block_size] = sizes;
        let [query_stride, block_table_stride] = strides;
        let args = cpu::PagedAttention {
            output,
            query,
            key_cache,
            value_cache,
            block_tables,
            rows,
            context_lens,
            query_starts,
            num_seqs,
            num_heads,
            num_kv_heads,
            head_dim,
            block_size,
            query_stride,
            block_table_stride,
            scale,
        };
        let dtypes = parse_kv_dtypes(dtypes)?;
        // SAFETY: the Python caller checked the tensors behind the addresses and keeps them alive during the call.
        py.detach(|| unsafe { cpu::paged_attention(dtypes, &args) });
        Ok(())
    }

    /// Elements of 16 bits that a packed weight takes.
    #[pyfunction]
    fn cpu_packed_len(num_outputs: usize, num_inputs: usize) -> usize {
        cpu::packed_len(num_outputs, num_inputs)
    }

    /// Packs a `bfloat16` weight; `sizes`: outputs, inputs.
    #[pyfunction]
    fn cpu_pack_linear(py: Python<'_>, packed: usize, weight: usize, sizes: [usize; 2]) {
        let [num_outputs, num_inputs] = sizes;
        let args = cpu::PackLinear { packed, weight, num_inputs, num_outputs };
        // SAFETY: the Python caller checked the tensors behind the addresses and keeps them alive during the call.
        py.detach(|| unsafe { cpu::pack_linear(&args) });
    }

    /// Whether `cpu_linear` is faster with activations rounded to `bfloat16`: measured once.
    #[pyfunction]
    fn cpu_prefers_rounding(py: Python<'_>) -> bool {
        py.detach(cpu::prefers_rounding)
    }

    /// `tensors`: output, x, packed weight; `sizes`: rows, inputs, outputs.
    #[pyfunction]
    fn cpu_linear(py: Python<'_>, tensors: [usize; 3], sizes: [usize; 3], x_stride: usize, round_x: bool) {
        let [output, x, packed] = tensors;
        let [num_rows, num_inputs, num_outputs] = sizes;
        let args = cpu::Linear { output, x, packed, num_rows, num_inputs, num_outputs, x_stride, round_x };
        // SAFETY: the Python caller checked the tensors behind the addresses and keeps them alive during the call.
        py.detach(|| unsafe { cpu::linear(&args) });
    }

    /// The toolkit version and the targets of the CUDA kernels; None if this build has none.
    #[pyfunction]
    fn cuda_build() -> Option<(&'static str, &'static str)> {
        cuda::library().map(|library| (library.build.toolkit, library.build.targets))
    }

    /// The number of CUDA devices, or why there is none, as the name of the CUDA error.
    #[pyfunction]
    fn cuda_device_count(py: Python<'_>) -> PyResult<(i32, Option<&'static str>)> {
        let library = cuda_library()?;
        Ok(match py.detach(|| library.device_count()) {
            Ok(count) => (count, None),
            Err(error) => (0, Some(error.name)),
        })
    }

    /// Whether the CUDA kernels have code that the device can run.
    #[pyfunction]
    fn cuda_device_covered(py: Python<'_>, device: i32) -> PyResult<bool> {
        let library = cuda_library()?;
        py.detach(|| library.device_covered(device)).map_err(cuda_error)
    }

    /// As `cpu_rms_norm`, on a device and a stream of it.
    #[pyfunction]
    fn cuda_rms_norm(
        py: Python<'_>,
        tensors: [usize; 4],
        sizes: [i64; 2],
        strides: [i64; 2],
        eps: f32,
        dtype: i32,
        stream: (i32, usize),
    ) -> PyResult<()> {
        let (library, stream) = (cuda_library()?, Stream { device: stream.0, handle: stream.1 });
        // SAFETY: the Python caller checked the tensors; the stream orders their release after the launch.
        py.detach(|| unsafe { library.rms_norm(tensors, sizes, strides, eps, dtype, stream) })
            .map_err(cuda_error)
    }

    /// As `cpu_silu_mul`, on a device and a stream of it.
    #[pyfunction]
    fn cuda_silu_mul(
        py: Python<'_>,
        tensors: [usize; 2],
        sizes: [i64; 2],
        gate_up_stride: i64,
        dtype: i32,
        stream: (i32, usize),
    ) -> PyResult<()> {
        let (library, stream) = (cuda_library()?, Stream { device: stream.0, handle: stream.1 });
        // SAFETY: the Python caller checked the tensors; the stream orders their release after the launch.
        py.detach(|| unsafe { library.silu_mul(tensors, sizes, gate_up_stride, dtype, stream) })
            .map_err(cuda_error)
    }

    /// As `cpu_rope_and_store_kv`, on a device and a stream of it.
    #[pyfunction]
    fn cuda_rope_and_store_kv(
        py: Python<'_>,
        tensors: [usize; 8],
        sizes: [i64; 5],
        strides: [i64; 3],
        dtype: i32,
        stream: (i32, usize),
    ) -> PyResult<()> {
        let (library, stream) = (cuda_library()?, Stream { device: stream.0, handle: stream.1 });
        let [query, key, value, cos_sin, positions, slot_mapping, key_cache, value_cache] = tensors;
        let [num_tokens, num_heads, num_kv_heads, head_dim, rotary_dim] = sizes;
        let [query_stride, key_stride, value_stride] = strides;
        let args = cuda::RopeAndStore {
            query,
            key,
            value,
            cos_sin,
            positions,
            slot_mapping,
            key_cache,
            value_cache,
            num_tokens,
            num_heads,
            num_kv_heads,
            head_dim,
            rotary_dim,
            query_stride,
            key_stride,
            value_stride,
        };
        // SAFETY: the Python caller checked the tensors; the stream orders their release after the launch.
        py.detach(|| unsafe { library.rope_and_store_kv(&args, dtype, stream) }).map_err(cuda_error)
    }
}
