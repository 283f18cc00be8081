//! Products of weights in groups with activations that are rounded to eight bits, in integers.
//!
//! Neighbouring inputs of a row, a *stretch*, are rounded with a step of their own:
//!
//! ```text
//!   greatest = max |x|     step = greatest / 127     code = x · (127 / greatest), to nearest even
//! ```
//!
//! A stretch is [`STRETCH`] inputs, or a group where that is longer. An output is the sum over its
//! stretches, in order, of
//!
//! ```text
//!   step · Σ over its groups, in order  ( scale · Σ code · number  +  offset · Σ code )
//! ```
//!
//! The inner sums are integers, which come out the same by every instruction; the outer ones are
//! `f32`, each term rounded once with its addition. So neither the number of rows nor the processor
//! changes a bit, and few rows and many may be multiplied by different instructions.
//!
//! Where the greatest magnitude of a stretch is below [`round::LEAST`] all of it counts as 0. One
//! number that is not finite makes the step NaN, and with it every output of that row and of no
//! other.

mod dot;
mod multiply;
mod round;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;

use std::ops::Range;
use std::sync::OnceLock;

use self::dot::Plain;
#[cfg(target_arch = "x86_64")]
use self::dot::{Pairs256, Vnni256, Vnni512};
use self::multiply::multiply;
#[cfg(target_arch = "x86_64")]
use self::tiles::Tiles;
use super::form::Grid;
use crate::cpu::linear::{GROUP, Linear};
use crate::cpu::{Shared, rows_per_chunk};
use crate::pool::parallel_for;
use crate::simd::{Level, level};

/// Inputs that share a step, at least.
const STRETCH: usize = 32;
/// Rows from which on tile registers are faster than vectors.
const MIN_TILE_ROWS: usize = 8;
/// Rows whose sums with a group are held at a time.
const ROWS: usize = 16;

/// The instructions that multiply bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instructions {
    /// Those of any processor.
    Plain,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Pairs256,
    /// AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    Vnni256,
    /// AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    Vnni512,
    /// Tile registers (AMX).
    #[cfg(target_arch = "x86_64")]
    Tiles,
}

impl Instructions {
    /// All that this processor has, the best last.
    fn all() -> Vec<Self> {
        let mut all = vec![Self::Plain];
        #[cfg(target_arch = "x86_64")]
        if level() != Level::Portable {
            let is_wide = level() == Level::Avx512 && is_x86_feature_detected!("avx512vnni");
            all.push(Self::Pairs256);
            all.extend(is_x86_feature_detected!("avxvnni").then_some(Self::Vnni256));
            all.extend(is_wide.then_some(Self::Vnni512));
            all.extend((is_wide && tiles::has_tiles()).then_some(Self::Tiles));
        }
        all
    }

    /// The fastest for this many rows.
    fn best(num_rows: usize) -> Self {
        // Looked up once: a question to the processor may take microseconds on a virtual one.
        static FEW_AND_MANY: OnceLock<[Instructions; 2]> = OnceLock::new();
        let [few, many] = *FEW_AND_MANY.get_or_init(|| {
            let best = Self::all().pop().unwrap_or(Self::Plain);
            #[cfg(target_arch = "x86_64")]
            if best == Self::Tiles {
                return [Self::Vnni512, best];
            }
            [best; 2]
        });
        if num_rows < MIN_TILE_ROWS { few } else { many }
    }
}

/// A product with its activations rounded.
#[derive(Clone, Copy)]
pub(super) struct Call {
    linear: Linear,
    grid: Grid,
    instructions: Instructions,
    /// What the codes of four bits stand for, in units of `unit`.
    table: [i8; 16],
    unit: f32,
    /// Groups of a stretch.
    stretch_groups: usize,
    /// Bytes of the codes of a row: an odd number of cache lines, so that rows do not displace each
    /// other.
    row_bytes: usize,
    /// \[rows filled up to 16, `row_bytes`\]
    codes: usize,
    /// \[rows, stretches\] `f32`
    steps: usize,
    /// \[rows, groups\] `f32`: the sums of the codes of each group.
    sums: usize,
    /// The same times -128, `i32`.
    starts: usize,
}

impl Call {
    /// That of a form whose numbers fit into bytes.
    ///
    /// # Safety
    /// The form's table is live.
    pub(super) unsafe fn new(args: &Linear, grid: Grid) -> Option<Self> {
        // SAFETY: the caller's promise.
        let (table, unit) = unsafe { grid.bytes() }?;
        let lines = grid.num_inputs().div_ceil(64);
        Some(Self {
            linear: *args,
            grid,
            instructions: Instructions::best(args.num_rows),
            table,
            unit,
            stretch_groups: (STRETCH / grid.group_size).max(1),
            row_bytes: (lines | 1) * 64,
            codes: 0,
            steps: 0,
            sums: 0,
            starts: 0,
        })
    }

    /// Words that a call takes beside its arguments.
    pub(super) fn scratch_len(&self) -> usize {
        let num_rows = self.linear.num_rows;
        self.codes_len() + num_rows * (self.num_stretches() + 2 * self.grid.num_groups)
    }

    fn codes_len(&self) -> usize {
        self.linear.num_rows.next_multiple_of(ROWS) * self.row_bytes / size_of::<f32>()
    }

    fn num_stretches(&self) -> usize {
        self.grid.num_groups.div_ceil(self.stretch_groups)
    }

    /// The groups of a stretch; the last may have fewer.
    fn groups(&self, stretch: usize) -> Range<usize> {
        let first = stretch * self.stretch_groups;
        first..self.grid.num_groups.min(first + self.stretch_groups)
    }

    /// The codes of a row with a group.
    fn codes(&self, row: usize, group: usize) -> *mut u8 {
        (self.codes as *mut u8).wrapping_add(row * self.row_bytes + group * self.grid.group_size)
    }

    fn step(&self, row: usize, stretch: usize) -> *mut f32 {
        (self.steps as *mut f32).wrapping_add(row * self.num_stretches() + stretch)
    }

    fn sum(&self, row: usize, group: usize) -> *mut f32 {
        (self.sums as *mut f32).wrapping_add(row * self.grid.num_groups + group)
    }

    fn start(&self, row: usize, group: usize) -> *mut i32 {
        (self.starts as *mut i32).wrapping_add(row * self.grid.num_groups + group)
    }

    /// Rounds the activations, then multiplies them.
    ///
    /// # Safety
    /// As for [`super::linear_in`]; the memory holds [`Call::scratch_len`] words.
    pub(super) unsafe fn run(mut self, memory: *mut f32) {
        self.codes = memory as usize;
        self.steps = self.codes + self.codes_len() * size_of::<f32>();
        self.sums = self.step(self.linear.num_rows, 0) as usize;
        self.starts = self.sum(self.linear.num_rows, 0) as usize;
        let args = &self.linear;
        let shared = Shared(self);
        // SAFETY: the caller's promise; ranges do not overlap.
        unsafe {
            parallel_for(args.num_rows, rows_per_chunk(4 * args.num_inputs), &|rows| {
                round::run(shared.get(), rows);
            });
            parallel_for(args.num_groups(GROUP), args.groups_per_chunk(GROUP, args.num_rows), &|groups| {
                run_multiply(shared.get(), groups);
            });
        }
    }
}

/// Multiplies all rows with some groups of tiles.
unsafe fn run_multiply(call: &Call, groups: Range<usize>) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn pairs256(call: &Call, groups: Range<usize>) {
        // SAFETY: the instructions are enabled here; the rest is the caller's promise, as below.
        unsafe { multiply::<Pairs256>(call, groups) }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    unsafe fn vnni256(call: &Call, groups: Range<usize>) {
        // SAFETY: as above.
        unsafe { multiply::<Vnni256>(call, groups) }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn vnni512(call: &Call, groups: Range<usize>) {
        // SAFETY: as above.
        unsafe { multiply::<Vnni512>(call, groups) }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn tiles(call: &Call, groups: Range<usize>) {
        // SAFETY: as above.
        unsafe {
            let _loaded = tiles::shapes(call).load();
            multiply::<Tiles>(call, groups);
        }
    }
    // SAFETY: the processor has the instructions.
    unsafe {
        match call.instructions {
            Instructions::Plain => multiply::<Plain>(call, groups),
            #[cfg(target_arch = "x86_64")]
            Instructions::Pairs256 => pairs256(call, groups),
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni256 => vnni256(call, groups),
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni512 => vnni512(call, groups),
            #[cfg(target_arch = "x86_64")]
            Instructions::Tiles => tiles(call, groups),
        }
    }
}
