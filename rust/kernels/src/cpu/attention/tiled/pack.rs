//! Queries, weights and values as the registers want them.

use std::arch::x86_64::*;

use super::super::{KEY_TILE, PagedAttention, Task};
use super::{Keys, SIDE, STEP, TILE_LEN};

/// Writes 16 rows of the query from `first_row` on, scaled and rounded, as [head_dim / 32, 16 pairs
/// of elements, 16 rows]; those that the task does not have are 0.
///
/// # Safety
/// The task points into a query of `f32`, the tiles have `head_dim` / 2 times 16 words and begin at
/// a cache line, and the processor has the instructions; likewise below.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn query(args: &PagedAttention, task: &Task, first_row: usize, tiles: *mut u32) {
    let mut rows = Lines([0; TILE_LEN]);
    let num_rows = task.num_rows().saturating_sub(first_row).min(SIDE);
    // SAFETY: the caller's promise.
    unsafe {
        let scale = _mm512_set1_ps(args.scale);
        for step in 0..args.head_dim / STEP {
            for row in 0..num_rows {
                let offset = task.query_offset(args, first_row + row) + step * STEP;
                let query = (args.query as *const f32).add(offset);
                let first = _mm512_mul_ps(_mm512_loadu_ps(query), scale);
                let second = _mm512_mul_ps(_mm512_loadu_ps(query.add(SIDE)), scale);
                store(_mm512_cvtne2ps_pbh(second, first), rows.0.as_mut_ptr().add(row * SIDE));
            }
            transpose(rows.0.as_ptr(), SIDE, tiles.add(step * TILE_LEN), SIDE);
        }
    }
}

/// Words on cache lines.
#[repr(C, align(64))]
struct Lines([u32; TILE_LEN]);

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn store(pairs: __m512bh, target: *mut u32) {
    // SAFETY: both are 64 bytes of any meaning; the rest is the caller's promise.
    unsafe { _mm512_storeu_si512(target.cast(), std::mem::transmute::<__m512bh, __m512i>(pairs)) }
}

/// Reads the scores of a row, which lie 16 apart.
///
/// # Safety
/// There are [`KEY_TILE`] of them.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn gather(scores: *const f32, row: &mut [f32; KEY_TILE]) {
    // SAFETY: the caller's promise.
    unsafe {
        let places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let places = _mm512_mullo_epi32(places, _mm512_set1_epi32(SIDE as i32));
        for (half, target) in row.chunks_exact_mut(SIDE).enumerate() {
            let found = _mm512_i32gather_ps::<4>(places, scores.add(half * TILE_LEN).cast());
            _mm512_storeu_ps(target.as_mut_ptr(), found);
        }
    }
}

/// Rounds the weights of a row.
///
/// # Safety
/// 16 words are writable.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn round(weights: &[f32; KEY_TILE], target: *mut u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let (first, second) =
            (_mm512_loadu_ps(weights.as_ptr()), _mm512_loadu_ps(weights.as_ptr().add(SIDE)));
        store(_mm512_cvtne2ps_pbh(second, first), target);
    }
}

/// Rounds weights [KEY_TILE, 32 rows] to two tiles [16 pairs of keys, 16 rows].
///
/// # Safety
/// Both have this many words.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn pairs(weights: *const f32, tiles: *mut u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let order = interleaved(0, SIDE as i32);
        for pair in 0..SIDE {
            for half in 0..2 {
                let even = weights.add(2 * pair * 2 * SIDE + half * SIDE);
                let even_and_odd =
                    _mm512_cvtne2ps_pbh(_mm512_loadu_ps(even.add(2 * SIDE)), _mm512_loadu_ps(even));
                let words = std::mem::transmute::<__m512bh, __m512i>(even_and_odd);
                let target = tiles.add(half * TILE_LEN + pair * SIDE);
                _mm512_storeu_si512(target.cast(), _mm512_permutexvar_epi16(order, words));
            }
        }
    }
}

/// The places of 16 elements from `start` on, each followed by the one that lies `distance` behind.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn interleaved(start: i32, distance: i32) -> __m512i {
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let first = _mm512_add_epi32(lanes, _mm512_set1_epi32(start));
    let second = _mm512_add_epi32(first, _mm512_set1_epi32(distance));
    _mm512_or_si512(first, _mm512_slli_epi32::<16>(second))
}

/// Writes the values of a head's tile of keys as [head_dim / 16, 16 pairs of keys, 16 elements];
/// keys that are not there are 0.
///
/// # Safety
/// The offsets are those of heads in the cache, and the tiles have `head_dim` times 16 words.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn values(args: &PagedAttention, keys: &Keys, head: usize, tiles: *mut u32) {
    let cache = (args.value_cache as *const u16).wrapping_add(head * args.head_dim);
    // SAFETY: the caller's promise.
    unsafe {
        let first = interleaved(0, STEP as i32);
        let second = interleaved(SIDE as i32, STEP as i32);
        for pair in 0..SIDE {
            for d in (0..args.head_dim).step_by(STEP) {
                let load = |key: usize| match key < keys.count {
                    true => _mm512_loadu_si512(cache.add(keys.offsets[key] + d).cast()),
                    false => _mm512_setzero_si512(),
                };
                let (even, odd) = (load(2 * pair), load(2 * pair + 1));
                let target = tiles.add(d * SIDE + pair * SIDE);
                _mm512_storeu_si512(target.cast(), _mm512_permutex2var_epi16(even, first, odd));
                let target = target.add(TILE_LEN);
                _mm512_storeu_si512(target.cast(), _mm512_permutex2var_epi16(even, second, odd));
            }
        }
    }
}

/// Transposes tiles of 16 times 16 words, one behind the other.
///
/// # Safety
/// There are this many of both.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn transpose_tiles(source: *const u32, target: *mut u32, count: usize) {
    for tile in 0..count {
        // SAFETY: the caller's promise.
        unsafe { transpose(source.add(tile * TILE_LEN), SIDE, target.add(tile * TILE_LEN), SIDE) }
    }
}

/// Transposes 16 times 16 words. Steps are words from one row to the next.
///
/// # Safety
/// Both have 16 such rows.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn transpose(source: *const u32, source_step: usize, target: *mut u32, target_step: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut rows = [_mm512_setzero_si512(); SIDE];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = _mm512_loadu_si512(source.add(i * source_step).cast());
        }
        // Squares of 2, then of 4 words are transposed within quarters of the vectors,
        let mut twos = rows;
        for i in (0..SIDE).step_by(2) {
            twos[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
            twos[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        }
        let mut fours = twos;
        for i in (0..SIDE).step_by(4) {
            fours[i] = _mm512_unpacklo_epi64(twos[i], twos[i + 2]);
            fours[i + 1] = _mm512_unpackhi_epi64(twos[i], twos[i + 2]);
            fours[i + 2] = _mm512_unpacklo_epi64(twos[i + 1], twos[i + 3]);
            fours[i + 3] = _mm512_unpackhi_epi64(twos[i + 1], twos[i + 3]);
        }
        // and then the quarters themselves.
        for i in 0..4 {
            let (a, b) = (fours[i], fours[i + 4]);
            let (c, d) = (fours[i + 8], fours[i + 12]);
            let (ab_even, ab_odd) = (quarters::<0b10_00_10_00>(a, b), quarters::<0b11_01_11_01>(a, b));
            let (cd_even, cd_odd) = (quarters::<0b10_00_10_00>(c, d), quarters::<0b11_01_11_01>(c, d));
            let columns = [
                quarters::<0b10_00_10_00>(ab_even, cd_even),
                quarters::<0b10_00_10_00>(ab_odd, cd_odd),
                quarters::<0b11_01_11_01>(ab_even, cd_even),
                quarters::<0b11_01_11_01>(ab_odd, cd_odd),
            ];
            for (quarter, column) in columns.into_iter().enumerate() {
                _mm512_storeu_si512(target.add((4 * quarter + i) * target_step).cast(), column);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn quarters<const ORDER: i32>(a: __m512i, b: __m512i) -> __m512i {
    _mm512_shuffle_i32x4::<ORDER>(a, b)
}
