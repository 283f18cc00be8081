//! Tiles of outputs: integer sums of a stretch, then their scales and steps.

use std::ops::Range;

use super::dot::{Dot, QUAD};
use super::{Call, ROWS, STRETCH};
use crate::cpu::linear::ahead::fetch_near;
use crate::cpu::linear::{GROUP, TILE, store_at};
use crate::cpu::scratch;
use crate::simd::{Decode, Vector};

/// Rows whose totals with a tile are held at a time.
const MAX_ROWS: usize = 128;
/// The largest group, and so the longest stretch.
const MAX_STRETCH: usize = 128;
/// Groups of a stretch, at most.
const MAX_GROUPS: usize = STRETCH / 16;

/// The integer part of a product: all vectors of [`Dot`], and tile registers.
pub(super) trait Multiply {
    /// Looks up codes of four bits, and scales sums.
    type Dot: Dot;

    /// Sums of the products of some rows, at most [`ROWS`], with a tile over one group.
    ///
    /// # Safety
    /// The processor has the instructions; the weights are bytes of four inputs of each output in
    /// turn, [`QUAD`] apart.
    unsafe fn add_up(call: &Call, rows: Range<usize>, group: usize, weights: *const u8, sums: &mut Sums);
}

/// Sums of some rows with a tile, over one group.
pub(super) type Sums = [[i32; TILE]; ROWS];

impl<D: Dot> Multiply for D {
    type Dot = D;

    #[inline(always)]
    unsafe fn add_up(call: &Call, rows: Range<usize>, group: usize, weights: *const u8, sums: &mut Sums) {
        let mut row = rows.start;
        while row < rows.end {
            let sums = &mut sums[row - rows.start..];
            // SAFETY: the caller's promise.
            row += unsafe {
                match (rows.end - row).min(D::ROWS) {
                    8.. => add_up_rows::<D, 8>(call, row, group, weights, sums),
                    4.. => add_up_rows::<D, 4>(call, row, group, weights, sums),
                    2.. => add_up_rows::<D, 2>(call, row, group, weights, sums),
                    _ => add_up_rows::<D, 1>(call, row, group, weights, sums),
                }
            };
        }
    }
}

/// The sums of `R` rows, two vectors of outputs at a time; returns `R`.
#[inline(always)]
unsafe fn add_up_rows<D: Dot, const R: usize>(
    call: &Call,
    row: usize,
    group: usize,
    weights: *const u8,
    sums: &mut [[i32; TILE]],
) -> usize {
    // What is looked up has been asked for by then, and other rows find what the first ones did.
    let asks = row == 0 && call.grid.form.bits == 8;
    // SAFETY: the caller's promise.
    unsafe {
        let codes: [*mut u8; R] = std::array::from_fn(|r| call.codes(row + r, group));
        for part in (0..TILE).step_by(2 * D::LANES) {
            // Two arrays of registers: a compiler may leave pairs in memory.
            let mut first: [D; R] = std::array::from_fn(|r| D::start(call.start(row + r, group)));
            let mut second = first;
            for quad in 0..call.grid.group_size / 4 {
                let weights = weights.add(quad * QUAD + 4 * part);
                if asks {
                    fetch_near(weights.cast(), D::LANES);
                }
                let pair = [D::weights(weights), D::weights(weights.add(4 * D::LANES))];
                for r in 0..R {
                    let codes = codes[r].add(4 * quad);
                    first[r] = first[r].add(pair[0], codes);
                    second[r] = second[r].add(pair[1], codes);
                }
            }
            for r in 0..R {
                first[r].store(sums[r][part..].as_mut_ptr());
                second[r].store(sums[r][part + D::LANES..].as_mut_ptr());
            }
        }
    }
    R
}

/// What a thread holds of one tile.
#[repr(C, align(64))]
struct Work {
    /// The numbers of a group in 8 bits.
    bytes: [u8; MAX_STRETCH * TILE],
    /// Of each group of a stretch.
    sums: [Sums; MAX_GROUPS],
    scales: [[f32; TILE]; MAX_GROUPS],
    offsets: [[f32; TILE]; MAX_GROUPS],
    totals: [[f32; TILE]; MAX_ROWS],
}

/// All rows with some groups of tiles.
///
/// # Safety
/// The tiles lie inside the tensors that the caller of `linear` vouches for, and the processor has
/// the instructions.
#[inline(always)]
pub(super) unsafe fn multiply<M: Multiply>(call: &Call, groups: Range<usize>) {
    let args = &call.linear;
    let tiles = groups.start * GROUP..args.num_outputs.div_ceil(TILE).min(groups.end * GROUP);
    // SAFETY: the memory is this thread's, large enough, and any bits are numbers.
    let work = unsafe { &mut *scratch::lines_of_share(size_of::<Work>() / size_of::<f32>()).cast::<Work>() };
    for first in (0..args.num_rows).step_by(MAX_ROWS) {
        let rows = first..args.num_rows.min(first + MAX_ROWS);
        for tile in tiles.clone() {
            work.totals[..rows.len()].fill([0.0; TILE]);
            for stretch in 0..call.num_stretches() {
                // SAFETY: the caller's rows and tiles lie inside their tensors.
                unsafe { add_stretch::<M>(call, tile, rows.clone(), stretch, work) }
            }
            let output = tile * TILE;
            let len = TILE.min(args.num_outputs - output);
            for (row, totals) in rows.clone().zip(&work.totals) {
                // SAFETY: the row has `len` more outputs.
                unsafe { store_at(args, row * args.output_stride + output, output, &totals[..len]) }
            }
        }
    }
}

/// Adds what a stretch comes to.
#[inline(always)]
unsafe fn add_stretch<M: Multiply>(
    call: &Call,
    tile: usize,
    rows: Range<usize>,
    stretch: usize,
    work: &mut Work,
) {
    let groups = call.groups(stretch);
    let mut weights = [std::ptr::null(); MAX_GROUPS];
    for (place, group) in groups.clone().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            weights[place] = numbers::<M::Dot>(call, tile, group, place, &mut work.bytes);
            let (scales, offsets) = (&mut work.scales[place], &mut work.offsets[place]);
            for part in (0..TILE).step_by(M::Dot::LANES) {
                let (scale, offset) = call.grid.scales::<<M::Dot as Dot>::Vector>(tile, group, part);
                scale.mul(<M::Dot as Dot>::Vector::splat(call.unit)).store(scales[part..].as_mut_ptr());
                offset.store(offsets[part..].as_mut_ptr());
            }
        }
    }
    for first in rows.clone().step_by(ROWS) {
        let some = first..rows.end.min(first + ROWS);
        for (place, group) in groups.clone().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { M::add_up(call, some.clone(), group, weights[place], &mut work.sums[place]) }
        }
        // SAFETY: as above.
        unsafe { scale::<<M::Dot as Dot>::Vector>(call, some, first - rows.start, groups.clone(), work) }
    }
}

/// The bytes of a group: as they lie in the weight, or looked up.
#[inline(always)]
unsafe fn numbers<D: Dot>(
    call: &Call,
    tile: usize,
    group: usize,
    place: usize,
    bytes: &mut [u8; MAX_STRETCH * TILE],
) -> *const u8 {
    let words = call.grid.words(tile, group);
    if call.grid.form.bits == 8 {
        return words.cast();
    }
    let size = call.grid.group_size;
    let bytes = bytes[place * size * TILE..].as_mut_ptr();
    for word in 0..size / 8 {
        let words = words.wrapping_add(word * TILE);
        for pair in (0..TILE).step_by(2 * D::LANES) {
            fetch_near(words.wrapping_add(pair), D::LANES);
            for part in [pair, pair + D::LANES] {
                // SAFETY: the caller's promise; the bytes are those of a group.
                unsafe {
                    let target = bytes.add(2 * word * QUAD + 4 * part);
                    D::look_up(words.add(part), &call.table, target);
                }
            }
        }
    }
    bytes
}

/// Adds the sums of a stretch to the totals of some rows, with their scales, offsets and steps.
#[inline(always)]
unsafe fn scale<V: Decode>(
    call: &Call,
    rows: Range<usize>,
    first_total: usize,
    groups: Range<usize>,
    work: &mut Work,
) {
    let stretch = groups.start / call.stretch_groups;
    for part in (0..TILE).step_by(V::LANES) {
        for (place, row) in rows.clone().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let mut sum = V::splat(0.0);
                for (at, group) in groups.clone().enumerate() {
                    let products = V::load_i32(work.sums[at][place][part..].as_ptr());
                    sum = products.fused(V::load(work.scales[at][part..].as_ptr()), sum);
                    if call.grid.has_offsets() {
                        let codes = V::splat(*call.sum(row, group));
                        sum = codes.fused(V::load(work.offsets[at][part..].as_ptr()), sum);
                    }
                }
                let total = work.totals[first_total + place][part..].as_mut_ptr();
                sum.fused(V::splat(*call.step(row, stretch)), V::load(total)).store(total);
            }
        }
    }
}
