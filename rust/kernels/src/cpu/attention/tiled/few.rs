//! Up to 16 rows, as in decoding: the softmax has the keys along the lanes.
//!
//! Heads of one sequence are taken together: their keys lie side by side in the cache, which is
//! then read from front to back, as processors foresee it, and while one head waits for a register
//! another goes on.

use super::super::narrow::Softmax;
use super::super::{KEY_TILE, PagedAttention, Task, scratch};
use super::registers::{score_few, shapes_of_few, weigh_few};
use super::{Keys, SIDE, STEP, TILE_LEN, pack, without_least};
use crate::element::{Bf16, Element};
use crate::simd::Vector;

/// Heads that are taken together, at most.
const MAX_HEADS: usize = 4;
/// Vectors of values that are weighed at once: their sums stay in registers.
const COLUMNS: usize = 2;

/// Tiles of a head in scratch memory.
#[derive(Clone, Copy)]
struct Tiles {
    /// [head_dim / 32, 16 pairs of elements, 16 rows], scaled and rounded.
    query: *mut u32,
    /// [KEY_TILE, head_dim], where keys have to be copied.
    keys: *mut u16,
    /// [head_dim / 16, 16 pairs of keys, 16 elements].
    values: *mut u32,
    /// [KEY_TILE, 16 rows].
    scores: *mut f32,
    /// [16 rows, KEY_TILE], rounded.
    weights: *mut u32,
    /// [16 rows, head_dim]: weighted values of the tile.
    weighted: *mut f32,
    /// [16 rows, head_dim], not yet divided by the sum.
    output: *mut f32,
}

impl Tiles {
    /// Words of what one head uses after the other: keys, values, scores and weighted values; and
    /// of what each head has for itself: query, weights and output.
    fn lens(head_dim: usize) -> ([usize; 4], [usize; 3]) {
        let of_head = head_dim * SIDE;
        ([of_head, of_head, KEY_TILE * SIDE, of_head], [of_head / 2, TILE_LEN, of_head])
    }

    /// Those of some heads. What they need not have apart they share: the keys and values of a tile
    /// fill most of the nearest cache.
    #[inline(always)]
    fn lay_out(head_dim: usize) -> [Self; MAX_HEADS] {
        let (of_one, of_each) = Self::lens(head_dim);
        let len = of_each.iter().sum::<usize>();
        let memory = scratch::lines(of_one.iter().sum::<usize>() + MAX_HEADS * len);
        let [keys, values, scores, weighted] = scratch::split(memory, of_one);
        let memory = memory.wrapping_add(of_one.iter().sum());
        std::array::from_fn(|head| {
            let [query, weights, output] = scratch::split(memory.wrapping_add(head * len), of_each);
            Self {
                query: query.cast(),
                keys: keys.cast(),
                values: values.cast(),
                scores,
                weights: weights.cast(),
                weighted,
                output,
            }
        })
    }
}

/// A head's rows while they stream over the keys.
#[derive(Clone, Copy)]
struct Head {
    tiles: Tiles,
    softmax: [Softmax; SIDE],
    /// What the output so far is to be multiplied with.
    grown: [f32; SIDE],
}

impl Head {
    /// # Safety
    /// As for [`attend`]; likewise below.
    #[inline(always)]
    unsafe fn begin<V: Vector>(&mut self, args: &PagedAttention, task: &Task) {
        // SAFETY: the caller's promise, and the tiles hold what their comments say; likewise below.
        unsafe {
            pack::query(args, task, 0, self.tiles.query);
            self.tiles.output.write_bytes(0, task.num_rows() * args.head_dim);
            for (row, softmax) in self.softmax[..task.num_rows()].iter_mut().enumerate() {
                *softmax = Softmax::begin::<f32, V>(args, task.head(row));
            }
        }
    }

    /// Turns scores into rounded weights.
    #[inline(always)]
    unsafe fn soften<V: Vector>(&mut self, args: &PagedAttention, task: &Task, keys: &Keys) {
        for row in 0..task.num_rows() {
            let mut weights = [0.0; KEY_TILE];
            // SAFETY: see above.
            unsafe {
                pack::gather(self.tiles.scores.add(row), &mut weights);
                self.grown[row] = self.softmax[row].soften::<V>(args, task, row, &mut weights, keys.range());
                pack::round(&weights, self.tiles.weights.add(row * SIDE));
            }
        }
    }

    /// Weighs the values of the tile, by registers.
    #[inline(always)]
    unsafe fn weigh(&self, args: &PagedAttention, keys: &Keys, number: usize) {
        let Tiles { weights, values, weighted, .. } = self.tiles;
        // SAFETY: see above.
        unsafe {
            pack::values(args, keys, number, values);
            weigh_few(weights, values, weighted, args.head_dim);
        }
    }

    /// The same by vectors, straight from the cache: for so few rows it takes longer to interleave
    /// the values.
    #[inline(always)]
    unsafe fn weigh_by_vectors<V: Vector, const R: usize>(
        &self,
        args: &PagedAttention,
        keys: &Keys,
        number: usize,
    ) {
        let cache = (args.value_cache as *const Bf16).wrapping_add(number * args.head_dim);
        let mut weights = [[0.0; KEY_TILE]; R];
        // SAFETY: see above; a head is whole pairs of vectors.
        unsafe {
            for (row, weights) in weights.iter_mut().enumerate() {
                let rounded = self.tiles.weights.add(row * SIDE).cast::<Bf16>();
                for key in (0..KEY_TILE).step_by(V::LANES) {
                    Bf16::load::<V>(rounded.add(key)).store(weights.as_mut_ptr().add(key));
                }
            }
            for d in (0..args.head_dim).step_by(COLUMNS * V::LANES) {
                let (mut even, mut odd) = ([[V::splat(0.0); COLUMNS]; R], [[V::splat(0.0); COLUMNS]; R]);
                for key in (0..keys.count).step_by(2) {
                    weigh_key::<V, R>(&mut even, cache.add(keys.offsets[key] + d), &weights, key);
                    if key + 1 < keys.count {
                        weigh_key::<V, R>(&mut odd, cache.add(keys.offsets[key + 1] + d), &weights, key + 1);
                    }
                }
                for row in 0..R {
                    for column in 0..COLUMNS {
                        let place = row * args.head_dim + d + column * V::LANES;
                        even[row][column].add(odd[row][column]).store(self.tiles.weighted.add(place));
                    }
                }
            }
        }
    }

    /// Adds the weighted values of the tile to the output.
    #[inline(always)]
    unsafe fn add<V: Vector>(&self, head_dim: usize, num_rows: usize) {
        for row in 0..num_rows {
            for d in (0..head_dim).step_by(V::LANES) {
                let place = row * head_dim + d;
                // SAFETY: see above.
                unsafe {
                    let (weighted, output) = (self.tiles.weighted.add(place), self.tiles.output.add(place));
                    let weighted = without_least(V::load(weighted));
                    V::load(output).mul_add(V::splat(self.grown[row]), weighted).store(output);
                }
            }
        }
    }

    /// Divides by the sums.
    #[inline(always)]
    unsafe fn store<V: Vector>(&self, args: &PagedAttention, task: &Task) {
        for row in 0..task.num_rows() {
            // SAFETY: see above; the output has this row.
            unsafe {
                let target = (args.output as *mut f32).add(task.output_offset(args, row));
                let inverse = V::splat(1.0 / self.softmax[row].sum);
                for d in (0..args.head_dim).step_by(V::LANES) {
                    let output = self.tiles.output.add(row * args.head_dim + d);
                    V::load(output).mul(inverse).store(target.add(d));
                }
            }
        }
    }
}

/// Adds two vectors of a key's values, weighted, to the sums of `R` rows.
#[inline(always)]
unsafe fn weigh_key<V: Vector, const R: usize>(
    sums: &mut [[V; COLUMNS]; R],
    values: *const Bf16,
    weights: &[[f32; KEY_TILE]; R],
    key: usize,
) {
    for column in 0..COLUMNS {
        // SAFETY: the caller's head has these values.
        let values = unsafe { Bf16::load::<V>(values.add(column * V::LANES)) };
        for row in 0..R {
            // SAFETY: a vector proves that the processor has the instructions.
            let weight = unsafe { V::splat(weights[row][key]) };
            sums[row][column] = values.mul_add(weight, sums[row][column]);
        }
    }
}

/// Attends the rows of the first tasks, as many as are of one sequence's heads side by side;
/// returns how many.
///
/// # Safety
/// As for [`attend`](super::attend), with at most 16 rows.
#[inline(always)]
pub(super) unsafe fn attend<V: Vector>(args: &PagedAttention, tasks: &[Task]) -> usize {
    let first = &tasks[0];
    let is_beside = |(number, task): &(usize, &Task)| {
        let is_next = task.kv_head == first.kv_head + number && task.num_heads == first.num_heads;
        is_next && task.first_token == first.first_token
    };
    let num_heads = tasks.iter().take(MAX_HEADS).enumerate().take_while(is_beside).count();
    let tasks = &tasks[..num_heads];
    let head = |tiles| Head { tiles, softmax: [Softmax::default(); SIDE], grown: [1.0; SIDE] };
    let mut heads = Tiles::lay_out(args.head_dim).map(head);
    let heads = &mut heads[..num_heads];
    // SAFETY: the caller's promise, and the tiles hold what their comments say.
    unsafe {
        for (head, task) in heads.iter_mut().zip(tasks) {
            head.begin::<V>(args, task);
        }
        let _loaded = shapes_of_few(first.num_rows()).load();
        let mut keys = Keys::begin(args, first);
        for number in 0..num_heads {
            keys.fetch(args, args.key_cache, number);
        }
        while keys.count > 0 {
            for (number, (head, task)) in heads.iter_mut().zip(tasks).enumerate() {
                let Tiles { query, scores, keys: copy, .. } = head.tiles;
                score_few(keys.halves(args, number, copy), query, scores, args.head_dim / STEP);
                keys.fetch(args, args.value_cache, number);
                head.soften::<V>(args, task, &keys);
            }
            let mut next = keys;
            next.advance(args, first);
            for (number, head) in heads.iter().enumerate() {
                next.fetch(args, args.key_cache, number);
                match first.num_rows() {
                    1 => head.weigh_by_vectors::<V, 1>(args, &keys, number),
                    2 => head.weigh_by_vectors::<V, 2>(args, &keys, number),
                    3 => head.weigh_by_vectors::<V, 3>(args, &keys, number),
                    4 => head.weigh_by_vectors::<V, 4>(args, &keys, number),
                    _ => head.weigh(args, &keys, number),
                }
                head.add::<V>(args.head_dim, first.num_rows());
            }
            keys = next;
        }
        for (head, task) in heads.iter().zip(tasks) {
            head.store::<V>(args, task);
        }
    }
    num_heads
}
