//! Products of `bfloat16` by the tile registers of the processor (AMX).
//!
//! A tile register holds 16 rows of 64 bytes. One instruction multiplies a tile of 16 rows of
//! activations with one of 16 outputs, over 32 inputs, and adds the products to a tile of sums:
//!
//! ```text
//!   sum += (x0 w0 + x2 w2 + … + x30 w30) + (x1 w1 + x3 w3 + … + x31 w31)   in turn, in f32
//! ```
//!
//! Numbers too small to be normal count as 0. That is the order for any number of rows: fewer rows
//! are smaller tiles. Registers 0 to 3 are sums, 4 and 5 activations, 6 and 7 weights:
//!
//! ```text
//!   over 16 rows      w6 w7        up to 16 rows     w6 w7 | w6 w7   of two tiles of outputs
//!                x4   s0 s1                     x4   s0 s1 | s2 s3
//!                x5   s2 s3
//! ```
//!
//! With an activation, each tile of the gate is multiplied beside the tile of what it multiplies.
//!
//! Rows are cut into blocks of one size, at most 32, of which the last two may overlap: both
//! compute the same. Activations are copied so that each tile of them is a row of cache lines.

mod blocks;
mod gated;
mod registers;

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;
use std::sync::OnceLock;

use self::gated::Pairs;
use self::registers::Sums;
use super::{GROUP, Linear, TILE, TILE_INPUTS as INPUTS};
use crate::cpu::Shared;
use crate::cpu::tile_registers::{ROW_BYTES, ROWS, Shapes};
use crate::pool::parallel_for;

/// Weights that all blocks of rows are multiplied with before the next: a part of the second cache.
const MAX_GROUP_BYTES: usize = 512 << 10;

/// Returns whether the processor has tile registers for `bfloat16`, and the kernel of the system
/// lets this process use them.
pub(super) fn has_tiles() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("xsave") && {
            // SAFETY: the processor has `xgetbv`.
            unsafe { is_enabled() && is_permitted() }
        }
    })
}

/// # Safety
/// The processor has `xgetbv`.
#[target_feature(enable = "xsave")]
unsafe fn is_enabled() -> bool {
    const TILE_AND_BF16: u32 = 1 << 24 | 1 << 22;
    const STATE: u64 = 0b11 << 17;
    let features = __cpuid_count(7, 0).edx;
    // SAFETY: the caller's promise.
    features & TILE_AND_BF16 == TILE_AND_BF16 && unsafe { _xgetbv(0) } & STATE == STATE
}

/// Asks the kernel of the system for the tile registers, once for the process.
fn is_permitted() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_PRCTL: i64 = 158;
        const REQUEST_PERMISSION: i64 = 0x1023;
        const TILE_DATA: i64 = 18;
        let result: i64;
        // SAFETY: a call of the system that touches no memory of the process.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") REQUEST_PERMISSION,
                in("rsi") TILE_DATA,
                out("rcx") _,
                out("r11") _,
                options(nostack)
            );
        }
        result == 0
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// A product whose activations lie in tiles.
#[derive(Clone, Copy)]
struct Step {
    linear: Linear,
    /// [blocks, `num_steps`, rows of a block, 32] `bfloat16`.
    tiles: *mut u8,
    /// Rows of a block.
    num_rows: usize,
    num_blocks: usize,
    /// Instructions over all inputs.
    num_steps: usize,
}

impl Step {
    /// Returns the first row of a block.
    fn first_row(&self, block: usize) -> usize {
        (block * self.num_rows).min(self.linear.num_rows - self.num_rows)
    }

    fn block(&self, block: usize) -> *mut u8 {
        // SAFETY: the caller of `linear` allocated this many blocks.
        unsafe { self.tiles.add(block * self.num_steps * self.num_rows * ROW_BYTES) }
    }

    fn weights(&self, tile: usize) -> *const u8 {
        (self.linear.packed as *const u8).wrapping_add(tile * self.tile_bytes())
    }

    /// Returns the bytes of the weights of a tile of outputs.
    fn tile_bytes(&self) -> usize {
        self.num_steps * INPUTS * TILE * 2
    }

    /// Returns where the outputs of a row of a block begin that are those of a tile.
    fn output(&self, block: usize, row: usize, tile: usize) -> *mut f32 {
        let place = (self.first_row(block) + row) * self.linear.output_stride + tile * TILE;
        (self.linear.output as *mut f32).wrapping_add(place)
    }

    /// Returns the bytes from one row of the output to the next.
    fn output_bytes(&self) -> usize {
        self.linear.output_stride * size_of::<f32>()
    }

    /// Asks for the cache lines of a block's outputs, so that they are there by the time they are
    /// written.
    fn claim(&self, block: usize, tile: usize) {
        for row in 0..self.num_rows {
            // SAFETY: the instructions write nothing, and any address will do.
            unsafe {
                asm!(
                    "prefetchw [{target}]", "prefetchw [{target} + 64]",
                    target = in(reg) self.output(block, row, tile),
                    options(nostack, preserves_flags)
                );
            }
        }
    }

    /// Calls `multiply` for every block with some tiles, a group of them at a time so that their
    /// weights stay in the second cache. The rows of a block stay in the first one meanwhile:
    /// weights are loaded past it.
    fn each_block(&self, tiles: Range<usize>, mut multiply: impl FnMut(usize, Range<usize>)) {
        let group = (MAX_GROUP_BYTES / self.tile_bytes()).max(2) / tiles_per_output(&self.linear);
        for first in tiles.clone().step_by(group) {
            for block in 0..self.num_blocks {
                multiply(block, first..tiles.end.min(first + group));
            }
        }
    }
}

/// Returns the tiles of the weight that make a tile of the output.
fn tiles_per_output(args: &Linear) -> usize {
    if args.activation == 0 { 1 } else { 2 }
}

/// Returns the blocks of rows, and rows of each.
fn blocks_of(num_rows: usize) -> (usize, usize) {
    let num_blocks = num_rows.div_ceil(2 * ROWS);
    (num_blocks, num_rows.div_ceil(num_blocks.max(1)))
}

/// Returns the words of the tiles that hold some rows of activations.
pub(super) fn tiles_len(num_rows: usize, num_inputs: usize) -> usize {
    let (num_blocks, num_rows) = blocks_of(num_rows);
    num_blocks * num_inputs.div_ceil(INPUTS) * num_rows * ROW_BYTES / size_of::<f32>()
}

/// Multiplies rows with a packed weight; the processor has tile registers. `tiles` has room for
/// [`tiles_len`] words, and begins at a cache line.
///
/// # Safety
/// As for [`linear`](super::linear).
pub(super) unsafe fn linear(args: &Linear, tiles: *mut u8) {
    let num_tiles = args.num_outputs.div_ceil(TILE) / tiles_per_output(args);
    let group = GROUP / tiles_per_output(args);
    let (num_blocks, num_rows) = blocks_of(args.num_rows);
    let num_steps = args.num_inputs.div_ceil(INPUTS);
    let step = Shared(Step { linear: *args, tiles, num_rows, num_blocks, num_steps });
    let work_per_block = args.num_inputs * num_rows;
    let work_per_group = args.num_inputs * GROUP * TILE * (1 + num_blocks / 2);
    // SAFETY: the caller's promise; ranges do not overlap, and the tiles outlive both loops.
    unsafe {
        parallel_for(num_blocks, super::WORK_PER_CHUNK.div_ceil(work_per_block), &|blocks| {
            copy_blocks(step.get(), blocks);
        });
        parallel_for(num_tiles.div_ceil(group), super::WORK_PER_CHUNK.div_ceil(work_per_group), &|groups| {
            multiply(step.get(), groups.start * group..num_tiles.min(groups.end * group));
        });
    }
}

/// Copies the activations of some blocks into tiles.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn copy_blocks(step: &Step, blocks: Range<usize>) {
    let args = &step.linear;
    for block in blocks {
        for row in 0..step.num_rows {
            // SAFETY: the row of `x` has `num_inputs` elements, and the masks keep to them.
            unsafe {
                let x = (args.x as *const f32).add((step.first_row(block) + row) * args.x_stride);
                for k in 0..step.num_steps {
                    let left = args.num_inputs - k * INPUTS;
                    let source = x.add(k * INPUTS);
                    let first = _mm512_maskz_loadu_ps(lanes(left), source);
                    let second =
                        _mm512_maskz_loadu_ps(lanes(left.saturating_sub(16)), source.wrapping_add(16));
                    let pairs = _mm512_cvtne2ps_pbh(second, first);
                    let place = step.block(block).add((k * step.num_rows + row) * ROW_BYTES);
                    _mm512_store_si512(place.cast(), std::mem::transmute::<__m512bh, __m512i>(pairs));
                }
            }
        }
    }
}

fn lanes(count: usize) -> __mmask16 {
    if count >= 16 { 0xffff } else { (1 << count) - 1 }
}

/// The shapes of the registers for blocks of some rows.
fn shapes(num_rows: usize) -> Shapes {
    let first = num_rows.min(ROWS);
    let second = if num_rows > ROWS { num_rows - ROWS } else { first };
    Shapes::new().rows([0, 1, 4], first).rows([2, 3, 5], second)
}

/// Multiplies all rows with some tiles of outputs.
///
/// # Safety
/// The processor has tile registers; the tiles lie inside the tensors that the caller of `linear`
/// vouches for.
unsafe fn multiply(step: &Step, tiles: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe {
        let _loaded = shapes(step.num_rows).load();
        if step.linear.activation == 0 {
            let mut sums = Sums::new();
            step.each_block(tiles, |block, tiles| blocks::multiply(step, block, tiles, &mut sums));
        } else {
            let mut pairs = Pairs::new(step);
            step.each_block(tiles, |block, tiles| pairs.multiply(block, tiles));
            pairs.finish();
        }
    }
}
