//! Which weights are asked for while others are multiplied.

use super::product::Product;
use super::{GROUP, Linear, PAIR, TILE, num_pairs};
use crate::simd::{MAX_LANES, Vector, prefetch};

/// Bytes ahead of the weights that are read, at which they are asked for while few rows are
/// multiplied: as many as arrive meanwhile.
const NEAR: usize = 4096;
/// Rows whose products take longer than their weights take to arrive. From here on each block of
/// rows asks for its part of the tiles that come next, so that memory is read all the time; of
/// fewer rows the first block asks, and the processor itself foresees more.
pub(super) const MIN_SPREAD_ROWS: usize = 10;
/// The parts of a byte that [`Spread::step`] counts.
const FRACTION: usize = 1 << 16;

/// Where the weights lie that are asked for while others are multiplied.
pub(super) trait Ahead: Copy {
    /// Tiles that all rows take before the next ones, at most.
    const MAX_TILES: usize;
    /// For one of some blocks of rows that are multiplied with some tiles.
    fn of<P: Product>(args: &Linear, num_tiles: usize, block: usize, num_blocks: usize) -> Self;
    /// Bytes from the beginning of a tile, at a pair of inputs.
    fn distance<P: Product>(self, pair: usize) -> usize;
}

/// Shortly behind those that are read.
#[derive(Clone, Copy)]
pub(super) struct Near;

impl Ahead for Near {
    const MAX_TILES: usize = GROUP;

    #[inline(always)]
    fn of<P: Product>(_args: &Linear, _num_tiles: usize, _block: usize, _num_blocks: usize) -> Self {
        Self
    }

    #[inline(always)]
    fn distance<P: Product>(self, pair: usize) -> usize {
        NEAR + pair * pair_bytes::<P>()
    }
}

/// Each block's part of the tiles that come next.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    /// Where it begins.
    first: usize,
    /// What it moves on by at each pair, times [`FRACTION`].
    step: usize,
}

impl Ahead for Spread {
    const MAX_TILES: usize = PAIR;

    #[inline(always)]
    fn of<P: Product>(args: &Linear, num_tiles: usize, block: usize, num_blocks: usize) -> Self {
        let tile_bytes = tile_len::<P>(args) * size_of::<u32>();
        Self {
            first: num_tiles * tile_bytes + block * tile_bytes / num_blocks,
            step: pair_bytes::<P>() * FRACTION / num_blocks,
        }
    }

    #[inline(always)]
    fn distance<P: Product>(self, pair: usize) -> usize {
        self.first + pair * self.step / FRACTION
    }
}

/// Bytes of a pair of inputs in a tile.
const fn pair_bytes<P: Product>() -> usize {
    TILE * P::WORDS * size_of::<u32>()
}

/// Asks for two vectors' pairs.
#[inline(always)]
pub(super) fn fetch<P: Product>(place: *const u32) {
    for word in 0..P::WORDS {
        fetch_vectors(place.wrapping_add(word * TILE), P::Sum::LANES);
    }
}

/// Asks for what lies [`NEAR`] behind two vectors of words.
#[inline(always)]
pub(in crate::cpu) fn fetch_near(words: *const u32, lanes: usize) {
    fetch_vectors(words.wrapping_byte_add(NEAR), lanes);
}

/// Asks for two vectors of words: one cache line, or two of the widest vectors.
#[inline(always)]
fn fetch_vectors(place: *const u32, lanes: usize) {
    prefetch(place);
    if lanes == MAX_LANES {
        prefetch(place.wrapping_add(MAX_LANES));
    }
}

/// Words of a tile.
pub(super) fn tile_len<P: Product>(args: &Linear) -> usize {
    num_pairs(args.num_inputs, P::WORDS == 2) * TILE * P::WORDS
}
