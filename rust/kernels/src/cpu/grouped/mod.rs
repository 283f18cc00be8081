//! `x · weightᵀ` of `f32` activations and weights of four or eight bits in groups of inputs that
//! share a scale ([`Form`]).
//!
//! An output is the sum over its groups, in order, of
//!
//! ```text
//!   scale · Σ x · table[code]  +  offset · Σ x
//! ```
//!
//! The numbers are exact in `bfloat16` and `f32` without their scales, so every kernel multiplies
//! exactly what the files hold. The first sum is in the order of the kernel that multiplies
//! `bfloat16` weights on this processor ([`super::linear`]), begun anew in each group; the second
//! adds the lanes of vectors. Neither depends on the number of rows.
//!
//! Where activations may be rounded to eight bits, [`bytes`] has other products.

mod bytes;
mod form;
mod product;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;
mod vectors;

use std::ops::Range;

pub use form::Form;
use form::Grid;
use product::Widened;
use vectors::run_groups;

use super::linear::{GROUP, Kernel, Linear, TILE_INPUTS};
use super::{Shared, rows_per_chunk, scratch};
use crate::element::{Bf16, Element};
use crate::ops::OpError;
use crate::pool::parallel_for;
use crate::simd::{Decode, Vector, multiversioned};

/// Rows of activations that lie beside each other, so that a tile register takes them.
const MAX_ROWS: usize = 16;

/// A product with its activations prepared.
#[derive(Clone, Copy)]
struct Call {
    linear: Linear,
    grid: Grid,
    kernel: Kernel,
    /// Rows of a block; the last two blocks may overlap, both compute the same.
    block_rows: usize,
    num_blocks: usize,
    /// Inputs of a row that lie side by side; those of the other rows of a block come next.
    step: usize,
    /// \[blocks, steps, rows of a block, step\]
    x: usize,
    /// \[blocks, rows of a block, groups\] `f32`: the sums of the inputs of each group.
    sums: usize,
}

impl Call {
    fn new(args: &Linear, grid: Grid, kernel: Kernel) -> Self {
        let most = if kernel == Kernel::Tiles { MAX_ROWS } else { 1 };
        let num_blocks = args.num_rows.div_ceil(most);
        let block_rows = args.num_rows.div_ceil(num_blocks.max(1));
        let step = if kernel == Kernel::Tiles { grid.group_size.min(TILE_INPUTS) } else { grid.num_inputs() };
        Self { linear: *args, grid, kernel, block_rows, num_blocks, step, x: 0, sums: 0 }
    }

    /// Words of the prepared activations.
    fn x_len(&self) -> usize {
        let numbers = self.num_blocks * self.block_rows * self.grid.num_inputs();
        if self.is_narrow() { numbers.div_ceil(2) } else { numbers }
    }

    /// Words that a call takes beside its arguments.
    fn scratch_len(&self) -> usize {
        let num_sums = self.num_blocks * self.block_rows * self.grid.num_groups;
        self.x_len() + if self.grid.has_offsets() { num_sums } else { 0 }
    }

    /// Whether activations are rounded to `bfloat16`.
    fn is_narrow(&self) -> bool {
        matches!(self.kernel, Kernel::Pairs | Kernel::Tiles)
    }

    /// The first row of a block.
    fn first_row(&self, block: usize) -> usize {
        (block * self.block_rows).min(self.linear.num_rows - self.block_rows)
    }

    /// The activations of a block from an input on, which begins a step.
    fn x<E>(&self, block: usize, input: usize) -> *mut E {
        let place = (block * self.grid.num_inputs() + input) * self.block_rows;
        (self.x as *mut E).wrapping_add(place)
    }

    /// The sums of the groups of a row.
    fn sums(&self, block: usize, row: usize) -> *mut f32 {
        (self.sums as *mut f32).wrapping_add((block * self.block_rows + row) * self.grid.num_groups)
    }

    /// Rounds, fills up and sums the activations, then multiplies them.
    ///
    /// # Safety
    /// As for [`linear_in`].
    unsafe fn run(mut self, memory: *mut f32) {
        self.x = memory as usize;
        self.sums = self.x + self.x_len() * size_of::<f32>();
        let shared = Shared(self);
        let min_blocks = rows_per_chunk(self.grid.num_inputs() * self.block_rows);
        let num_groups = self.linear.num_groups(GROUP);
        let min_groups = self.linear.groups_per_chunk(GROUP, self.linear.num_rows);
        // SAFETY: the caller's promise; ranges do not overlap.
        unsafe {
            parallel_for(self.num_blocks, min_blocks, &|blocks| {
                if shared.get().is_narrow() {
                    run_prepare::<Bf16>(shared.get(), blocks);
                } else {
                    run_prepare::<f32>(shared.get(), blocks);
                }
            });
            parallel_for(num_groups, min_groups, &|groups| match self.kernel {
                #[cfg(target_arch = "x86_64")]
                Kernel::Tiles => tiles::multiply(shared.get(), groups),
                #[cfg(target_arch = "x86_64")]
                Kernel::Pairs => run_rounded(shared.get(), groups),
                _ => run_widened(shared.get(), groups),
            });
        }
    }
}

/// How a product is carried out.
enum Way {
    /// With activations as they are, or rounded to `bfloat16`.
    Floats(Call),
    /// With activations rounded to eight bits.
    Bytes(bytes::Call),
}

impl Way {
    /// # Safety
    /// `form` is the address of the weight's form.
    unsafe fn of(args: &Linear, kernel: Kernel) -> Result<Self, OpError> {
        // SAFETY: the caller's promise.
        unsafe {
            let grid = Grid::of(*(args.form as *const Form), args.packed, args.num_inputs)?;
            let bytes = if args.quantize_x == 1 { bytes::Call::new(args, grid) } else { None };
            Ok(bytes.map_or_else(|| Self::Floats(Call::new(args, grid, kernel)), Self::Bytes))
        }
    }

    /// Words that it takes beside its arguments.
    fn scratch_len(&self) -> usize {
        match self {
            Self::Floats(call) => call.scratch_len(),
            Self::Bytes(call) => call.scratch_len(),
        }
    }

    /// # Safety
    /// As for [`linear_in`].
    unsafe fn run(self, memory: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Floats(call) => call.run(memory),
                Self::Bytes(call) => call.run(memory),
            }
        }
    }
}

/// Multiplies rows with a weight in groups.
///
/// # Errors
/// No weight has that form.
///
/// # Safety
/// As for [`super::linear`]; `form` is the address of the weight's form.
pub(super) unsafe fn linear(args: &Linear, kernel: Kernel) -> Result<(), OpError> {
    // SAFETY: the caller's promise; the memory stays valid until this thread's next call.
    unsafe {
        let way = Way::of(args, kernel)?;
        let memory = scratch::lines(way.scratch_len());
        way.run(memory);
    }
    Ok(())
}

/// Words that a product takes beside its arguments.
///
/// # Errors
/// No weight has that form.
///
/// # Safety
/// `form` is the address of the weight's form.
pub(super) unsafe fn scratch_len(args: &Linear, kernel: Kernel) -> Result<usize, OpError> {
    // SAFETY: the caller's promise.
    Ok(unsafe { Way::of(args, kernel) }?.scratch_len())
}

/// The same product with memory of the caller's.
///
/// # Errors
/// As for [`linear`].
///
/// # Safety
/// As for [`linear`]; the memory holds [`scratch_len`] words from a cache line on.
pub(super) unsafe fn linear_in(args: &Linear, kernel: Kernel, memory: *mut f32) -> Result<(), OpError> {
    // SAFETY: the caller's promise.
    unsafe { Way::of(args, kernel)?.run(memory) };
    Ok(())
}

multiversioned!(run_prepare<E>, prepare_blocks, Call);

/// Copies the rows of some blocks, in whole spans, and sums their groups.
#[inline(always)]
unsafe fn prepare_blocks<E: Element, V: Vector>(call: &Call, blocks: Range<usize>) {
    for block in blocks {
        for row in 0..call.block_rows {
            // SAFETY: the caller of `linear` vouches for the row, and the memory is large enough.
            unsafe { prepare_row::<E, V>(call, block, row) }
        }
    }
}

#[inline(always)]
unsafe fn prepare_row<E: Element, V: Vector>(call: &Call, block: usize, row: usize) {
    let (args, grid) = (&call.linear, &call.grid);
    // SAFETY: the caller's promise; a step is whole vectors.
    unsafe {
        let source = (args.x as *const f32).add((call.first_row(block) + row) * args.x_stride);
        for group in 0..grid.num_groups {
            // Sixteen lanes on every processor, those eight apart first, as in `Vector::sum`.
            let mut lanes = [V::splat(0.0); 2];
            for i in (group * grid.group_size..(group + 1) * grid.group_size).step_by(V::LANES) {
                let left = args.num_inputs.saturating_sub(i);
                let values = f32::load_up_to::<V>(source.wrapping_add(i), left);
                let target = call.x::<E>(block, i - i % call.step).add(row * call.step + i % call.step);
                E::store(values, target);
                let half = i / V::LANES % (16 / V::LANES);
                lanes[half] = lanes[half].add(E::load(target));
            }
            if grid.has_offsets() {
                *call.sums(block, row).add(group) = lanes[0].add(lanes[1]).sum();
            }
        }
    }
}

multiversioned!(run_widened, multiply_widened, Call);

#[inline(always)]
unsafe fn multiply_widened<V: Decode>(call: &Call, groups: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { run_groups::<Widened<V>>(call, groups) }
}

/// # Safety
/// As for [`linear`]; the processor has `avx512bf16`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn run_rounded(call: &Call, groups: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { run_groups::<product::Rounded>(call, groups) }
}
