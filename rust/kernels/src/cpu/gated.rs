//! `activation(gate) * up`, the middle of a gated MLP.
//!
//! ```text
//!   0  SiLU        x / (1 + e^-x)
//!   1  GELU, tanh  x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))
//!   2  clamped     g = min(gate, 7), u = clamp(up, -7, 7): (u + 1) · g / (1 + e^-1.702g)
//! ```

use std::ops::Range;

use super::{Shared, by_dtype, rows_per_chunk};
use crate::Dtype;
use crate::element::Element;
use crate::ops::{OpError, arguments};
use crate::pool::parallel_for;
use crate::simd::{Vector, exp, multiversioned, tanh};

const GELU_TANH: u32 = 1;
const CLAMPED: u32 = 2;
const CLAMP: f32 = 7.0;

arguments! {
    /// The arguments of [`gated`].
    pub struct Gated, rows num_tokens {
        /// \[num_tokens, inter\], contiguous.
        output: usize,
        /// \[num_tokens, 2 * inter\]: gate, then up; rows contiguous.
        gate_up: usize,
        /// Rows.
        num_tokens: usize,
        /// Elements per row of the output.
        inter: usize,
        /// Elements from one row of `gate_up` to the next.
        gate_up_stride: usize,
        /// 0 for SiLU, 1 for GELU, 2 for the clamped SiLU.
        activation: u32,
        /// Of both.
        dtype: u32,
    }
}

/// Multiplies up by the activated gate.
///
/// # Errors
/// The dtype is not known.
///
/// # Safety
/// The addresses are those of live tensors of the dtype with the shapes and strides given, that
/// nothing else writes.
pub unsafe fn gated(args: &Gated) -> Result<(), OpError> {
    let dtype = Dtype::from_code(args.dtype)?;
    // SAFETY: the caller's promise.
    unsafe { by_dtype!(all, dtype, args) }
    Ok(())
}

unsafe fn all<E: Element>(args: &Gated) {
    let shared = Shared(*args);
    // An exponential and a division per element: about four times the work of a plain pass.
    let min_rows = rows_per_chunk(args.inter * 4);
    // SAFETY: the caller's promise; ranges do not overlap.
    parallel_for(args.num_tokens, min_rows, &|rows| unsafe { run::<E>(shared.get(), rows) });
}

multiversioned!(run<E>, rows, Gated);

#[inline(always)]
unsafe fn rows<E: Element, V: Vector>(args: &Gated, range: Range<usize>) {
    for row in range {
        // SAFETY: the rows lie inside the tensors that the caller of `gated` vouches for.
        unsafe {
            let gate = (args.gate_up as *const E).add(row * args.gate_up_stride);
            let up = gate.add(args.inter);
            let target = (args.output as *mut E).add(row * args.inter);
            for i in (0..args.inter).step_by(V::LANES) {
                let left = args.inter - i;
                let (x, up) = (E::load_up_to::<V>(gate.add(i), left), E::load_up_to::<V>(up.add(i), left));
                E::store_up_to(activated(args.activation, x, up), target.add(i), left);
            }
        }
    }
}

/// Returns a gate and what it multiplies, by the number of the activation.
///
/// # Safety
/// The processor has the instructions of `V`; likewise below.
#[inline(always)]
pub(super) unsafe fn activated<V: Vector>(activation: u32, gate: V, up: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        match activation {
            GELU_TANH => gelu(gate).mul(up),
            CLAMPED => clamped(gate, up),
            _ => silu(gate, 1.0).mul(up),
        }
    }
}

/// `x / (1 + e^-factor·x)`
///
/// # Safety
/// As [`activated`]; likewise below.
#[inline(always)]
unsafe fn silu<V: Vector>(x: V, factor: f32) -> V {
    // SAFETY: the caller's promise.
    unsafe { x.div(V::splat(1.0).add(exp(V::splat(0.0).sub(x.mul(V::splat(factor)))))) }
}

#[inline(always)]
unsafe fn gelu<V: Vector>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let cubic = x.mul(x).mul(x).mul_add(V::splat(0.044_715), x);
        let bent = tanh(cubic.mul(V::splat(0.797_884_6)));
        x.mul(V::splat(0.5)).mul(V::splat(1.0).add(bent))
    }
}

#[inline(always)]
unsafe fn clamped<V: Vector>(gate: V, up: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let gate = gate.min(V::splat(CLAMP));
        let up = up.min(V::splat(CLAMP)).max(V::splat(-CLAMP));
        up.add(V::splat(1.0)).mul(silu(gate, 1.702))
    }
}
