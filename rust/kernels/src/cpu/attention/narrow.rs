//! Up to four rows, as in decoding: lanes along `head_dim`, keys and values straight from the
//! cache.

use std::ops::Range;

use super::{KEY_TILE, MASKED, PagedAttention, Task, bend, fetch, scratch, sink, weigh};
use crate::element::Element;
use crate::simd::{MAX_LANES, Vector, exp};

/// The state of `R` rows while they stream over the keys.
struct Rows<const R: usize> {
    /// [R, head_dim], scaled.
    query: *mut f32,
    /// [R, head_dim], not yet divided by `sum`.
    output: *mut f32,
    softmax: [Softmax; R],
    /// Scores of the present tile, then their exponentials.
    weights: [[f32; KEY_TILE]; R],
}

/// The running softmax of a row.
#[derive(Clone, Copy)]
pub(super) struct Softmax {
    max: f32,
    pub(super) sum: f32,
}

impl Default for Softmax {
    fn default() -> Self {
        Self { max: MASKED, sum: 0.0 }
    }
}

impl Softmax {
    /// That of a head before its first key: its sink's, if it has one.
    ///
    /// # Safety
    /// As for [`sink`].
    #[inline(always)]
    pub(super) unsafe fn begin<E: Element, V: Vector>(args: &PagedAttention, head: usize) -> Self {
        match args.sinks {
            0 => Self::default(),
            // SAFETY: the caller's promise.
            _ => Self { max: unsafe { sink::<E, V>(args, head) }, sum: 1.0 },
        }
    }

    /// Turns a row's scores of a tile into weights under the running maximum; returns what the
    /// output so far is to be multiplied with.
    ///
    /// # Safety
    /// The processor has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn soften<V: Vector>(
        &mut self,
        args: &PagedAttention,
        task: &Task,
        row: usize,
        weights: &mut [f32; KEY_TILE],
        keys: Range<usize>,
    ) -> f32 {
        let visible = keys.len().min((task.position(row) + 1).saturating_sub(keys.start));
        let hidden = task.first_key(args, row).saturating_sub(keys.start).min(visible);
        // SAFETY: the caller's promise, and `KEY_TILE` is a multiple of any number of lanes.
        unsafe {
            if args.soft_cap != 0.0 {
                cap_scores::<V>(weights, args.soft_cap);
            }
            weights[..hidden].fill(MASKED);
            weights[visible..].fill(MASKED);
            let mut max = V::splat(self.max);
            for i in (0..KEY_TILE).step_by(V::LANES) {
                max = max.max(V::load(weights.as_ptr().add(i)));
            }
            let new_max = max.greatest();
            let new_max_lanes = V::splat(new_max);
            let mut sum = V::splat(0.0);
            for i in (0..KEY_TILE).step_by(V::LANES) {
                let weight = weigh(V::load(weights.as_ptr().add(i)), new_max_lanes);
                weight.store(weights.as_mut_ptr().add(i));
                sum = sum.add(weight);
            }
            let grown = first_lane(exp(V::splat(self.max).sub(new_max_lanes)));
            self.sum = self.sum * grown + sum.sum();
            self.max = new_max;
            grown
        }
    }
}

/// Attends the task's `R` rows; `head_dim` is a multiple of the lanes.
///
/// # Safety
/// The task points into live tensors of `E` and caches of `C`, and the processor has the
/// instructions of `V`.
#[inline(always)]
pub(super) unsafe fn attend<E: Element, C: Element, V: Vector, const R: usize>(
    args: &PagedAttention,
    task: &Task,
) {
    let memory = scratch::lines(2 * R * args.head_dim);
    // SAFETY: the caller's promise, and `memory` holds both [R, head_dim].
    unsafe {
        let mut rows = Rows {
            query: memory,
            output: memory.add(R * args.head_dim),
            softmax: [Softmax::default(); R],
            weights: [[MASKED; KEY_TILE]; R],
        };
        load_query::<E, V, R>(args, task, &rows);
        for (row, softmax) in rows.softmax.iter_mut().enumerate() {
            *softmax = Softmax::begin::<E, V>(args, task.head(row));
        }
        let (mut offsets, mut next) = ([0; KEY_TILE], [0; KEY_TILE]);
        let begin = task.first_key(args, 0) / KEY_TILE * KEY_TILE;
        let mut count = task.key_offsets(args, begin, &mut offsets);
        fetch(args.key_cache as *const C, args.head_dim, &offsets[..count]);
        for first_key in (begin..task.num_keys()).step_by(KEY_TILE) {
            // What is read next comes while this tile is computed: heads lie apart in the cache,
            // too far for the processor to guess.
            fetch(args.value_cache as *const C, args.head_dim, &offsets[..count]);
            score::<C, V, R>(args, &mut rows, &offsets[..count]);
            let num_next = match first_key + KEY_TILE {
                after if after < task.num_keys() => task.key_offsets(args, after, &mut next),
                _ => 0,
            };
            fetch(args.key_cache as *const C, args.head_dim, &next[..num_next]);
            let mut grown = [1.0; R];
            for (row, (softmax, weights)) in rows.softmax.iter_mut().zip(&mut rows.weights).enumerate() {
                grown[row] = softmax.soften::<V>(args, task, row, weights, first_key..first_key + count);
            }
            accumulate::<C, V, R>(args, &rows, &offsets[..count], &grown);
            (offsets, count) = (next, num_next);
        }
        store_output::<E, V, R>(args, task, &rows);
    }
}

#[inline(always)]
unsafe fn load_query<E: Element, V: Vector, const R: usize>(
    args: &PagedAttention,
    task: &Task,
    rows: &Rows<R>,
) {
    for row in 0..R {
        for d in (0..args.head_dim).step_by(V::LANES) {
            // SAFETY: the query has this row, and the scratch [R, head_dim].
            unsafe {
                let query = (args.query as *const E).add(task.query_offset(args, row) + d);
                E::load::<V>(query).mul(V::splat(args.scale)).store(rows.query.add(row * args.head_dim + d));
                V::splat(0.0).store(rows.output.add(row * args.head_dim + d));
            }
        }
    }
}

/// The products of each row with the tile's keys, four keys at a time.
#[inline(always)]
unsafe fn score<C: Element, V: Vector, const R: usize>(
    args: &PagedAttention,
    rows: &mut Rows<R>,
    offsets: &[usize],
) {
    let last = offsets.len() - 1;
    for key in (0..offsets.len()).step_by(4) {
        // SAFETY: the offsets lie inside the key cache; past the last key its scores repeat, and
        // are masked later.
        unsafe {
            let keys: [*const C; 4] =
                std::array::from_fn(|i| (args.key_cache as *const C).add(offsets[last.min(key + i)]));
            let mut products = [[V::splat(0.0); 4]; R];
            for d in (0..args.head_dim).step_by(V::LANES) {
                for i in 0..4 {
                    let values = C::load::<V>(keys[i].add(d));
                    for (row, products) in products.iter_mut().enumerate() {
                        let query = V::load(rows.query.add(row * args.head_dim + d));
                        products[i] = values.mul_add(query, products[i]);
                    }
                }
            }
            for (weights, products) in rows.weights.iter_mut().zip(products) {
                weights[key..key + 4].copy_from_slice(&V::sum_each(products));
            }
        }
    }
}

#[inline(always)]
fn first_lane<V: Vector>(vector: V) -> f32 {
    let mut lanes = [0.0; MAX_LANES];
    // SAFETY: `lanes` holds the widest vector.
    unsafe { vector.store(lanes.as_mut_ptr()) };
    lanes[0]
}

#[inline(always)]
unsafe fn cap_scores<V: Vector>(scores: &mut [f32; KEY_TILE], cap: f32) {
    for i in (0..KEY_TILE).step_by(V::LANES) {
        // SAFETY: `KEY_TILE` is a multiple of any number of lanes, and the caller's processor has
        // the instructions.
        unsafe { bend(V::load(scores.as_ptr().add(i)), cap).store(scores.as_mut_ptr().add(i)) }
    }
}

/// Adds the weighted values of the tile to the output.
#[inline(always)]
unsafe fn accumulate<C: Element, V: Vector, const R: usize>(
    args: &PagedAttention,
    rows: &Rows<R>,
    offsets: &[usize],
    grown: &[f32; R],
) {
    let mut d = 0;
    // SAFETY: the columns lie inside a head.
    unsafe {
        while d + 4 * V::LANES <= args.head_dim {
            accumulate_columns::<C, V, R, 4>(args, rows, offsets, grown, d);
            d += 4 * V::LANES;
        }
        while d < args.head_dim {
            accumulate_columns::<C, V, R, 1>(args, rows, offsets, grown, d);
            d += V::LANES;
        }
    }
}

/// `N` vectors of columns from `d` on, held in registers over all keys of the tile.
#[inline(always)]
unsafe fn accumulate_columns<C: Element, V: Vector, const R: usize, const N: usize>(
    args: &PagedAttention,
    rows: &Rows<R>,
    offsets: &[usize],
    grown: &[f32; R],
    d: usize,
) {
    // SAFETY: the caller's columns lie inside a head, the offsets inside the value cache.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; R];
        for row in 0..R {
            for column in 0..N {
                let before = V::load(rows.output.add(row * args.head_dim + d + column * V::LANES));
                sums[row][column] = before.mul(V::splat(grown[row]));
            }
        }
        for (key, offset) in offsets.iter().enumerate() {
            let value = (args.value_cache as *const C).add(offset + d);
            for column in 0..N {
                let values = C::load::<V>(value.add(column * V::LANES));
                for row in 0..R {
                    let weight = V::splat(rows.weights[row][key]);
                    sums[row][column] = values.mul_add(weight, sums[row][column]);
                }
            }
        }
        for row in 0..R {
            for column in 0..N {
                sums[row][column].store(rows.output.add(row * args.head_dim + d + column * V::LANES));
            }
        }
    }
}

#[inline(always)]
unsafe fn store_output<E: Element, V: Vector, const R: usize>(
    args: &PagedAttention,
    task: &Task,
    rows: &Rows<R>,
) {
    for row in 0..R {
        for d in (0..args.head_dim).step_by(V::LANES) {
            // SAFETY: the output has this row, and the scratch [R, head_dim].
            unsafe {
                let target = (args.output as *mut E).add(task.output_offset(args, row) + d);
                let weighted = V::load(rows.output.add(row * args.head_dim + d));
                E::store(weighted.mul(V::splat(1.0 / rows.softmax[row].sum)), target);
            }
        }
    }
}
