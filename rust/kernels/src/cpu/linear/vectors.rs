//! Products in vector registers: rows of sums, with the outputs along the lanes.

use std::ops::Range;

use super::product::Product;
use super::{GROUP, Linear, TILE, num_pairs, store_columns};
use crate::simd::MAX_LANES;

/// All rows with some groups of tiles.
///
/// # Safety
/// As for [`linear`](super::linear), and the processor has the instructions of `P`.
#[inline(always)]
pub(super) unsafe fn run_groups<P: Product>(args: &Linear, groups: Range<usize>) {
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
    let tile_len = num_pairs(args.num_inputs, P::WORDS == 2) * TILE * P::WORDS;
    // SAFETY: the caller's rows and tiles lie inside their tensors.
    unsafe {
        let weights = (args.packed as *const u32).add(tile * tile_len);
        let x = (args.x as *const P::Number).add(first_row * args.x_stride);
        for part in (0..TILE).step_by(2 * P::LANES) {
            let mut sums = [[[P::zero(); 2]; R]; T];
            for pair in 0..args.num_inputs.div_ceil(2) {
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
                let mut lanes = [0.0; MAX_LANES];
                P::store(*sum, lanes.as_mut_ptr());
                store_columns(args, first_row + row, output, &lanes[..len]);
            }
        }
    }
}
