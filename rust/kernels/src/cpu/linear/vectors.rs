//! Products in vector registers: rows of sums, with the outputs along the lanes.

use std::ops::Range;

use super::ahead::{Ahead, MIN_SPREAD_ROWS, Near, Spread, fetch, tile_len};
use super::product::Product;
use super::{Linear, PAIR, TILE, store_columns};
use crate::cpu::gated::activated;
use crate::element::{Bf16, Element};
use crate::parts::part;
use crate::simd::{MAX_LANES, Vector};

/// Bytes of tiles that all rows take before the next tiles: half of a second cache of a megabyte.
const MAX_TILES_BYTES: usize = 512 << 10;
/// Two vectors of outputs for each of some rows, in each of some tiles.
type Sums<P, const R: usize, const T: usize> = [[[<P as Product>::Sum; 2]; R]; T];

/// All rows with some pairs of tiles: neighbours, or a gate and what it multiplies.
///
/// # Safety
/// As for [`linear`](super::linear), and the processor has the instructions of `P`.
#[inline(always)]
pub(super) unsafe fn run_pairs<P: Product>(args: &Linear, pairs: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe {
        if args.num_rows < MIN_SPREAD_ROWS {
            run_ahead::<P, Near>(args, pairs);
        } else {
            run_ahead::<P, Spread>(args, pairs);
        }
    }
}

#[inline(always)]
unsafe fn run_ahead<P: Product, A: Ahead>(args: &Linear, pairs: Range<usize>) {
    let num_tiles = args.num_outputs.div_ceil(TILE);
    let tile_bytes = tile_len::<P>(args) * size_of::<u32>();
    let at_once = (MAX_TILES_BYTES / tile_bytes.max(1)).next_multiple_of(PAIR).clamp(PAIR, A::MAX_TILES);
    if args.activation > 0 {
        let at_once = at_once / PAIR;
        for first in pairs.clone().step_by(at_once) {
            // SAFETY: the tiles lie inside the tensors that the caller of `linear` vouches for;
            // likewise below.
            unsafe { all_gated_rows::<P, A>(args, first..pairs.end.min(first + at_once)) };
        }
        return;
    }
    let tiles = pairs.start * PAIR..num_tiles.min(pairs.end * PAIR);
    for first in tiles.clone().step_by(at_once) {
        // SAFETY: see above.
        unsafe { all_rows::<P, A>(args, first..tiles.end.min(first + at_once)) };
    }
}

#[inline(always)]
unsafe fn all_rows<P: Product, A: Ahead>(args: &Linear, tiles: Range<usize>) {
    let num_blocks = args.num_rows.div_ceil(P::TILE_ROWS);
    for block in 0..num_blocks {
        let held = part(args.num_rows, block, num_blocks);
        let tiles = tiles.clone();
        let ahead = A::of::<P>(args, tiles.len(), block, num_blocks);
        // SAFETY: the caller's promise.
        unsafe {
            match held.len() {
                8 => rows::<P, A, 8, 1>(args, tiles, held.start, ahead),
                7 => rows::<P, A, 7, 1>(args, tiles, held.start, ahead),
                6 if P::MAX_SUMS < 24 => rows::<P, A, 6, 1>(args, tiles, held.start, ahead),
                6 => rows::<P, A, 6, 2>(args, tiles, held.start, ahead),
                5 => rows::<P, A, 5, 2>(args, tiles, held.start, ahead),
                4 => rows::<P, A, 4, 2>(args, tiles, held.start, ahead),
                3 => rows::<P, A, 3, 2>(args, tiles, held.start, ahead),
                2 => rows::<P, A, 2, 2>(args, tiles, held.start, ahead),
                _ => rows::<P, A, 1, 4>(args, tiles, held.start, ahead),
            }
        }
    }
}

/// `R` rows of some tiles, `T` at a time.
#[inline(always)]
unsafe fn rows<P: Product, A: Ahead, const R: usize, const T: usize>(
    args: &Linear,
    tiles: Range<usize>,
    first_row: usize,
    ahead: A,
) {
    let mut tile = tiles.start;
    // SAFETY: the caller's rows and tiles lie inside their tensors.
    unsafe {
        while tile + T <= tiles.end {
            plain_block::<P, A, R, T>(args, tile, first_row, ahead);
            tile += T;
        }
        while T > PAIR && tile + PAIR <= tiles.end {
            plain_block::<P, A, R, PAIR>(args, tile, first_row, ahead);
            tile += PAIR;
        }
        while tile < tiles.end {
            plain_block::<P, A, R, 1>(args, tile, first_row, ahead);
            tile += 1;
        }
    }
}

/// All rows with some tiles of gates and the tiles that they multiply.
#[inline(always)]
unsafe fn all_gated_rows<P: Product, A: Ahead>(args: &Linear, tiles: Range<usize>) {
    let most = P::TILE_ROWS.min(P::MAX_SUMS / (2 * PAIR));
    let num_blocks = args.num_rows.div_ceil(most);
    for block in 0..num_blocks {
        let held = part(args.num_rows, block, num_blocks);
        let tiles = tiles.clone();
        let ahead = A::of::<P>(args, tiles.len(), block, num_blocks);
        // SAFETY: the caller's promise.
        unsafe {
            match held.len() {
                6 => gated_rows::<P, A, 6, 2>(args, tiles, held.start, ahead),
                5 => gated_rows::<P, A, 5, 2>(args, tiles, held.start, ahead),
                4 => gated_rows::<P, A, 4, 2>(args, tiles, held.start, ahead),
                3 => gated_rows::<P, A, 3, 2>(args, tiles, held.start, ahead),
                2 => gated_rows::<P, A, 2, 2>(args, tiles, held.start, ahead),
                _ => gated_rows::<P, A, 1, 4>(args, tiles, held.start, ahead),
            }
        }
    }
}

/// `R` rows of some gates and what they multiply, `T` tiles of both at a time.
#[inline(always)]
unsafe fn gated_rows<P: Product, A: Ahead, const R: usize, const T: usize>(
    args: &Linear,
    tiles: Range<usize>,
    first_row: usize,
    ahead: A,
) {
    let mut tile = tiles.start;
    // SAFETY: the caller's rows and tiles lie inside their tensors.
    unsafe {
        while tile + T / 2 <= tiles.end {
            gated_block::<P, A, R, T>(args, tile, first_row, ahead);
            tile += T / 2;
        }
        while tile < tiles.end {
            gated_block::<P, A, R, 2>(args, tile, first_row, ahead);
            tile += 1;
        }
    }
}

/// Half of `T` tiles of gates and the tiles that they multiply, of `R` rows.
#[inline(always)]
unsafe fn gated_block<P: Product, A: Ahead, const R: usize, const T: usize>(
    args: &Linear,
    tile: usize,
    first_row: usize,
    ahead: A,
) {
    let num_gates = args.num_outputs / 2 / TILE;
    for part in (0..TILE).step_by(2 * P::Sum::LANES) {
        // SAFETY: the caller's rows and tiles lie inside their tensors.
        unsafe {
            let tiles = std::array::from_fn(|t| tile + t % (T / 2) + t / (T / 2) * num_gates);
            let sums = block::<P, A, R, T>(args, tiles, part, first_row, ahead);
            store_gated::<P, R, T>(args, &sums, tile * TILE + part, first_row);
        }
    }
}

/// `T` neighbouring tiles of `R` rows.
#[inline(always)]
unsafe fn plain_block<P: Product, A: Ahead, const R: usize, const T: usize>(
    args: &Linear,
    tile: usize,
    first_row: usize,
    ahead: A,
) {
    for part in (0..TILE).step_by(2 * P::Sum::LANES) {
        let output = tile * TILE + part;
        // SAFETY: the caller's rows and tiles lie inside their tensors.
        unsafe {
            let sums = block::<P, A, R, T>(args, std::array::from_fn(|t| tile + t), part, first_row, ahead);
            if (tile + T) * TILE <= args.num_outputs {
                store::<P, R, T>(args, &sums, output, first_row);
            } else {
                store_some::<P, R, T>(args, &sums, output, first_row);
            }
        }
    }
}

/// The sums of some tiles and `R` rows, two vectors of outputs from `part` on.
#[inline(always)]
unsafe fn block<P: Product, A: Ahead, const R: usize, const T: usize>(
    args: &Linear,
    tiles: [usize; T],
    part: usize,
    first_row: usize,
    ahead: A,
) -> Sums<P, R, T> {
    let tile_len = tile_len::<P>(args);
    // SAFETY: the caller's rows and tiles lie inside their tensors.
    unsafe {
        let tiles = tiles.map(|tile| (args.packed as *const u32).add(tile * tile_len + part));
        let x = (args.x as *const P::Number).add(first_row * args.x_stride);
        let mut sums = [[[P::Sum::splat(0.0); 2]; R]; T];
        for pair in 0..args.num_inputs.div_ceil(2) {
            let x = x.add(2 * pair);
            let distance = ahead.distance::<P>(pair);
            for (tile, sums) in tiles.iter().zip(&mut sums) {
                let weights = tile.add(pair * TILE * P::WORDS);
                fetch::<P>(tile.wrapping_byte_add(distance));
                let (first, second) = (P::weights(weights), P::weights(weights.add(P::Sum::LANES)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let numbers = P::numbers(x.add(row * args.x_stride));
                    sums[0] = P::add(sums[0], first, numbers);
                    sums[1] = P::add(sums[1], second, numbers);
                }
            }
        }
        sums
    }
}

/// Writes sums of whole tiles.
///
/// The loop over them does nothing else, so that it is unrolled: a compiler that has to find a sum
/// by its number keeps them all in memory, and writes them there at each addition.
#[inline(always)]
unsafe fn store<P: Product, const R: usize, const T: usize>(
    args: &Linear,
    sums: &Sums<P, R, T>,
    first_output: usize,
    first_row: usize,
) {
    let lanes = P::Sum::LANES;
    // SAFETY: the rows have these outputs.
    unsafe {
        let target = (args.output as *mut f32).add(first_row * args.output_stride + first_output);
        for (t, sums) in sums.iter().enumerate() {
            for (row, sums) in sums.iter().enumerate() {
                let target = target.add(row * args.output_stride + t * TILE);
                sums[0].store(target);
                sums[1].store(target.add(lanes));
            }
        }
        if args.bias == 0 {
            return;
        }
        for t in 0..T {
            let bias = (args.bias as *const f32).add(first_output + t * TILE);
            for row in 0..R {
                let target = target.add(row * args.output_stride + t * TILE);
                for lane in 0..2 * lanes {
                    *target.add(lane) += *bias.add(lane);
                }
            }
        }
    }
}

/// The sums in memory, where they can be found by their numbers.
#[inline(always)]
unsafe fn spread<P: Product, const R: usize, const T: usize>(
    sums: &Sums<P, R, T>,
) -> [[[[f32; MAX_LANES]; 2]; R]; T] {
    let mut lanes = [[[[0.0; MAX_LANES]; 2]; R]; T];
    for (lanes, sums) in lanes.iter_mut().zip(sums) {
        for (lanes, sums) in lanes.iter_mut().zip(sums) {
            // SAFETY: `lanes` holds the widest vectors.
            unsafe {
                sums[0].store(lanes[0].as_mut_ptr());
                sums[1].store(lanes[1].as_mut_ptr());
            }
        }
    }
    lanes
}

/// Writes the sums of outputs that there are.
#[inline(always)]
unsafe fn store_some<P: Product, const R: usize, const T: usize>(
    args: &Linear,
    sums: &Sums<P, R, T>,
    first_output: usize,
    first_row: usize,
) {
    // SAFETY: the rows have the outputs that are written.
    unsafe {
        for (t, lanes) in spread::<P, R, T>(sums).iter().enumerate() {
            for (row, halves) in lanes.iter().enumerate() {
                for (half, lanes) in halves.iter().enumerate() {
                    let output = first_output + t * TILE + half * P::Sum::LANES;
                    let len = P::Sum::LANES.min(args.num_outputs.saturating_sub(output));
                    store_columns(args, first_row + row, output, &lanes[..len]);
                }
            }
        }
    }
}

/// Writes what the sums of gates multiply, activated.
#[inline(always)]
unsafe fn store_gated<P: Product, const R: usize, const T: usize>(
    args: &Linear,
    sums: &Sums<P, R, T>,
    first_output: usize,
    first_row: usize,
) {
    // SAFETY: the rows have these outputs, and the bias has them twice.
    unsafe {
        let lanes = spread::<P, R, T>(sums);
        let (gates, ups) = lanes.split_at(T / 2);
        for (t, (gates, ups)) in gates.iter().zip(ups).enumerate() {
            for (row, (gates, ups)) in gates.iter().zip(ups).enumerate() {
                for half in 0..2 {
                    let output = first_output + t * TILE + half * P::Sum::LANES;
                    let mut gate = P::Sum::load(gates[half].as_ptr());
                    let mut up = P::Sum::load(ups[half].as_ptr());
                    if args.bias != 0 {
                        let bias = (args.bias as *const f32).add(output);
                        gate = gate.add(P::Sum::load(bias));
                        up = up.add(P::Sum::load(bias.add(args.num_outputs / 2)));
                    }
                    let place = (first_row + row) * args.output_stride + output;
                    let active = activated(args.activation - 1, gate, up);
                    active.store((args.output as *mut f32).add(place));
                    if args.rounded != 0 {
                        let place = (first_row + row) * args.num_outputs / 2 + output;
                        Bf16::store(active, (args.rounded as *mut Bf16).add(place));
                    }
                }
            }
        }
    }
}
