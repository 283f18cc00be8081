//! One block of rows with some tiles of outputs, which are written as they are.

use std::arch::x86_64::*;
use std::ops::Range;

use super::Step;
use super::registers::{Sums, few_rows, first_rows, other_rows};
use crate::cpu::linear::{TILE, store_columns};
use crate::cpu::tile_registers::{Place, ROWS, zero_sums};

/// Multiplies a block of rows with some tiles of outputs.
///
/// # Safety
/// The registers have the shapes of such a block, and the tiles lie inside the tensors that the
/// caller of `linear` vouches for; likewise below.
pub(super) unsafe fn multiply(step: &Step, block: usize, tiles: Range<usize>, sums: &mut Sums) {
    // SAFETY: the caller's promise.
    unsafe {
        if step.num_rows <= ROWS {
            for tile in tiles.clone().step_by(2) {
                few(step, block, [tile, (tile + 1).min(tiles.end - 1)], sums);
            }
        } else {
            tiles.for_each(|tile| many(step, block, tile, sums));
        }
    }
}

unsafe fn many(step: &Step, block: usize, tile: usize, sums: &mut Sums) {
    step.claim(block, tile);
    // SAFETY: the caller's promise.
    unsafe {
        zero_sums();
        if block == 0 {
            first_rows(step, block, tile, 0..step.num_steps);
        } else {
            other_rows(step, block, tile, 0..step.num_steps);
        }
        if is_plain(step, tile) {
            let (first, step) = (step.output(block, 0, tile).cast::<u8>(), step.output_bytes());
            Place::stacked(first, step).store();
        } else {
            sums.place().store();
            store(step, block, tile, &sums.0);
        }
    }
}

unsafe fn few(step: &Step, block: usize, tiles: [usize; 2], sums: &mut Sums) {
    let [tile, next] = tiles;
    step.claim(block, tile);
    // SAFETY: the caller's promise.
    unsafe {
        zero_sums();
        few_rows(step, block, tiles, 0..step.num_steps);
        if is_plain(step, next) {
            let [first, second] = tiles.map(|tile| step.output(block, 0, tile).cast());
            Place { first, second, step: step.output_bytes() }.store();
            return;
        }
        sums.place().store();
        store(step, block, tile, &sums.0);
        if next > tile {
            store(step, block, next, &sums.0[ROWS..]);
        }
    }
}

/// Whether sums are the outputs: without a bias, a whole tile needs nothing more.
fn is_plain(step: &Step, tile: usize) -> bool {
    step.linear.bias == 0 && (tile + 1) * TILE <= step.linear.num_outputs
}

/// Writes the sums of a block's rows, with the bias.
#[target_feature(enable = "avx512f")]
unsafe fn store(step: &Step, block: usize, tile: usize, sums: &[[f32; TILE]]) {
    let args = &step.linear;
    let column = tile * TILE;
    let len = TILE.min(args.num_outputs - column);
    for (row, sums) in sums[..step.num_rows].iter().enumerate() {
        // SAFETY: the caller's promise: the row has `len` more outputs.
        unsafe {
            if len < TILE {
                store_columns(args, step.first_row(block) + row, column, &sums[..len]);
                continue;
            }
            let target = step.output(block, row, tile);
            for half in [0, ROWS] {
                let mut sum = _mm512_load_ps(sums.as_ptr().add(half));
                if args.bias != 0 {
                    sum = _mm512_add_ps(sum, _mm512_loadu_ps((args.bias as *const f32).add(column + half)));
                }
                _mm512_storeu_ps(target.add(half), sum);
            }
        }
    }
}
