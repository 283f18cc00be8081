//! The products in vectors, by the processor's instruction for pairs of `bfloat16`, which adds the
//! second product of a pair before the first:
//!
//! ```text
//!   score     the even and the odd pairs of elements in turn, apart, from 0; then both added
//!   weighted  the pairs of keys of the tile in turn, from 0
//! ```
//!
//! A score has two parts because one row would wait for each product before the next.

use std::arch::x86_64::*;

use super::{Ahead, Halves, KEY_TILE, Keys, PagedAttention, Products, SIDE, STEP, TILE_LEN, few, many, pack};
use crate::simd::Vector;

/// Keys whose scores with 32 rows are in registers at once.
const KEYS: usize = 4;
/// Elements of a head whose weighted sums of 32 rows are in registers at once.
const ELEMENTS: usize = 8;

/// Vectors of 16 lanes.
pub(super) enum Vectors {}

impl Products for Vectors {
    type Ready = ();

    #[inline(always)]
    unsafe fn ready(_num_rows: usize) {}

    #[inline(always)]
    unsafe fn score_few(tiles: &few::Tiles, keys: Halves, head_dim: usize, ahead: Ahead, num_rows: usize) {
        // SAFETY: the caller's promise, here and below.
        unsafe { score_few(tiles, keys, head_dim, ahead, num_rows) }
    }

    #[inline(always)]
    unsafe fn read_scores(tiles: &few::Tiles, row: usize, scores: &mut [f32; KEY_TILE]) {
        // SAFETY: see above.
        unsafe { *scores = *tiles.scores.add(row * KEY_TILE).cast() }
    }

    #[inline(always)]
    unsafe fn weigh_few<V: Vector>(
        args: &PagedAttention,
        tiles: &few::Tiles,
        keys: &Keys,
        head: usize,
        ahead: Ahead,
        grown: &[f32],
    ) {
        // SAFETY: see above.
        unsafe { weigh_few(args, tiles, keys, head, ahead, grown) }
    }

    #[inline(always)]
    unsafe fn score_many(tiles: &many::Tiles, keys: Halves, query: *const u32, head_dim: usize) {
        // SAFETY: see above.
        unsafe { score_many(keys, query, tiles.weights, head_dim) }
    }

    #[inline(always)]
    unsafe fn prepare_values(_tiles: &many::Tiles, _head_dim: usize) {}

    #[inline(always)]
    unsafe fn weigh_many<V: Vector>(tiles: &many::Tiles, output: *mut f32, head_dim: usize, grown: [V; 2]) {
        let mut factors = [0.0; 2 * SIDE];
        // SAFETY: see above; a vector has as many lanes as a side.
        unsafe {
            grown[0].store(factors.as_mut_ptr());
            grown[1].store(factors.as_mut_ptr().add(SIDE));
            weigh_many(tiles.values, tiles.pairs, output, head_dim, &factors);
        }
    }
}

/// Adds the products of pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn add(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
    // SAFETY: only the type of the 512 bits changes.
    unsafe {
        let pairs = |bits: __m512i| std::mem::transmute::<__m512i, __m512bh>(bits);
        _mm512_dpbf16_ps(sum, pairs(a), pairs(b))
    }
}

/// The same pair in each lane.
///
/// # Safety
/// It is readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn splat(pair: *const u32) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_set1_epi32(unsafe { pair.cast::<i32>().read_unaligned() })
}

/// The scores of two times 16 keys with up to 16 rows, [16 rows, KEY_TILE]: the keys are
/// transposed, so that they lie along the lanes.
///
/// # Safety
/// The tiles have the sizes that their comments say; likewise below.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn score_few(tiles: &few::Tiles, keys: Halves, head_dim: usize, ahead: Ahead, num_rows: usize) {
    let (step, num_parts) = (keys.step / size_of::<u32>(), head_dim / STEP);
    // SAFETY: the caller's promise.
    unsafe {
        let halves = [keys.first, keys.second];
        let num_halves = if keys.is_whole { 2 } else { 1 };
        let pace = ahead.pace(num_halves * num_parts);
        for (half, keys) in halves[..num_halves].iter().enumerate() {
            let transposed = tiles.values.add(half * head_dim / 2 * SIDE);
            for part in 0..num_parts {
                ahead.fetch(pace, half * num_parts + part);
                let target = transposed.add(part * TILE_LEN);
                pack::transpose(keys.add(part * STEP).cast(), step, target, SIDE);
            }
        }
        let mut row = 0;
        while row < num_rows {
            row += match num_rows - row {
                1 => score_rows::<1>(tiles, head_dim, row),
                2 => score_rows::<2>(tiles, head_dim, row),
                3 => score_rows::<3>(tiles, head_dim, row),
                _ => score_rows::<4>(tiles, head_dim, row),
            };
        }
    }
}

/// The scores of `R` rows; returns `R`.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn score_rows<const R: usize>(tiles: &few::Tiles, head_dim: usize, first_row: usize) -> usize {
    let num_pairs = head_dim / 2;
    // SAFETY: the caller's promise.
    unsafe {
        let (keys, query) = (tiles.values, tiles.query.add(first_row));
        let mut sums = [[[_mm512_setzero_ps(); 2]; 2]; R];
        for pair in (0..num_pairs).step_by(2) {
            for odd in 0..2 {
                let place = (pair + odd) * SIDE;
                let first = _mm512_loadu_si512(keys.add(place).cast());
                let second = _mm512_loadu_si512(keys.add(num_pairs * SIDE + place).cast());
                for row in 0..R {
                    let query = splat(query.add(place + row));
                    sums[row][odd][0] = add(sums[row][odd][0], first, query);
                    sums[row][odd][1] = add(sums[row][odd][1], second, query);
                }
            }
        }
        let scores = tiles.scores.add(first_row * KEY_TILE);
        for row in 0..R {
            for half in 0..2 {
                let score = _mm512_add_ps(sums[row][0][half], sums[row][1][half]);
                _mm512_storeu_ps(scores.add(row * KEY_TILE + half * SIDE), score);
            }
        }
    }
    R
}

/// Adds the weighted values of a tile to the output, [rows, head_dim].
///
/// # Safety
/// As above, and the offsets of the keys are those of heads in the cache.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn weigh_few(
    args: &PagedAttention,
    tiles: &few::Tiles,
    keys: &Keys,
    head: usize,
    ahead: Ahead,
    grown: &[f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match *grown {
            [a] => weigh_as_read(args, tiles, keys, head, ahead, [a]),
            [a, b] => weigh_as_read(args, tiles, keys, head, ahead, [a, b]),
            [a, b, c] => weigh_as_read(args, tiles, keys, head, ahead, [a, b, c]),
            [a, b, c, d] => weigh_as_read(args, tiles, keys, head, ahead, [a, b, c, d]),
            _ => {
                ahead.fetch_all();
                pack::values(args, keys, head, tiles.values);
                for (row, grown) in grown.iter().enumerate() {
                    weigh_row(tiles, args.head_dim, row, *grown);
                }
            }
        }
    }
}

/// Adds sums of 32 elements to the output of a row so far, times what its maximum has grown by.
///
/// # Safety
/// The output has as many.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_to(output: *mut f32, grown: __m512, sums: [__m512; 2]) {
    for (half, sum) in sums.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let output = output.add(half * SIDE);
            _mm512_storeu_ps(output, _mm512_fmadd_ps(_mm512_loadu_ps(output), grown, sum));
        }
    }
}

/// The same of `R` rows, values interleaved as they are read.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn weigh_as_read<const R: usize>(
    args: &PagedAttention,
    tiles: &few::Tiles,
    keys: &Keys,
    head: usize,
    ahead: Ahead,
    grown: [f32; R],
) {
    let cache = (args.value_cache as *const u16).wrapping_add(head * args.head_dim);
    // SAFETY: the caller's promise.
    unsafe {
        let num_pairs = keys.count.div_ceil(2);
        let pace = ahead.pace(args.head_dim / STEP * num_pairs);
        let order = [pack::interleaved(0, STEP as i32), pack::interleaved(SIDE as i32, STEP as i32)];
        for d in (0..args.head_dim).step_by(STEP) {
            let load = |key: usize| match key < keys.count {
                true => _mm512_loadu_si512(cache.add(keys.offsets[key] + d).cast()),
                false => _mm512_setzero_si512(),
            };
            let mut sums = [[_mm512_setzero_ps(); 2]; R];
            for pair in 0..num_pairs {
                ahead.fetch(pace, d / STEP * num_pairs + pair);
                let (even, odd) = (load(2 * pair), load(2 * pair + 1));
                let first = _mm512_permutex2var_epi16(even, order[0], odd);
                let second = _mm512_permutex2var_epi16(even, order[1], odd);
                for row in 0..R {
                    let weight = splat(tiles.weights.add(row * SIDE + pair));
                    sums[row][0] = add(sums[row][0], first, weight);
                    sums[row][1] = add(sums[row][1], second, weight);
                }
            }
            for row in 0..R {
                let output = tiles.output.add(row * args.head_dim + d);
                add_to(output, _mm512_set1_ps(grown[row]), sums[row]);
            }
        }
    }
}

/// The same of one row, of values that are interleaved.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn weigh_row(tiles: &few::Tiles, head_dim: usize, row: usize, grown: f32) {
    // SAFETY: the caller's promise.
    unsafe {
        for d in (0..head_dim).step_by(STEP) {
            let mut sums = [_mm512_setzero_ps(); 2];
            for pair in 0..SIDE {
                let weight = splat(tiles.weights.add(row * SIDE + pair));
                let values = tiles.values.add(d * SIDE + pair * SIDE);
                sums[0] = add(sums[0], _mm512_loadu_si512(values.cast()), weight);
                sums[1] = add(sums[1], _mm512_loadu_si512(values.add(TILE_LEN).cast()), weight);
            }
            add_to(tiles.output.add(row * head_dim + d), _mm512_set1_ps(grown), sums);
        }
    }
}

/// The scores of two times 16 keys with 32 rows, [KEY_TILE, 32].
///
/// # Safety
/// As above.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn score_many(keys: Halves, query: *const u32, scores: *mut f32, head_dim: usize) {
    let num_pairs = head_dim / 2;
    // SAFETY: the caller's promise.
    unsafe {
        for key in (0..KEY_TILE).step_by(KEYS) {
            let half = if key < SIDE { keys.first } else { keys.second };
            let first = half.wrapping_byte_add(key % SIDE * keys.step).cast::<u32>();
            let mut sums = [[[_mm512_setzero_ps(); 2]; 2]; KEYS];
            for pair in (0..num_pairs).step_by(2) {
                for odd in 0..2 {
                    let query = query.add((pair + odd) * SIDE);
                    let rows = _mm512_loadu_si512(query.cast());
                    let more_rows = _mm512_loadu_si512(query.add(num_pairs * SIDE).cast());
                    for (number, sums) in sums.iter_mut().enumerate() {
                        let key = splat(first.add(pair + odd).wrapping_byte_add(number * keys.step));
                        sums[odd][0] = add(sums[odd][0], rows, key);
                        sums[odd][1] = add(sums[odd][1], more_rows, key);
                    }
                }
            }
            for (number, sums) in sums.iter().enumerate() {
                let target = scores.add((key + number) * 2 * SIDE);
                _mm512_storeu_ps(target, _mm512_add_ps(sums[0][0], sums[1][0]));
                _mm512_storeu_ps(target.add(SIDE), _mm512_add_ps(sums[0][1], sums[1][1]));
            }
        }
    }
}

/// Adds the weighted values of a tile to the output, [head_dim, 32].
///
/// # Safety
/// As above.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn weigh_many(
    values: *const u32,
    weights: *const u32,
    output: *mut f32,
    head_dim: usize,
    grown: &[f32; 2 * SIDE],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let grown = [_mm512_loadu_ps(grown.as_ptr()), _mm512_loadu_ps(grown.as_ptr().add(SIDE))];
        for d in (0..head_dim).step_by(ELEMENTS) {
            let values = values.add(d / SIDE * TILE_LEN + d % SIDE);
            let mut sums = [[_mm512_setzero_ps(); 2]; ELEMENTS];
            for pair in 0..SIDE {
                let weights = weights.add(pair * SIDE);
                let rows = _mm512_loadu_si512(weights.cast());
                let more_rows = _mm512_loadu_si512(weights.add(TILE_LEN).cast());
                for (element, sums) in sums.iter_mut().enumerate() {
                    let value = splat(values.add(pair * SIDE + element));
                    sums[0] = add(sums[0], rows, value);
                    sums[1] = add(sums[1], more_rows, value);
                }
            }
            for (element, sums) in sums.iter().enumerate() {
                for half in 0..2 {
                    let output = output.add((d + element) * 2 * SIDE + half * SIDE);
                    let sum = _mm512_fmadd_ps(_mm512_loadu_ps(output), grown[half], sums[half]);
                    _mm512_storeu_ps(output, sum);
                }
            }
        }
    }
}
