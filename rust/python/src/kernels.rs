//! `streamcore._core.kernels`: addresses and sizes in, kernels run with the interpreter released.
//!
//! `python/streamcore/kernels` is the only caller: it checks dtypes, shapes, strides and devices of the tensors, and
//! holds them until the call returns. An address is 0 or that of a tensor's first element; strides are in elements.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use streamcore_kernels::{Bf16, F16, cpu};

/// Calls a kernel for the element type that Python's dtype code names, with the interpreter released.
macro_rules! with_dtype {
    ($py:ident, $dtype:ident, $kernel:path, $args:ident) => {{
        // SAFETY: the Python caller checked the tensors behind the addresses and keeps them alive during the call.
        $py.detach(|| unsafe {
            match $dtype {
                0 => $kernel::<f32>(&$args),
                1 => $kernel::<Bf16>(&$args),
                2 => $kernel::<F16>(&$args),
                _ => return Err(PyValueError::new_err(format!("unknown dtype code {}", $dtype))),
            }
            Ok(())
        })
    }};
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
        dtype: u8,
    ) -> PyResult<()> {
        let [output, x, residual, weight] = tensors;
        let [num_tokens, hidden] = sizes;
        let [x_stride, residual_stride] = strides;
        let args =
            cpu::RmsNorm { output, x, residual, weight, num_tokens, hidden, x_stride, residual_stride, eps };
        with_dtype!(py, dtype, cpu::rms_norm, args)
    }

    /// `tensors`: output, gate_up; `sizes`: tokens, inter.
    #[pyfunction]
    fn cpu_silu_mul(
        py: Python<'_>,
        tensors: [usize; 2],
        sizes: [usize; 2],
        gate_up_stride: usize,
        dtype: u8,
    ) -> PyResult<()> {
        let [output, gate_up] = tensors;
        let [num_tokens, inter] = sizes;
        let args = cpu::SiluMul { output, gate_up, num_tokens, inter, gate_up_stride };
        with_dtype!(py, dtype, cpu::silu_mul, args)
    }

    /// `tensors`: query, key, value, cos_sin, positions, slot_mapping, key and value cache; `sizes`: tokens, heads,
    /// KV heads, head_dim, rotary_dim; `strides`: query, key, value.
    #[pyfunction]
    fn cpu_rope_and_store_kv(
        py: Python<'_>,
        tensors: [usize; 8],
        sizes: [usize; 5],
        strides: [usize; 3],
        dtype: u8,
    ) -> PyResult<()> {
        let [query, key, value, cos_sin, positions, slot_mapping, key_cache, value_cache] = tensors;
        let [num_tokens, num_heads, num_kv_heads, head_dim, rotary_dim] = sizes;
        let [query_stride, key_stride, value_stride] = strides;
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
            positions,
            slot_mapping,
            key_cache,
            value_cache,
        };
        with_dtype!(py, dtype, cpu::rope_and_store_kv, args)
    }

    /// `tensors`: output, query, key cache, value cache, block_tables, context_lens, query_starts; `sizes`: sequences,
    /// heads, KV heads, head_dim, block size; `strides`: query, block_tables.
    #[pyfunction]
    fn cpu_paged_attention(
        py: Python<'_>,
        tensors: [usize; 7],
        sizes: [usize; 5],
        strides: [usize; 2],
        scale: f32,
        dtype: u8,
    ) -> PyResult<()> {
        let [output, query, key_cache, value_cache, block_tables, context_lens, query_starts] = tensors;
        let [num_seqs, num_heads, num_kv_heads, head_dim, block_size] = sizes;
        let [query_stride, block_table_stride] = strides;
        let args = cpu::PagedAttention {
            output,
            query,
            key_cache,
            value_cache,
            block_tables,
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
        with_dtype!(py, dtype, cpu::paged_attention, args)
    }
}
