//! `silu(gate) * up`, the activation of a gated MLP; `silu(x) = x / (1 + e^-x)`.

use std::ops::Range;

use super::{Shared, by_dtype, rows_per_chunk};
use crate::Dtype;
use crate::element::Element;
use crate::pool::parallel_for;
use crate::simd::{Vector, exp, multiversioned};

/// The arguments of [`silu_mul`].
#[derive(Clone, Copy, Debug)]
pub struct SiluMul {
    /// \[num_tokens, inter\], contiguous.
    pub output: usize,
    /// \[num_tokens, 2 * inter\]: gate, then up; rows contiguous.
    pub gate_up: usize,
    /// Rows.
    pub num_tokens: usize,
    /// Elements per row of the output.
    pub inter: usize,
    /// Elements from one row of `gate_up` to the next.
    pub gate_up_stride: usize,
}

/// Multiplies up by the activated gate.
///
/// # Safety
/// The addresses are those of live tensors of the dtype with the shapes and strides given, written by nobody else.
pub unsafe fn silu_mul(dtype: Dtype, args: &SiluMul) {
    // SAFETY: the caller's promise.
    unsafe { by_dtype!(all, dtype, args) }
}

unsafe fn all<E: Element>(args: &SiluMul) {
    let shared = Shared(*args);
    // An exponential and a division per element: about four times the work of a plain pass.
    let min_rows = rows_per_chunk(args.inter * 4);
    // SAFETY: the caller's promise; ranges do not overlap.
    parallel_for(args.num_tokens, min_rows, &|rows| unsafe { run::<E>(shared.get(), rows) });
}

multiversioned!(run<E>, rows, SiluMul);

#[inline(always)]
unsafe fn rows<E: Element, V: Vector>(args: &SiluMul, range: Range<usize>) {
    for row in range {
        // SAFETY: the rows lie inside the tensors that the caller of `silu_mul` vouches for.
        unsafe {
            let gate = (args.gate_up as *const E).add(row * args.gate_up_stride);
            let up = gate.add(args.inter);
            let target = (args.output as *mut E).add(row * args.inter);
            for i in (0..args.inter).step_by(V::LANES) {
                let left = args.inter - i;
                let x = E::load_up_to::<V>(gate.add(i), left);
                let decay = exp(V::splat(0.0).sub(x));
                let active = x.div(V::splat(1.0).add(decay));
                E::store_up_to(active.mul(E::load_up_to(up.add(i), left)), target.add(i), left);
            }
        }
    }
}
