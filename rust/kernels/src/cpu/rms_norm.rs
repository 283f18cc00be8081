//! `x / sqrt(mean(x²) + eps) * weight`, optionally of a running sum.

use std::mem::offset_of;
use std::ops::Range;

use super::rounded::Made;
use super::{Shared, by_dtype, rows_per_chunk};
use crate::Dtype;
use crate::element::{Bf16, Element};
use crate::ops::{OpError, arguments};
use crate::pool::parallel_for;
use crate::simd::{Vector, multiversioned};

/// Declares the arguments of [`rms_norm`] of a device, by the field for rows that are rounded, if
/// it has one.
macro_rules! norm_arguments {
    ($(#[$meta:meta])* { $($rounded:tt)* }) => {
        arguments! {
            $(#[$meta])*
            pub struct RmsNorm, rows num_tokens {
                /// \[num_tokens, hidden\], rows contiguous; may be `x` itself.
                output: usize,
                /// \[num_tokens, hidden\], rows contiguous.
                x: usize,
                /// As `x`, updated in place; 0 for none.
                residual: usize,
                /// \[hidden\].
                weight: usize,
                /// Rows.
                num_tokens: usize,
                /// Elements per row.
                hidden: usize,
                /// Elements from one row of `output` to the next.
                output_stride: usize,
                /// Elements from one row of `x` to the next.
                x_stride: usize,
                /// Elements from one row of `residual` to the next.
                residual_stride: usize,
                $($rounded)*
                /// Added to the mean square.
                eps: f32,
                /// Of all tensors.
                dtype: u32,
            }
        }
    };
}
pub(crate) use norm_arguments;

norm_arguments! {
    /// The arguments of [`rms_norm`].
    {
        /// \[num_tokens, hidden\] `bfloat16`, contiguous: the output once more, rounded for a
        /// product (see `rounded`), from `f32`; 0 for none.
        rounded: usize,
    }
}

impl RmsNorm {
    /// What it makes, if that can be rounded at once.
    pub(super) fn made(&self) -> Option<Made> {
        let can_round = self.dtype == Dtype::F32 as u32 && self.output_stride == self.hidden;
        can_round.then_some(Made {
            output: self.output,
            num_rows: self.num_tokens,
            width: self.hidden,
            rounded: offset_of!(Self, rounded),
        })
    }
}

/// Adds `x` to the residual, if there is one, and normalises the sum as stored; otherwise
/// normalises `x`.
///
/// # Errors
/// The dtype is not known.
///
/// # Safety
/// The addresses are those of live tensors of the dtype with the shapes and strides given, that
/// nothing else writes.
pub unsafe fn rms_norm(args: &RmsNorm) -> Result<(), OpError> {
    let dtype = Dtype::from_code(args.dtype)?;
    // SAFETY: the caller's promise.
    unsafe { by_dtype!(all, dtype, args) }
    Ok(())
}

unsafe fn all<E: Element>(args: &RmsNorm) {
    let shared = Shared(*args);
    // SAFETY: the caller's promise; ranges do not overlap.
    parallel_for(args.num_tokens, rows_per_chunk(args.hidden), &|rows| unsafe {
        run::<E>(shared.get(), rows);
    });
}

multiversioned!(run<E>, rows, RmsNorm);

#[inline(always)]
unsafe fn rows<E: Element, V: Vector>(args: &RmsNorm, range: Range<usize>) {
    for row in range {
        // SAFETY: the rows lie inside the tensors that the caller of `rms_norm` vouches for.
        unsafe {
            let mut source = (args.x as *const E).add(row * args.x_stride);
            let residual = args.residual as *mut E;
            if !residual.is_null() {
                let sum = residual.add(row * args.residual_stride);
                add_into::<E, V>(sum, source, args.hidden);
                source = sum;
            }
            let mean = sum_of_squares::<E, V>(source, args.hidden) / args.hidden as f32;
            let scale = V::splat(1.0 / (mean + args.eps).sqrt());
            let target = (args.output as *mut E).add(row * args.output_stride);
            let weight = args.weight as *const E;
            let rounded = (args.rounded as *mut Bf16).wrapping_add(row * args.hidden);
            for i in (0..args.hidden).step_by(V::LANES) {
                let left = args.hidden - i;
                let normal = E::load_up_to::<V>(source.add(i), left).mul(scale);
                let weighted = normal.mul(E::load_up_to::<V>(weight.add(i), left));
                E::store_up_to(weighted, target.add(i), left);
                if args.rounded != 0 {
                    Bf16::store_up_to(weighted, rounded.add(i), left);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn add_into<E: Element, V: Vector>(sum: *mut E, x: *const E, len: usize) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: the caller's rows have `len` elements.
        unsafe {
            let before = E::load_up_to::<V>(sum.add(i), len - i);
            E::store_up_to(before.add(E::load_up_to(x.add(i), len - i)), sum.add(i), len - i);
        }
    }
}

#[inline(always)]
pub(super) unsafe fn sum_of_squares<E: Element, V: Vector>(x: *const E, len: usize) -> f32 {
    // SAFETY: the caller's row has `len` elements.
    unsafe {
        let mut squares = V::splat(0.0);
        for i in (0..len).step_by(V::LANES) {
            let values = E::load_up_to::<V>(x.add(i), len - i);
            squares = values.mul_add(values, squares);
        }
        squares.sum()
    }
}
