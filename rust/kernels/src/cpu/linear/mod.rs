//! `x · weightᵀ` of `f32` activations and `bfloat16` or `f32` weights.
//!
//! Weights are packed once into tiles of 32 outputs, so that outputs lie along the lanes and a row
//! of activations is read a pair at a time. Neighbouring inputs share a 32-bit lane:
//!
//! ```text
//!   tile t, inputs k, k+1:   (w[32t, k], w[32t, k+1]) (w[32t+1, k], w[32t+1, k+1]) … 32 pairs, two cache lines
//! ```
//!
//! `f32` weights lie likewise, but a pair's two numbers 32 lanes apart. One layout serves both
//! kinds of [`Product`] of `bfloat16`: widening the pair in registers and multiplying in `f32`, or
//! rounding the activations to `bfloat16` and using the processor's own pairwise products. Which is
//! faster differs between processors by a factor of two either way, so [`prefers_rounding`]
//! measures.
//!
//! Each output is summed in the order of the inputs, whatever the number of rows: a row gives the
//! same bits alone and in any batch. Few rows take several tiles at once, since a processor starts
//! four multiplications before it has finished the first.

mod pack;
mod product;

use std::ops::Range;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub use pack::{PackLinear, pack_linear, packed_len};
use product::{Plain, Product, Widened};

use super::{Shared, scratch};
use crate::Dtype;
use crate::element::{Bf16, Element};
use crate::ops::{OpError, arguments};
use crate::pool::parallel_for;
use crate::simd::{MAX_LANES, Vector, multiversioned};

/// Outputs per tile.
const TILE: usize = 32;
/// Tiles that few rows take at once.
const GROUP: usize = 4;
/// Weights, or products of four rows, that are worth waking a thread for.
const WORK_PER_CHUNK: usize = 96 * 1024;

arguments! {
    /// The arguments of [`linear`].
    pub struct Linear, rows num_rows {
        /// \[rows, num_outputs\] `f32`, contiguous.
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
        /// Elements per row of `output`.
        num_outputs: usize,
        /// Elements from one row of `x` to the next.
        x_stride: usize,
        /// Of the packed weight: `float32` or `bfloat16`.
        weight_dtype: u32,
        /// 1 rounds the activations to `bfloat16` first, where the processor multiplies such pairs;
        /// for such weights.
        round_x: u32,
    }
}

impl Linear {
    fn num_pairs(&self) -> usize {
        self.num_inputs.div_ceil(2)
    }

    /// How many groups of tiles the outputs are.
    pub(super) fn num_groups(&self) -> usize {
        self.num_outputs.div_ceil(TILE * GROUP)
    }

    /// Groups that are worth waking a thread for, by the rows that each is multiplied with.
    pub(super) fn groups_per_chunk(&self, num_rows: usize) -> usize {
        let work_per_tile = self.num_inputs * TILE * num_rows.div_ceil(4);
        WORK_PER_CHUNK.div_ceil((work_per_tile * GROUP).max(1))
    }
}

/// Multiplies rows with a packed weight.
///
/// # Errors
/// No weight is packed in that dtype.
///
/// # Safety
/// The addresses are those of live tensors with the shapes and strides given, the output written by
/// no other thread.
pub unsafe fn linear(args: &Linear) -> Result<(), OpError> {
    let arithmetic = Arithmetic::of(args.weight_dtype, args.round_x)?;
    let num_groups = args.num_groups();
    // SAFETY: the caller's promise; ranges do not overlap, and the copy of `x` outlives the loop.
    unsafe {
        let mut args = *args;
        if arithmetic == Arithmetic::Rounded {
            copy_rows::<Bf16>(&mut args);
        } else if !args.num_inputs.is_multiple_of(2) {
            copy_rows::<f32>(&mut args);
        }
        let shared = Shared(args);
        parallel_for(num_groups, args.groups_per_chunk(args.num_rows), &|groups| {
            arithmetic.run(shared.get(), groups);
        });
    }
    Ok(())
}

/// How the numbers of a product are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// `float32` weights.
    Wide,
    /// `bfloat16` weights, widened.
    Widened,
    /// `bfloat16` weights and activations, in pairs.
    Rounded,
}

impl Arithmetic {
    /// That of a packed weight, with activations rounded where that is asked for and the processor
    /// multiplies such pairs.
    pub(super) fn of(weight_dtype: u32, round_x: u32) -> Result<Self, OpError> {
        match Dtype::from_code(weight_dtype)? {
            Dtype::F32 => Ok(Self::Wide),
            Dtype::Bf16 if round_x == 1 && multiplies_pairs() => Ok(Self::Rounded),
            Dtype::Bf16 => Ok(Self::Widened),
            Dtype::F16 => Err(OpError::Dtype(weight_dtype, weight_dtype)),
        }
    }

    /// Computes some groups of tiles of a product.
    ///
    /// # Safety
    /// As for [`linear`]; the rows of `x` hold whole pairs, of `bfloat16` if it is `Rounded`, and
    /// nothing else writes these groups of the output.
    pub(super) unsafe fn run(self, args: &Linear, groups: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Wide => run_wide(args, groups),
                Self::Widened => run(args, groups),
                #[cfg(target_arch = "x86_64")]
                Self::Rounded => run_rounded(args, groups),
                #[cfg(not(target_arch = "x86_64"))]
                Self::Rounded => unreachable!("`of` asks the processor"),
            }
        }
    }
}

/// Whether [`linear`] is faster with `round_x` on this processor: measured once, by the best of
/// many times in turns, since what comes later, or meets other work, runs at another clock rate.
#[must_use]
pub fn prefers_rounding() -> bool {
    static PREFERS: OnceLock<bool> = OnceLock::new();
    *PREFERS.get_or_init(|| multiplies_pairs() && is_faster_rounded())
}

fn is_faster_rounded() -> bool {
    let mut best = [Duration::MAX; 2];
    for _ in 0..100 {
        for (best, round_x) in best.iter_mut().zip([true, false]) {
            *best = time_of(round_x).min(*best);
        }
    }
    best[0] < best[1]
}

fn time_of(round_x: bool) -> Duration {
    const ROWS: usize = 32;
    const INPUTS: usize = 256;
    /// Tensors begin at a cache line; loads that cross one would favour the slower multiplication.
    #[derive(Clone)]
    #[repr(align(64))]
    struct Line(#[expect(dead_code, reason = "read by address")] [f32; 16]);
    let lines = |num_bytes: usize| vec![Line([1.0; 16]); num_bytes.div_ceil(size_of::<Line>())];
    let (x, packed) = (lines(ROWS * INPUTS * 4), lines(TILE * INPUTS * 2));
    let mut output = lines(ROWS * TILE * 4);
    let args = Linear {
        output: output.as_mut_ptr() as usize,
        x: x.as_ptr() as usize,
        packed: packed.as_ptr() as usize,
        num_rows: ROWS,
        num_inputs: INPUTS,
        num_outputs: TILE,
        x_stride: INPUTS,
        weight_dtype: Dtype::Bf16 as u32,
        round_x: round_x.into(),
        bias: 0,
    };
    let start = Instant::now();
    // SAFETY: the vectors have the sizes given; one group of tiles runs on this thread.
    let done = unsafe { linear(&args) };
    debug_assert!(done.is_ok(), "the weight is bfloat16");
    start.elapsed()
}

/// Whether the processor has instructions for products of `bfloat16` pairs.
fn multiplies_pairs() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = crate::simd::level() == crate::simd::Level::Avx512 && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

/// Replaces `x` by a copy in this thread's scratch memory, of whole pairs of `E`.
///
/// # Safety
/// `x` is live; the copy is valid until this thread's next use of scratch memory.
unsafe fn copy_rows<E: Element>(args: &mut Linear) {
    let width = args.num_pairs() * 2;
    let copy: *mut E = scratch::lines(args.num_rows * width).cast();
    let copy = Copy { x: args.x, x_stride: args.x_stride, copy: copy as usize, width, len: args.num_inputs };
    // SAFETY: the scratch memory holds as many `f32`.
    unsafe { run_copy::<E>(&copy, 0..args.num_rows) };
    (args.x, args.x_stride) = (copy.copy, width);
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
unsafe fn run_widened<V: Vector>(args: &Linear, groups: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { run_groups::<Widened<V>>(args, groups) }
}

multiversioned!(run_wide, run_plain, Linear);

#[inline(always)]
unsafe fn run_plain<V: Vector>(args: &Linear, groups: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { run_groups::<Plain<V>>(args, groups) }
}

/// # Safety
/// As for [`linear`]; `x` is a copy in `bfloat16`, and the processor has `avx512bf16`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn run_rounded(args: &Linear, groups: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { run_groups::<product::Rounded>(args, groups) }
}

#[inline(always)]
unsafe fn run_groups<P: Product>(args: &Linear, groups: Range<usize>) {
    let num_tiles = args.num_outputs.div_ceil(TILE);
    for group in groups {
        let tiles = group * GROUP..num_tiles.min((group + 1) * GROUP);
        let mut row = 0;
        while row < args.num_rows {
            // SAFETY: the rows and tiles lie inside the tensors that the caller of `linear` vouches
            // for.
            row += unsafe {
                match (args.num_rows - row).min(P::TILE_ROWS) {
                    8.. => rows::<P, 8, 1>(args, tiles.clone(), row),
                    6.. => rows::<P, 6, 2>(args, tiles.clone(), row),
                    4.. => rows::<P, 4, 2>(args, tiles.clone(), row),
                    2 | 3 => rows::<P, 2, 2>(args, tiles.clone(), row),
                    _ => rows::<P, 1, 4>(args, tiles.clone(), row),
                }
            };
        }
    }
}

/// `R` rows of some tiles, `T` at a time; returns `R`.
#[inline(always)]
unsafe fn rows<P: Product, const R: usize, const T: usize>(
    args: &Linear,
    tiles: Range<usize>,
    first_row: usize,
) -> usize {
    let mut tile = tiles.start;
    // SAFETY: the caller's rows and tiles lie inside their tensors.
    unsafe {
        while tile + T <= tiles.end {
            block::<P, R, T>(args, tile, first_row);
            tile += T;
        }
        while tile < tiles.end {
            block::<P, R, 1>(args, tile, first_row);
            tile += 1;
        }
    }
    R
}

/// `T` tiles of `R` rows, two vectors of outputs at a time.
#[inline(always)]
unsafe fn block<P: Product, const R: usize, const T: usize>(args: &Linear, tile: usize, first_row: usize) {
    let num_pairs = args.num_pairs();
    let tile_len = num_pairs * TILE * P::WORDS;
    // SAFETY: the caller's rows and tiles lie inside their tensors.
    unsafe {
        let weights = (args.packed as *const u32).add(tile * tile_len);
        let x = (args.x as *const P::Number).add(first_row * args.x_stride);
        for part in (0..TILE).step_by(2 * P::LANES) {
            let mut sums = [[[P::zero(); 2]; R]; T];
            for pair in 0..num_pairs {
                let x = x.add(2 * pair);
                for (t, sums) in sums.iter_mut().enumerate() {
                    let weights = weights.add(t * tile_len + pair * TILE * P::WORDS + part);
                    let (first, second) = (P::weights(weights), P::weights(weights.add(P::LANES)));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let numbers = P::numbers(x.add(row * args.x_stride));
                        sums[0] = P::add(sums[0], first, numbers);
                        sums[1] = P::add(sums[1], second, numbers);
                    }
                }
            }
            for (t, sums) in sums.iter().enumerate() {
                store::<P, R>(args, sums, (tile + t) * TILE + part, first_row);
            }
        }
    }
}

#[inline(always)]
unsafe fn store<P: Product, const R: usize>(
    args: &Linear,
    sums: &[[P::Sum; 2]; R],
    first_output: usize,
    first_row: usize,
) {
    for (row, sums) in sums.iter().enumerate() {
        for (half, sum) in sums.iter().enumerate() {
            let output = first_output + half * P::LANES;
            if output >= args.num_outputs {
                continue;
            }
            let len = P::LANES.min(args.num_outputs - output);
            // SAFETY: the row has `len` more outputs, and `lanes` holds the widest vector.
            unsafe {
                let target = (args.output as *mut f32).add((first_row + row) * args.num_outputs + output);
                if len == P::LANES {
                    P::store(*sum, target);
                } else {
                    let mut lanes = [0.0; MAX_LANES];
                    P::store(*sum, lanes.as_mut_ptr());
                    std::ptr::copy_nonoverlapping(lanes.as_ptr(), target, len);
                }
                if args.bias != 0 {
                    let bias = (args.bias as *const f32).add(output);
                    for i in 0..len {
                        *target.add(i) += *bias.add(i);
                    }
                }
            }
        }
    }
}
