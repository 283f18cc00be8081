//! The products of tile registers against their order of summation, written out.

#![allow(clippy::unwrap_used)]

use super::super::tests::widened;
use super::registers::{score_few, score_many, shapes_of_few, weigh_few, weigh_many};
use super::*;
use crate::cpu::linear::{Numbers, has_tiles, rounded};
use crate::cpu::tile_registers::Shapes;

/// Words that begin at a cache line, as the tiles of a kernel do.
#[repr(C, align(64))]
struct Lines<const N: usize>([u32; N]);

impl<const N: usize> Lines<N> {
    fn new() -> Box<Self> {
        Box::new(Self([0; N]))
    }

    fn floats(&self) -> impl Fn(usize) -> f32 {
        |place| f32::from_bits(self.0[place])
    }
}

/// The sum over 32 terms in the order of one instruction.
fn in_order(a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) -> f32 {
    let from = |first: usize| (first..STEP).step_by(2).fold(0.0, |sum, i| a(i).mul_add(b(i), sum));
    from(0) + from(1)
}

fn narrowed(numbers: Vec<f32>) -> Vec<u16> {
    numbers.into_iter().map(|x| (rounded(x).to_bits() >> 16) as u16).collect()
}

const DIM: usize = 64;

/// One sequence with one head of keys in blocks of some size.
struct Problem {
    num_rows: usize,
    query: Vec<f32>,
    keys: Vec<u16>,
    values: Vec<u16>,
    /// [32 rows, KEY_TILE].
    weights: Vec<f32>,
}

impl Problem {
    fn new(num_rows: usize) -> Self {
        let mut numbers = Numbers::new(num_rows);
        Self {
            num_rows,
            query: numbers.take(num_rows * DIM),
            keys: narrowed(numbers.take(KEY_TILE * DIM)),
            values: narrowed(numbers.take(KEY_TILE * DIM)),
            weights: numbers.take(2 * SIDE * KEY_TILE),
        }
    }

    fn args(&self, block_size: usize) -> PagedAttention {
        PagedAttention {
            query: self.query.as_ptr() as usize,
            key_cache: self.keys.as_ptr() as usize,
            value_cache: self.values.as_ptr() as usize,
            num_heads: 1,
            num_kv_heads: 1,
            head_dim: DIM,
            block_size,
            query_stride: DIM,
            scale: 0.3,
            ..PagedAttention::default()
        }
    }

    fn task(&self) -> Task {
        let num_tokens = self.num_rows;
        Task {
            row: 0,
            kv_head: 0,
            first_head: 0,
            num_heads: 1,
            first_token: 0,
            num_tokens,
            first_position: 0,
        }
    }

    fn score(&self, row: usize, key: usize) -> f32 {
        (0..DIM).step_by(STEP).fold(0.0, |sum, step| {
            let query = |i: usize| rounded(self.query[row * DIM + step + i] * 0.3);
            sum + in_order(query, |i| widened(self.keys[key * DIM + step + i]))
        })
    }

    fn weighted(&self, row: usize, d: usize) -> f32 {
        let weight = |key: usize| rounded(self.weights[row * KEY_TILE + key]);
        in_order(weight, |key| widened(self.values[key * DIM + d]))
    }
}

fn tile_of_keys() -> Keys {
    Keys { offsets: std::array::from_fn(|key| key * DIM), count: KEY_TILE, first: 0 }
}

#[test]
fn products_of_few_rows_are_summed_in_their_order() {
    // Where sums depended on the batch, a token would be another one beside other requests.
    if !has_tiles() {
        return;
    }
    for (num_rows, block_size) in [(1, 16), (7, 5), (16, 32)] {
        let problem = Problem::new(num_rows);
        let args = problem.args(block_size);
        let (mut query, mut scores) = (Lines::<{ SIDE * DIM }>::new(), Lines::<{ KEY_TILE * SIDE }>::new());
        let (mut values, mut sums) = (Lines::<{ SIDE * DIM }>::new(), Lines::<{ SIDE * DIM }>::new());
        let mut weights = Lines::<TILE_LEN>::new();
        let mut copy = vec![0; KEY_TILE * DIM];
        // SAFETY: all have the sizes of the registers.
        unsafe {
            pack::query(&args, &problem.task(), 0, query.0.as_mut_ptr());
            pack::values(&args, &tile_of_keys(), 0, values.0.as_mut_ptr());
            for row in 0..num_rows {
                let row_of_weights = problem.weights[row * KEY_TILE..].first_chunk().unwrap();
                pack::round(row_of_weights, weights.0[row * SIDE..].as_mut_ptr());
            }
            let _loaded = shapes_of_few(num_rows).load();
            let halves = tile_of_keys().halves(&args, 0, copy.as_mut_ptr());
            score_few(halves, query.0.as_ptr(), scores.0.as_mut_ptr().cast(), DIM / STEP);
            weigh_few(weights.0.as_ptr(), values.0.as_ptr(), sums.0.as_mut_ptr().cast(), DIM);
        }
        let (score, weighted) = (scores.floats(), sums.floats());
        for row in 0..num_rows {
            for key in 0..KEY_TILE {
                assert_eq!(
                    score(key * SIDE + row).to_bits(),
                    problem.score(row, key).to_bits(),
                    "{row} {key}"
                );
            }
            for d in 0..DIM {
                assert_eq!(
                    weighted(row * DIM + d).to_bits(),
                    problem.weighted(row, d).to_bits(),
                    "{row} {d}"
                );
            }
        }
    }
}

#[test]
fn products_of_many_rows_are_summed_in_the_same_order() {
    // A prompt would leave other keys and values than the same tokens, decoded.
    if !has_tiles() {
        return;
    }
    const ROWS: usize = 2 * SIDE;
    let problem = Problem::new(ROWS);
    let args = problem.args(16);
    let (mut query, mut scores) = (Lines::<{ SIDE * DIM }>::new(), Lines::<{ KEY_TILE * ROWS }>::new());
    let (mut values, mut transposed) = (Lines::<{ SIDE * DIM }>::new(), Lines::<{ SIDE * DIM }>::new());
    let (mut pairs, mut sums) = (Lines::<{ 2 * TILE_LEN }>::new(), Lines::<{ ROWS * DIM }>::new());
    let by_key: Vec<f32> =
        (0..KEY_TILE * ROWS).map(|place| problem.weights[place % ROWS * KEY_TILE + place / ROWS]).collect();
    // SAFETY: all have the sizes of the registers.
    unsafe {
        for half in 0..2 {
            let tile = query.0[half * SIDE * DIM / 2..].as_mut_ptr();
            pack::query(&args, &problem.task(), half * SIDE, tile);
        }
        pack::values(&args, &tile_of_keys(), 0, values.0.as_mut_ptr());
        pack::transpose_tiles(values.0.as_ptr(), transposed.0.as_mut_ptr(), DIM / SIDE);
        pack::pairs(by_key.as_ptr(), pairs.0.as_mut_ptr());
        let _loaded = Shapes::new().load();
        let halves = tile_of_keys().halves(&args, 0, std::ptr::null_mut());
        score_many(halves, query.0.as_ptr(), scores.0.as_mut_ptr().cast(), DIM / STEP);
        weigh_many(transposed.0.as_ptr(), pairs.0.as_ptr(), sums.0.as_mut_ptr().cast(), DIM);
    }
    let (score, weighted) = (scores.floats(), sums.floats());
    for row in 0..ROWS {
        for key in 0..KEY_TILE {
            assert_eq!(score(key * ROWS + row).to_bits(), problem.score(row, key).to_bits(), "{row} {key}");
        }
        for d in 0..DIM {
            assert_eq!(weighted(d * ROWS + row).to_bits(), problem.weighted(row, d).to_bits(), "{row} {d}");
        }
    }
}
