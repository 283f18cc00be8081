//! The products of attention against their orders of summation, written out.

#![allow(clippy::unwrap_used)]

use super::super::tests::widened;
use super::*;
use crate::cpu::linear::{Numbers, multiplies_pairs, rounded};
use crate::simd::Avx512;

/// Words that begin at a cache line, as the tiles of a kernel do.
#[repr(C, align(64))]
struct Lines<const N: usize>([u32; N]);

impl<const N: usize> Lines<N> {
    fn new() -> Box<Self> {
        Box::new(Self([0; N]))
    }
}

/// The order of a score over a head, and of a weighted value over a tile of keys.
struct Order {
    score: fn(&[f32], &[f32]) -> f32,
    weighted: fn(&[f32], &[f32]) -> f32,
}

/// Products of some terms, each added to the sum of those before, from 0.
fn chain<'a>(terms: impl Iterator<Item = (&'a f32, &'a f32)>) -> f32 {
    terms.fold(0.0, |sum, (a, b)| a.mul_add(*b, sum))
}

/// The even and the odd terms of 32 apart, added to the sum.
fn by_registers(a: &[f32], b: &[f32]) -> f32 {
    let parts = |first: usize, step: usize| {
        chain(a[step..][first..STEP].iter().zip(&b[step..][first..STEP]).step_by(2))
    };
    (0..a.len()).step_by(STEP).fold(0.0, |sum, step| sum + (parts(0, step) + parts(1, step)))
}

/// Pairs in turn, the second of each first.
fn by_pairs(a: &[f32], b: &[f32]) -> f32 {
    let backwards = a.chunks(2).zip(b.chunks(2)).flat_map(|(a, b)| a.iter().zip(b).rev());
    chain(backwards)
}

/// The even and the odd pairs apart.
fn by_two_chains(a: &[f32], b: &[f32]) -> f32 {
    let pick = |numbers: &[f32], odd: usize| -> Vec<f32> {
        numbers.chunks(2).skip(odd).step_by(2).flatten().copied().collect()
    };
    by_pairs(&pick(a, 0), &pick(b, 0)) + by_pairs(&pick(a, 1), &pick(b, 1))
}

const REGISTERS: Order = Order { score: by_registers, weighted: by_registers };
const VECTORS: Order = Order { score: by_two_chains, weighted: by_pairs };

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

    fn score(&self, order: &Order, row: usize, key: usize) -> f32 {
        let query: Vec<f32> = self.query[row * DIM..][..DIM].iter().map(|x| rounded(x * 0.3)).collect();
        let key: Vec<f32> = self.keys[key * DIM..][..DIM].iter().map(|bits| widened(*bits)).collect();
        (order.score)(&query, &key)
    }

    fn weighted(&self, order: &Order, row: usize, d: usize) -> f32 {
        let weights = self.weights[row * KEY_TILE..][..KEY_TILE].iter().map(|weight| rounded(*weight));
        let values = (0..KEY_TILE).map(|key| widened(self.values[key * DIM + d]));
        (order.weighted)(&weights.collect::<Vec<_>>(), &values.collect::<Vec<_>>())
    }
}

fn tile_of_keys() -> Keys {
    Keys { offsets: std::array::from_fn(|key| key * DIM), count: KEY_TILE, first: 0 }
}

/// Compares with the order: `score(row, key)` and `weighted(row, d)`.
fn check(
    problem: &Problem,
    order: &Order,
    score: impl Fn(usize, usize) -> f32,
    weighted: impl Fn(usize, usize) -> f32,
) {
    for row in 0..problem.num_rows {
        for key in 0..KEY_TILE {
            let expected = problem.score(order, row, key);
            assert_eq!(score(row, key).to_bits(), expected.to_bits(), "score {row} {key}");
        }
        for d in 0..DIM {
            let expected = problem.weighted(order, row, d);
            assert_eq!(weighted(row, d).to_bits(), expected.to_bits(), "weighted {row} {d}");
        }
    }
}

fn check_few<P: Products>(order: &Order) {
    for (num_rows, block_size) in [(1, 16), (2, 16), (3, 16), (4, 16), (7, 5), (16, 32)] {
        let problem = Problem::new(num_rows);
        let args = problem.args(block_size);
        let [head] = few::Tiles::lay_out(DIM).first_chunk().copied().unwrap();
        let mut scores = vec![[0.0; KEY_TILE]; num_rows];
        let mut copy = vec![0; KEY_TILE * DIM];
        let keys = tile_of_keys();
        // SAFETY: the tiles hold what their comments say.
        let weighted = unsafe {
            pack::query(&args, &problem.task(), 0, head.query);
            let _ready = P::ready(num_rows);
            let ahead = keys.ahead(&args, args.value_cache, 1, 0, 1);
            P::score_few(&head, keys.halves(&args, 0, copy.as_mut_ptr()), DIM, ahead, num_rows);
            for (row, scores) in scores.iter_mut().enumerate() {
                P::read_scores(&head, row, scores);
                let weights = problem.weights[row * KEY_TILE..].first_chunk().unwrap();
                pack::round(weights, head.weights.add(row * SIDE));
            }
            head.output.write_bytes(0, num_rows * DIM);
            P::weigh_few::<Avx512>(&args, &head, &keys, 0, ahead, &vec![0.5; num_rows]);
            std::slice::from_raw_parts(head.output, num_rows * DIM).to_vec()
        };
        check(&problem, order, |row, key| scores[row][key], |row, d| weighted[row * DIM + d]);
    }
}

fn check_many<P: Products>(order: &Order) {
    const ROWS: usize = 2 * SIDE;
    let problem = Problem::new(ROWS);
    let args = problem.args(16);
    let tiles = many::lay_out(DIM);
    let by_key: Vec<f32> =
        (0..KEY_TILE * ROWS).map(|place| problem.weights[place % ROWS * KEY_TILE + place / ROWS]).collect();
    let keys = tile_of_keys();
    let mut query = Lines::<{ SIDE * DIM }>::new();
    // SAFETY: the tiles hold what their comments say.
    let (scores, weighted) = unsafe {
        for half in 0..2 {
            let tile = query.0[half * SIDE * DIM / 2..].as_mut_ptr();
            pack::query(&args, &problem.task(), half * SIDE, tile);
        }
        pack::values(&args, &keys, 0, tiles.values);
        pack::pairs(by_key.as_ptr(), tiles.pairs);
        let _ready = P::ready(ROWS);
        P::prepare_values(&tiles, DIM);
        P::score_many(&tiles, keys.halves(&args, 0, std::ptr::null_mut()), query.0.as_ptr(), DIM);
        let (mut output, grown) = (vec![0.0; DIM * ROWS], Avx512::splat(0.5));
        P::weigh_many(&tiles, output.as_mut_ptr(), DIM, [grown; 2]);
        (std::slice::from_raw_parts(tiles.weights, KEY_TILE * ROWS).to_vec(), output)
    };
    check(&problem, order, |row, key| scores[key * ROWS + row], |row, d| weighted[d * ROWS + row]);
}

#[test]
fn products_of_few_rows_are_summed_in_their_order() {
    // Where sums depended on the batch, a token would be another one beside other requests.
    if has_tiles() {
        check_few::<Registers>(&REGISTERS);
    }
    if multiplies_pairs() {
        check_few::<Vectors>(&VECTORS);
    }
}

#[test]
fn products_of_many_rows_are_summed_in_the_same_order() {
    // A prompt would leave other keys and values than the same tokens, decoded.
    if has_tiles() {
        check_many::<Registers>(&REGISTERS);
    }
    if multiplies_pairs() {
        check_many::<Vectors>(&VECTORS);
    }
}
