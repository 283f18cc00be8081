//! Products in vector registers: rows of sums, with the outputs along the lanes.

use std::ops::Range;

use super::Call;
use super::product::Product;
use crate::cpu::linear::ahead::fetch_near;
use crate::cpu::linear::{GROUP, TILE, store_at};
use crate::simd::{MAX_LANES, Vector};

/// Two vectors of outputs for each of some rows.
type Sums<P, const R: usize> = [[<P as Product>::Sum; 2]; R];

/// All rows with some groups of tiles.
///
/// # Safety
/// As for [`linear`](super::linear), and the processor has the instructions of `P`.
#[inline(always)]
pub(super) unsafe fn run_groups<P: Product>(call: &Call, groups: Range<usize>) {
    let num_tiles = call.linear.num_outputs.div_ceil(TILE);
    for group in groups {
        let tiles = group * GROUP..num_tiles.min((group + 1) * GROUP);
        let mut row = 0;
        while row < call.linear.num_rows {
            // SAFETY: the rows and tiles lie inside the tensors that the caller of `linear` vouches
            // for.
            row += unsafe {
                match (call.linear.num_rows - row).min(P::ROWS) {
                    8.. => rows::<P, 8, 1>(call, tiles.clone(), row),
                    4.. => rows::<P, 4, 1>(call, tiles.clone(), row),
                    2.. => rows::<P, 2, 2>(call, tiles.clone(), row),
                    _ => rows::<P, 1, 4>(call, tiles.clone(), row),
                }
            };
        }
    }
}

/// `R` rows of some tiles, `T` at a time; returns `R`.
#[inline(always)]
unsafe fn rows<P: Product, const R: usize, const T: usize>(
    call: &Call,
    tiles: Range<usize>,
    first_row: usize,
) -> usize {
    let mut tile = tiles.start;
    let is_narrow = call.grid.form.bits == 4;
    // SAFETY: the caller's rows and tiles lie inside their tensors.
    unsafe {
        while tile < tiles.end {
            let num_tiles = if tile + T <= tiles.end { T } else { 1 };
            match (num_tiles == T, is_narrow) {
                (true, true) => block::<P, 4, R, T>(call, tile, first_row),
                (true, false) => block::<P, 8, R, T>(call, tile, first_row),
                (false, true) => block::<P, 4, R, 1>(call, tile, first_row),
                (false, false) => block::<P, 8, R, 1>(call, tile, first_row),
            }
            tile += num_tiles;
        }
    }
    R
}

/// `T` tiles of `R` rows, two vectors of outputs at a time.
#[inline(always)]
unsafe fn block<P: Product, const BITS: usize, const R: usize, const T: usize>(
    call: &Call,
    tile: usize,
    first_row: usize,
) {
    let lanes = P::Sum::LANES;
    // SAFETY: the caller's rows and tiles lie inside their tensors.
    unsafe {
        let zero = P::Sum::splat(0.0);
        for part in (0..TILE).step_by(2 * lanes) {
            let mut totals: [Sums<P, R>; T] = [[[zero; 2]; R]; T];
            for group in 0..call.grid.num_groups {
                let sums = multiply::<P, BITS, R, T>(call, tile, part, first_row, group);
                for (t, (totals, sums)) in totals.iter_mut().zip(&sums).enumerate() {
                    scale::<P, R>(call, tile + t, part, first_row, group, totals, sums);
                }
            }
            for (t, totals) in totals.iter().enumerate() {
                store::<P, R>(call, totals, (tile + t) * TILE + part, first_row);
            }
        }
    }
}

/// The sums over one group, without its scales.
#[inline(always)]
unsafe fn multiply<P: Product, const BITS: usize, const R: usize, const T: usize>(
    call: &Call,
    tile: usize,
    part: usize,
    first_row: usize,
    group: usize,
) -> [Sums<P, R>; T] {
    let word_inputs = 32 / BITS;
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[[P::Sum::splat(0.0); 2]; R]; T];
        let table = if BITS == 4 {
            P::table(call.grid.form.table as *const f32)
        } else {
            P::table(NO_TABLE.as_ptr())
        };
        let words: [*const u32; T] =
            std::array::from_fn(|t| call.grid.words(tile + t, group).wrapping_add(part));
        let x = call.x::<P::Number>(first_row, group * call.grid.group_size);
        for word in 0..call.grid.group_size / word_inputs {
            if first_row == 0 {
                for words in words {
                    fetch_near(words.wrapping_add(word * TILE), P::Sum::LANES);
                }
            }
            macro_rules! pair {
                ($place:literal, $words:ident => $decode:expr) => {
                    let x = x.add(word * word_inputs + 2 * $place);
                    for (words, sums) in words.iter().zip(&mut sums) {
                        let $words = words.add(word * TILE);
                        let first = $decode;
                        let $words = $words.add(P::Sum::LANES);
                        let second = $decode;
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let numbers = P::numbers(x.add(row * call.step));
                            sums[0] = P::add(sums[0], first, numbers);
                            sums[1] = P::add(sums[1], second, numbers);
                        }
                    }
                };
            }
            if BITS == 4 {
                pair!(0, words => P::codes::<0, 16>(words, table));
                pair!(1, words => P::codes::<4, 20>(words, table));
                pair!(2, words => P::codes::<8, 24>(words, table));
                pair!(3, words => P::codes::<12, 28>(words, table));
            } else {
                pair!(0, words => P::bytes::<24, 8>(words));
                pair!(1, words => P::bytes::<16, 0>(words));
            }
        }
        sums
    }
}

/// Stands for the table of numbers that need none.
static NO_TABLE: [f32; 16] = [0.0; 16];

/// Adds the sums over a group to the totals, with its scales and offsets.
#[inline(always)]
unsafe fn scale<P: Product, const R: usize>(
    call: &Call,
    tile: usize,
    part: usize,
    first_row: usize,
    group: usize,
    totals: &mut Sums<P, R>,
    sums: &Sums<P, R>,
) {
    for half in 0..2 {
        // SAFETY: the caller's promise.
        unsafe {
            let output = part + half * P::Sum::LANES;
            let (scale, offset) = call.grid.scales::<P::Sum>(tile, group, output);
            for (row, (totals, sums)) in totals.iter_mut().zip(sums).enumerate() {
                totals[half] = sums[half].mul_add(scale, totals[half]);
                if call.grid.has_offsets() {
                    let sum = P::Sum::splat(*call.sums(first_row + row, 0).add(group));
                    totals[half] = sum.mul_add(offset, totals[half]);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn store<P: Product, const R: usize>(
    call: &Call,
    totals: &Sums<P, R>,
    first_output: usize,
    first_row: usize,
) {
    for (row, totals) in totals.iter().enumerate() {
        for (half, total) in totals.iter().enumerate() {
            let output = first_output + half * P::Sum::LANES;
            if output >= call.linear.num_outputs {
                continue;
            }
            let len = P::Sum::LANES.min(call.linear.num_outputs - output);
            // SAFETY: the row has `len` more outputs, and `lanes` holds the widest vector.
            unsafe {
                let mut lanes = [0.0; MAX_LANES];
                total.store(lanes.as_mut_ptr());
                let place = (first_row + row) * call.linear.output_stride + output;
                store_at(&call.linear, place, output, &lanes[..len]);
            }
        }
    }
}
