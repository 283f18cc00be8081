//! Products by the tile registers of the processor (AMX).
//!
//! The numbers of 16 outputs are widened to `bfloat16`, in the order in which a tile register takes
//! them, and multiplied with up to 16 rows of activations; what a group comes to is then scaled in
//! vectors. For one block of rows the numbers of a few groups are widened at a time, so that they
//! stay in the nearest cache; for several blocks all of them, once.

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use super::product::{narrow_bytes, narrow_codes, narrow_table};
use super::{Call, MAX_ROWS};
use crate::cpu::linear::{GROUP, TILE, store_at};
use crate::cpu::scratch;
use crate::cpu::tile_registers::{ROW_BYTES, Shapes};
use crate::simd::Avx512;

/// Outputs of a tile register.
const HALF: usize = 16;
/// Inputs that are widened at a time for one block of rows.
const CHUNK: usize = 256;

/// The shapes of the registers: 0 and 1 are sums, 4 activations, 6 weights.
fn shapes(call: &Call) -> Shapes {
    Shapes::new().rows(0..8, call.block_rows).row_bytes(4, 2 * call.step).rows([6], call.step / 2)
}

/// All rows with some groups of tiles of outputs.
///
/// # Safety
/// The processor has tile registers; the tiles lie inside the tensors that the caller of `linear`
/// vouches for.
pub(super) unsafe fn multiply(call: &Call, groups: Range<usize>) {
    let num_tiles = call.linear.num_outputs.div_ceil(TILE);
    let tiles = groups.start * GROUP..num_tiles.min(groups.end * GROUP);
    // SAFETY: the caller's promise.
    unsafe {
        let _loaded = shapes(call).load();
        for tile in tiles {
            match call.block_rows {
                1 => by_bits::<1>(call, tile),
                2 => by_bits::<2>(call, tile),
                3..=4 => by_bits::<4>(call, tile),
                5..=8 => by_bits::<8>(call, tile),
                _ => by_bits::<MAX_ROWS>(call, tile),
            }
        }
    }
}

/// # Safety
/// As for [`multiply`]; a block has at most `R` rows.
unsafe fn by_bits<const R: usize>(call: &Call, tile: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if call.grid.form.bits == 4 { all_blocks::<4, R>(call, tile) } else { all_blocks::<8, R>(call, tile) }
    }
}

/// Sums of a block's rows, not yet scaled; those of a few groups in turn.
#[repr(C, align(64))]
struct Sums<const R: usize>([[[f32; HALF]; R]; 4]);

/// All rows with one tile of outputs.
///
/// # Safety
/// As for [`by_bits`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn all_blocks<const BITS: usize, const R: usize>(call: &Call, tile: usize) {
    let grid = &call.grid;
    let is_whole = call.num_blocks > 1;
    let chunk = if is_whole { grid.num_groups } else { CHUNK.div_ceil(grid.group_size) };
    let chunk_bytes = chunk * grid.group_size * 2 * HALF;
    let weights = scratch::lines_of_share(2 * chunk_bytes / size_of::<f32>()).cast::<u8>();
    let halves = [weights, weights.wrapping_add(chunk_bytes)];
    // SAFETY: the caller's promise; the memory holds both halves of a chunk.
    unsafe {
        if is_whole {
            widen::<BITS>(call, tile, 0..grid.num_groups, halves);
        }
        let mut sums = Sums([[[0.0; HALF]; R]; 4]);
        for block in 0..call.num_blocks {
            let mut totals = [[_mm512_setzero_ps(); R]; 2];
            for first in (0..grid.num_groups).step_by(chunk) {
                let groups = first..grid.num_groups.min(first + chunk);
                if !is_whole {
                    widen::<BITS>(call, tile, groups.clone(), halves);
                }
                for half in 0..2 {
                    add_groups(
                        call,
                        tile,
                        block,
                        half,
                        groups.clone(),
                        halves[half],
                        &mut totals[half],
                        &mut sums,
                    );
                }
            }
            store(call, tile, block, &totals);
        }
    }
}

/// Widens the numbers of some groups of a tile, each half by itself.
#[inline(always)]
unsafe fn widen<const BITS: usize>(call: &Call, tile: usize, groups: Range<usize>, halves: [*mut u8; 2]) {
    let grid = &call.grid;
    let group_words = grid.group_size * BITS / 32;
    // SAFETY: the caller's promise.
    unsafe {
        let table =
            if BITS == 4 { narrow_table(grid.form.table as *const f32) } else { _mm512_setzero_si512() };
        let pairs = 16 / BITS;
        for group in groups.clone() {
            let first = (group - groups.start) * group_words * pairs * ROW_BYTES;
            let words = grid.words(tile, group);
            for word in 0..group_words {
                for (half, target) in halves.into_iter().enumerate() {
                    let words = words.add(word * TILE + half * HALF);
                    let target = target.add(first + word * pairs * ROW_BYTES).cast::<__m512i>();
                    if BITS == 4 {
                        _mm512_store_si512(target, narrow_codes::<0>(words, table));
                        _mm512_store_si512(target.add(1), narrow_codes::<4>(words, table));
                        _mm512_store_si512(target.add(2), narrow_codes::<8>(words, table));
                        _mm512_store_si512(target.add(3), narrow_codes::<12>(words, table));
                    } else {
                        _mm512_store_si512(target, narrow_bytes::<24, 8>(words));
                        _mm512_store_si512(target.add(1), narrow_bytes::<16, 0>(words));
                    }
                }
            }
        }
    }
}

/// Adds some groups of 16 outputs to the totals of a block.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn add_groups<const R: usize>(
    call: &Call,
    tile: usize,
    block: usize,
    half: usize,
    groups: Range<usize>,
    weights: *const u8,
    totals: &mut [__m512; R],
    sums: &mut Sums<R>,
) {
    let grid = &call.grid;
    let group_bytes = grid.group_size * 2 * HALF;
    let mut held = *totals;
    // SAFETY: the caller's promise.
    unsafe {
        for group in groups.clone() {
            let sums = &mut sums.0[group % 4];
            multiply_group(
                call,
                call.x::<u16>(block, group * grid.group_size).cast(),
                weights.add((group - groups.start) * group_bytes),
                sums.as_mut_ptr().cast(),
            );
            let (scale, offset) = grid.scales::<Avx512>(tile, group, half * HALF);
            for (total, sums) in held.iter_mut().zip(sums.iter()) {
                *total = _mm512_fmadd_ps(_mm512_load_ps(sums.as_ptr()), scale.into(), *total);
            }
            if grid.has_offsets() {
                for (row, total) in held.iter_mut().enumerate().take(call.block_rows) {
                    let sum = _mm512_set1_ps(*call.sums(block, row).add(group));
                    *total = _mm512_fmadd_ps(sum, offset.into(), *total);
                }
            }
        }
    }
    *totals = held;
}

/// The sums of a block over one group.
#[inline(always)]
unsafe fn multiply_group(call: &Call, x: *const u8, weights: *const u8, sums: *mut u8) {
    let row_bytes = 2 * call.step;
    // SAFETY: the caller's promise; the registers have the shapes of the call.
    unsafe {
        asm!(
            "tilezero tmm0",
            "2:",
            "tileloadd tmm4, [{x} + {row}]",
            "tileloadd tmm6, [{weights} + {pair}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "add {x}, {x_step}",
            "add {weights}, {weights_step}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {pair}], tmm0",
            x = inout(reg) x => _,
            weights = inout(reg) weights => _,
            steps = inout(reg) call.grid.group_size / call.step => _,
            sums = in(reg) sums,
            pair = in(reg) ROW_BYTES,
            row = in(reg) row_bytes,
            x_step = in(reg) row_bytes * call.block_rows,
            weights_step = in(reg) call.step / 2 * ROW_BYTES,
            out("tmm0") _, out("tmm4") _, out("tmm6") _,
            options(nostack)
        );
    }
}

/// Writes the totals of a block's rows, with the bias.
#[inline(always)]
unsafe fn store<const R: usize>(call: &Call, tile: usize, block: usize, totals: &[[__m512; R]; 2]) {
    let args = &call.linear;
    for (half, totals) in totals.iter().enumerate() {
        let output = tile * TILE + half * HALF;
        if output >= args.num_outputs {
            continue;
        }
        let len = HALF.min(args.num_outputs - output);
        for (row, total) in totals.iter().enumerate().take(call.block_rows) {
            let place = (call.first_row(block) + row) * args.output_stride + output;
            // SAFETY: the caller's promise: the row has `len` more outputs.
            unsafe {
                let mut lanes = [0.0; HALF];
                _mm512_storeu_ps(lanes.as_mut_ptr(), *total);
                store_at(args, place, output, &lanes[..len]);
            }
        }
    }
}
