//! `x · weightᵀ` of `f32` activations and `bfloat16` or `f32` weights.
//!
//! Weights are packed once into tiles of 32 outputs, so that outputs lie along the lanes and a row
//! of activations is read a pair at a time. Neighbouring inputs share a 32-bit lane:
//!
//! ```text
//!   tile t, inputs k, k+1:   (w[32t, k], w[32t, k+1]) (w[32t+1, k], w[32t+1, k+1]) … 32 pairs
//! ```
//!
//! `f32` weights lie likewise, but a pair's two numbers 32 lanes apart. One layout serves all
//! kernels of `bfloat16`: widening the pair in registers and multiplying in `f32`, or rounding the
//! activations to `bfloat16` and using the processor's own products of pairs, in vectors or in
//! tiles. The processor determines which is used.
//!
//! Each kernel sums the products of an output in one order, whatever the number of rows, so that a
//! row gives the same bits alone and in any batch: `Plain` and `Widened` in the order of the
//! inputs, `Pairs` likewise but the second of each pair first, `Tiles` as its page says. Few rows
//! take several tiles at once, since a processor starts four multiplications before it has finished
//! the first.

pub(super) mod ahead;
mod pack;
mod processor;
mod product;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;
mod vectors;

use std::mem::offset_of;
use std::ops::Range;

#[cfg(test)]
pub(super) use tests::{Numbers, kernels, rounded};

pub use pack::{PackLinear, pack_linear, packed_len};
pub(super) use processor::multiplies_pairs;
pub use processor::{activates, has_tiles, prefers_rounding};
use product::{Plain, Widened};
use vectors::run_pairs;

use super::gated::{Gated, gated};
use super::rounded::Made;
use super::{Shared, grouped, rows_per_chunk, scratch};
use crate::Dtype;
use crate::element::{Bf16, Element};
use crate::ops::{OpError, arguments};
use crate::pool::parallel_for;
use crate::simd::{Vector, multiversioned};

/// Outputs per tile.
pub(super) const TILE: usize = 32;
/// Inputs of a tile register.
pub(super) const TILE_INPUTS: usize = 32;
/// Tiles that few rows take at once.
pub(super) const GROUP: usize = 4;
/// Tiles that threads share out in vectors: half as many balance small weights.
pub(super) const PAIR: usize = 2;
/// Weights, or products of four rows, that are worth waking a thread for.
const WORK_PER_CHUNK: usize = 96 * 1024;

arguments! {
    /// The arguments of [`linear`].
    pub struct Linear, rows num_rows {
        /// \[rows, num_outputs\] `f32`, rows contiguous; with an activation
        /// \[rows, num_outputs / 2\].
        output: usize,
        /// \[rows, num_inputs\] `f32`, rows contiguous.
        x: usize,
        /// As [`pack_linear`] wrote it.
        packed: usize,
        /// \[num_outputs\] `f32`, added to each row; 0 for none.
        bias: usize,
        /// Rows.
        num_rows: usize,
        /// Elements per row of `x`.
        num_inputs: usize,
        /// Rows of the weight.
        num_outputs: usize,
        /// Elements from one row of `x` to the next.
        x_stride: usize,
        /// Elements from one row of `output` to the next.
        output_stride: usize,
        /// \[rows, num_outputs\] `f32`, contiguous: the product where it is not activated at once
        /// (see [`activates`]); else 0.
        gate_up: usize,
        /// \[rows, num_inputs\] `bfloat16`, contiguous: `x` as the operation before has rounded it
        /// (see `rounded`); 0 for none.
        rounded_x: usize,
        /// \[rows, num_outputs / 2\] `bfloat16`, contiguous: the activated output once more,
        /// rounded likewise; 0 for none.
        rounded: usize,
        /// The form of a weight in groups, of which `packed` then holds the numbers; else 0.
        form: usize,
        /// Of the packed weight: `float32` or `bfloat16`.
        weight_dtype: u32,
        /// 1 rounds the activations to `bfloat16` first, where the processor multiplies such pairs;
        /// for such weights.
        round_x: u32,
        /// 1 rounds the activations to eight bits by group first, for a weight in groups whose
        /// numbers eight bits hold.
        quantize_x: u32,
        /// 0 for none; else 1 and that of `Gated`, and the outputs are a gate, then what it
        /// multiplies.
        activation: u32,
    }
}

impl Linear {
    /// Returns whether it is computed in vectors, by pairs of `bfloat16`.
    fn is_by_pairs(&self) -> bool {
        self.form == 0 && Kernel::of(self.weight_dtype, self.round_x) == Ok(Kernel::Pairs)
    }

    /// Returns whether it may take rows that were rounded before: whole pairs, contiguous.
    pub(super) fn takes_rounded(&self) -> bool {
        let is_whole = self.x_stride == self.num_inputs && self.num_inputs.is_multiple_of(2);
        is_whole && self.is_by_pairs()
    }

    /// What it makes, if that can be rounded at once.
    pub(super) fn made(&self) -> Option<Made> {
        let width = self.num_outputs / 2;
        let is_at_once = self.activation > 0 && activates(self.num_outputs) && self.is_by_pairs();
        let can_round = is_at_once && self.output_stride == width;
        let rounded = offset_of!(Self, rounded);
        can_round.then_some(Made { output: self.output, num_rows: self.num_rows, width, rounded })
    }

    /// Returns how many groups of `num_tiles` tiles the outputs are.
    pub(super) fn num_groups(&self, num_tiles: usize) -> usize {
        self.num_outputs.div_ceil(TILE * num_tiles)
    }

    /// Groups that are worth waking a thread for, by the rows that each is multiplied with.
    pub(super) fn groups_per_chunk(&self, num_tiles: usize, num_rows: usize) -> usize {
        let work_per_tile = self.num_inputs * TILE * num_rows.div_ceil(4);
        WORK_PER_CHUNK.div_ceil((work_per_tile * num_tiles).max(1))
    }
}

/// Multiplies rows with a packed weight, and activates the product if that is asked for.
///
/// # Errors
/// No weight is packed in that dtype.
///
/// # Safety
/// The addresses are those of live tensors with the shapes and strides given, the output written by
/// no other thread.
pub unsafe fn linear(args: &Linear) -> Result<(), OpError> {
    // SAFETY: the caller's promise.
    unsafe { linear_by(Kernel::of(args.weight_dtype, args.round_x)?, args) }
}

/// # Safety
/// As for [`linear`], and the processor has the instructions of the kernel.
unsafe fn linear_by(kernel: Kernel, args: &Linear) -> Result<(), OpError> {
    if args.num_rows == 0 {
        return Ok(());
    }
    let is_at_once = args.form == 0 && activates(args.num_outputs);
    // SAFETY: the caller's promise.
    unsafe {
        if args.activation > 0 && !is_at_once {
            return linear_then_gated(kernel, args);
        }
        if args.form != 0 {
            return grouped::linear(args, kernel);
        }
        multiply(args, kernel);
    }
    Ok(())
}

/// # Safety
/// As for [`linear_by`], and there is a `gate_up`.
unsafe fn linear_then_gated(kernel: Kernel, args: &Linear) -> Result<(), OpError> {
    let product = Linear { output: args.gate_up, output_stride: args.num_outputs, activation: 0, ..*args };
    // SAFETY: the caller's promise.
    unsafe {
        linear_by(kernel, &product)?;
        gated(&Gated {
            output: args.output,
            gate_up: args.gate_up,
            num_tokens: args.num_rows,
            inter: args.num_outputs / 2,
            gate_up_stride: args.num_outputs,
            activation: args.activation - 1,
            dtype: Dtype::F32 as u32,
        })
    }
}

/// The ways to multiply. Each sums in one order for any number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// `f32` weights.
    Plain,
    /// `bfloat16` weights, widened in registers.
    Widened,
    /// `bfloat16` weights and activations, by instructions for pairs.
    Pairs,
    /// The same, by tile registers.
    Tiles,
}

impl Kernel {
    /// That of a packed weight, with activations rounded where that is asked for and the processor
    /// multiplies such pairs.
    pub(super) fn of(weight_dtype: u32, round_x: u32) -> Result<Self, OpError> {
        Ok(match (is_wide(weight_dtype)?, round_x == 1) {
            (true, _) => Self::Plain,
            (false, true) if multiplies_pairs() => Self::rounding(),
            (false, _) => Self::Widened,
        })
    }

    /// Returns the words beside its rows that a product of this many takes.
    pub(super) fn tiles_len(self, num_rows: usize, num_inputs: usize) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Tiles => tiles::tiles_len(num_rows, num_inputs),
            _ => 0,
        }
    }

    /// Computes a product by tile registers, with memory for [`Kernel::tiles_len`] words that
    /// begins at a cache line.
    ///
    /// # Safety
    /// As for [`linear`]; the kernel is `Tiles`.
    pub(super) unsafe fn run_tiles(self, args: &Linear, tiles: *mut u8) {
        debug_assert_eq!(self, Self::Tiles);
        // SAFETY: the caller's promise.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            tiles::linear(args, tiles);
        }
    }

    /// Computes some pairs of tiles of a product, in vectors.
    ///
    /// # Safety
    /// As for [`linear`]; the rows of `x` hold whole pairs, of `bfloat16` if they are `Pairs`, and
    /// nothing else writes these outputs.
    pub(super) unsafe fn run(self, args: &Linear, pairs: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Plain => run_wide(args, pairs),
                #[cfg(target_arch = "x86_64")]
                Self::Pairs => run_rounded(args, pairs),
                _ => run(args, pairs),
            }
        }
    }

    /// Returns how this processor multiplies `bfloat16` by `bfloat16`.
    fn rounding() -> Self {
        if has_tiles() { Self::Tiles } else { Self::Pairs }
    }
}

/// # Safety
/// As for [`linear`], and the processor has the instructions of the kernel.
unsafe fn multiply(args: &Linear, kernel: Kernel) {
    // SAFETY: the caller's promise; ranges do not overlap, and the copy of `x` outlives the loop.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if kernel == Kernel::Tiles {
            let tiles = scratch::lines(tiles::tiles_len(args.num_rows, args.num_inputs)).cast();
            return tiles::linear(args, tiles);
        }
        let mut args = *args;
        if kernel == Kernel::Pairs && args.rounded_x != 0 {
            (args.x, args.x_stride) = (args.rounded_x, args.num_inputs);
        } else if kernel == Kernel::Pairs {
            copy_rows::<Bf16>(&mut args);
        } else if !args.num_inputs.is_multiple_of(2) {
            copy_rows::<f32>(&mut args);
        }
        let shared = Shared(args);
        parallel_for(args.num_groups(PAIR), args.groups_per_chunk(PAIR, args.num_rows), &|pairs| {
            kernel.run(shared.get(), pairs);
        });
    }
}

/// Returns the number of pairs of inputs that a packed weight has: those of `bfloat16` fill whole
/// tile registers.
fn num_pairs(num_inputs: usize, is_wide: bool) -> usize {
    let inputs = if is_wide { 2 } else { TILE_INPUTS };
    num_inputs.next_multiple_of(inputs) / 2
}

/// Returns whether a packed weight is `float32`, not `bfloat16`.
fn is_wide(dtype: u32) -> Result<bool, OpError> {
    match Dtype::from_code(dtype)? {
        Dtype::F32 => Ok(true),
        Dtype::Bf16 => Ok(false),
        Dtype::F16 => Err(OpError::Dtype(dtype, dtype)),
    }
}

/// Replaces `x` by a copy in this thread's scratch memory, of whole pairs of `E`.
///
/// # Safety
/// `x` is live; the copy is valid until this thread's next use of scratch memory.
unsafe fn copy_rows<E: Element>(args: &mut Linear) {
    let width = args.num_inputs.next_multiple_of(2);
    let copy: *mut E = scratch::lines(args.num_rows * width).cast();
    let copy = Copy { x: args.x, x_stride: args.x_stride, copy: copy as usize, width, len: args.num_inputs };
    let shared = Shared(copy);
    // SAFETY: the scratch memory holds as many `f32`, and ranges do not overlap.
    parallel_for(args.num_rows, rows_per_chunk(width), &|rows| unsafe {
        run_copy::<E>(shared.get(), rows);
    });
    (args.x, args.x_stride) = (shared.get().copy, width);
}

struct Copy {
    x: usize,
    x_stride: usize,
    copy: usize,
    width: usize,
    len: usize,
}

multiversioned!(run_copy<E>, copy_range, Copy);

#[inline(always)]
unsafe fn copy_range<E: Element, V: Vector>(args: &Copy, rows: Range<usize>) {
    for row in rows {
        // SAFETY: the row of `x` has `len` elements, that of the copy `width`.
        unsafe {
            let source = (args.x as *const f32).add(row * args.x_stride);
            let target = (args.copy as *mut E).add(row * args.width);
            for i in (0..args.len).step_by(V::LANES) {
                let values = f32::load_up_to::<V>(source.add(i), args.len - i);
                E::store_up_to(values, target.add(i), args.width - i);
            }
        }
    }
}

multiversioned!(run, run_widened, Linear);

#[inline(always)]
unsafe fn run_widened<V: Vector>(args: &Linear, pairs: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { run_pairs::<Widened<V>>(args, pairs) }
}

multiversioned!(run_wide, run_plain, Linear);

#[inline(always)]
unsafe fn run_plain<V: Vector>(args: &Linear, pairs: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { run_pairs::<Plain<V>>(args, pairs) }
}

/// # Safety
/// As for [`linear`]; `x` is a copy in `bfloat16`, and the processor has `avx512bf16`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn run_rounded(args: &Linear, pairs: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { run_pairs::<product::Rounded>(args, pairs) }
}

/// Writes neighbouring outputs of a row, with their bias.
///
/// # Safety
/// The row has these outputs.
#[inline(always)]
unsafe fn store_columns(args: &Linear, row: usize, output: usize, sums: &[f32]) {
    // SAFETY: the caller's promise.
    unsafe { store_at(args, row * args.output_stride + output, output, sums) }
}

/// Writes neighbouring outputs to a place of the output tensor, with their bias.
///
/// # Safety
/// As for `store_columns`.
#[inline(always)]
pub(super) unsafe fn store_at(args: &Linear, place: usize, output: usize, sums: &[f32]) {
    // SAFETY: the caller's promise.
    unsafe {
        let target = (args.output as *mut f32).add(place);
        if args.bias == 0 {
            std::ptr::copy_nonoverlapping(sums.as_ptr(), target, sums.len());
        } else {
            let bias = (args.bias as *const f32).add(output);
            for (i, sum) in sums.iter().enumerate() {
                *target.add(i) = sum + *bias.add(i);
            }
        }
    }
}
