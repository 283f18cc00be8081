//! Many rows, as in prefill: lanes along the rows, keys and values widened once per tile.
//!
//! Scores and output are kept transposed, [key, row] and [dim, row], so that one number of a key or
//! value is multiplied with a vector of rows, and maximum and sum of the softmax are vectors too.

use super::{KEY_TILE, MASKED, PagedAttention, Task, bend, scratch, sink, weigh};
use crate::element::Element;
use crate::simd::{Lanes, MAX_LANES, Vector, exp, sum_lanes};

/// Tiles in scratch memory for a strip of `R` vectors of rows; `dim` is `head_dim` rounded up to
/// whole vectors.
struct Tiles {
    dim: usize,
    /// [dim, rows], scaled.
    query: *mut f32,
    /// [dim, rows], not yet divided by the sum.
    output: *mut f32,
    /// [KEY_TILE, rows]: scores, then their exponentials.
    weights: *mut f32,
    /// [KEY_TILE, dim].
    keys: *mut f32,
    /// [KEY_TILE, dim].
    values: *mut f32,
}

/// The running softmax of a strip.
pub(super) struct Running<V, const R: usize> {
    max: [V; R],
    pub(super) sum: [V; R],
    /// The first key that each row sees.
    first_key: [V; R],
    /// The last key that each row sees.
    last_key: [V; R],
}

/// Attends the task's rows, two vectors of them at a time.
///
/// # Safety
/// The task points into live tensors of `E` and caches of `C`, and the processor has the
/// instructions of `V`.
#[inline(always)]
pub(super) unsafe fn attend<E: Element, C: Element, V: Vector>(args: &PagedAttention, task: &Task) {
    let num_rows = task.num_rows();
    for first_row in (0..num_rows).step_by(2 * V::LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            if num_rows - first_row > V::LANES {
                attend_strip::<E, C, V, 2>(args, task, first_row);
            } else {
                attend_strip::<E, C, V, 1>(args, task, first_row);
            }
        }
    }
}

#[inline(always)]
unsafe fn attend_strip<E: Element, C: Element, V: Vector, const R: usize>(
    args: &PagedAttention,
    task: &Task,
    first_row: usize,
) {
    let width = R * V::LANES;
    let num_rows = width.min(task.num_rows() - first_row);
    // SAFETY: the caller's promise, and the tiles hold what their comments say.
    unsafe {
        let tiles = lay_out(args.head_dim, width);
        load_query::<E, V>(args, task, &tiles, first_row, num_rows, width);
        let mut running = begin::<E, V, R>(args, task, first_row, num_rows);
        let mut offsets = [0; KEY_TILE];
        let num_keys = task.position(first_row + num_rows - 1) + 1;
        let begin = task.first_key(args, first_row) / KEY_TILE * KEY_TILE;
        let sees_all_from = task.first_key(args, first_row + num_rows - 1);
        for first_key in (begin..num_keys).step_by(KEY_TILE) {
            let count = task.key_offsets(args, first_key, &mut offsets).min(num_keys - first_key);
            widen::<C, V>(args.key_cache, args.head_dim, &offsets[..count], tiles.keys, tiles.dim);
            widen::<C, V>(args.value_cache, args.head_dim, &offsets[..count], tiles.values, tiles.dim);
            score::<V, R>(&tiles, args.head_dim, count);
            if args.soft_cap != 0.0 {
                cap_scores::<V, R>(tiles.weights, args.soft_cap, count);
            }
            if first_key + count > task.position(first_row) + 1 || first_key < sees_all_from {
                mask::<V, R>(tiles.weights, &running, first_key, count);
            }
            let grown = soften::<V, R>(tiles.weights, &mut running, count);
            accumulate::<V, R>(&tiles, &grown, count);
        }
        store_output::<E, V, R>(args, task, &tiles, &running, first_row, num_rows);
    }
}

#[inline(always)]
fn lay_out(head_dim: usize, width: usize) -> Tiles {
    let dim = head_dim.next_multiple_of(MAX_LANES);
    let lens = [dim * width, dim * width, KEY_TILE * width, KEY_TILE * dim, KEY_TILE * dim];
    let [query, output, weights, keys, values] = scratch::split(scratch::lines(lens.iter().sum()), lens);
    Tiles { dim, query, output, weights, keys, values }
}

/// Transposes the scaled query rows into the tile, zero in the lanes without a row, and clears the
/// output.
#[inline(always)]
unsafe fn load_query<E: Element, V: Vector>(
    args: &PagedAttention,
    task: &Task,
    tiles: &Tiles,
    first_row: usize,
    num_rows: usize,
    width: usize,
) {
    // SAFETY: the query has these rows, and the tiles are [dim, width].
    unsafe {
        tiles.query.write_bytes(0, tiles.dim * width);
        tiles.output.write_bytes(0, tiles.dim * width);
        for row in 0..num_rows {
            let source = task.query_offset(args, first_row + row);
            // The first row of the key tile is free until the first keys come.
            widen::<E, V>(args.query, args.head_dim, &[source], tiles.keys, tiles.dim);
            for d in 0..args.head_dim {
                *tiles.query.add(d * width + row) = *tiles.keys.add(d) * args.scale;
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn begin<E: Element, V: Vector, const R: usize>(
    args: &PagedAttention,
    task: &Task,
    first_row: usize,
    num_rows: usize,
) -> Running<V, R> {
    let (mut first_keys, mut last_keys) = ([[0.0; MAX_LANES]; R], [[0.0; MAX_LANES]; R]);
    let (mut max, mut sum) = ([[MASKED; MAX_LANES]; R], [[0.0; MAX_LANES]; R]);
    // SAFETY: the caller's processor has the instructions, each array holds a vector, and the sinks
    // have the rows' heads.
    unsafe {
        for row in 0..num_rows {
            let (r, lane) = (row / V::LANES, row % V::LANES);
            first_keys[r][lane] = task.first_key(args, first_row + row) as f32;
            last_keys[r][lane] = task.position(first_row + row) as f32;
            if args.sinks != 0 {
                (max[r][lane], sum[r][lane]) = (sink::<E, V>(args, task.head(first_row + row)), 1.0);
            }
        }
        let load = |arrays: &[[f32; MAX_LANES]; R]| std::array::from_fn(|r| V::load(arrays[r].as_ptr()));
        Running { max: load(&max), sum: load(&sum), first_key: load(&first_keys), last_key: load(&last_keys) }
    }
}

#[inline(always)]
pub(super) unsafe fn cap_scores<V: Vector, const R: usize>(scores: *mut f32, cap: f32, count: usize) {
    for i in 0..count * R {
        // SAFETY: the tile holds `count` keys of `R` vectors, and the caller's processor has the
        // instructions.
        unsafe {
            let scores = scores.add(i * V::LANES);
            bend(V::load(scores), cap).store(scores);
        }
    }
}

/// Copies rows of `head_dim` elements at the given offsets into a tile of `f32`.
#[inline(always)]
unsafe fn widen<E: Element, V: Vector>(
    source: usize,
    head_dim: usize,
    offsets: &[usize],
    tile: *mut f32,
    dim: usize,
) {
    for (row, offset) in offsets.iter().enumerate() {
        for d in (0..head_dim).step_by(V::LANES) {
            // SAFETY: the caller's offsets start rows of `head_dim` elements; a tile's row is
            // longer.
            unsafe {
                let values = E::load_up_to::<V>((source as *const E).add(offset + d), head_dim - d);
                values.store(tile.add(row * dim + d));
            }
        }
    }
}

/// The product of each key with all rows, four keys at a time; keys past `count` give numbers
/// that are not used.
#[inline(always)]
unsafe fn score<V: Vector, const R: usize>(tiles: &Tiles, head_dim: usize, count: usize) {
    let width = R * V::LANES;
    for key in (0..count).step_by(4) {
        // SAFETY: the tiles hold `KEY_TILE` keys, a multiple of four.
        unsafe {
            let keys = tiles.keys.add(key * tiles.dim);
            let products: [[V; R]; 4] = sum_lanes(&Products { tiles, keys, head_dim });
            for (i, products) in products.iter().enumerate() {
                for (r, product) in products.iter().enumerate() {
                    product.store(tiles.weights.add((key + i) * width + r * V::LANES));
                }
            }
        }
    }
}

/// The products of four keys with all rows; `narrow` has their terms along the lanes.
struct Products<'a> {
    tiles: &'a Tiles,
    /// The first of the keys.
    keys: *const f32,
    head_dim: usize,
}

impl<V: Vector, const R: usize> Lanes<V, R, 4> for Products<'_> {
    /// # Safety
    /// Both tiles have `dim` columns, which is `head_dim` or more.
    #[inline(always)]
    unsafe fn lane(&self, lane: usize) -> [[V; R]; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut products = [[V::splat(0.0); R]; 4];
            for d in (lane..self.head_dim).step_by(V::LANES) {
                let query = self.tiles.query.add(d * R * V::LANES);
                for (i, products) in products.iter_mut().enumerate() {
                    let value = V::splat(*self.keys.add(i * self.tiles.dim + d));
                    for (r, product) in products.iter_mut().enumerate() {
                        *product = value.mul_add(V::load(query.add(r * V::LANES)), *product);
                    }
                }
            }
            products
        }
    }
}

/// Hides the keys that come after a row's own position, or before its window.
#[inline(always)]
pub(super) unsafe fn mask<V: Vector, const R: usize>(
    scores: *mut f32,
    running: &Running<V, R>,
    first_key: usize,
    count: usize,
) {
    for key in 0..count {
        for r in 0..R {
            // SAFETY: the tile holds `KEY_TILE` keys of `R` vectors.
            unsafe {
                let scores = scores.add((key * R + r) * V::LANES);
                let (number, masked) = (V::splat((first_key + key) as f32), V::splat(MASKED));
                let seen = V::load(scores).keep_where_ge(running.last_key[r], number, masked);
                seen.keep_where_ge(number, running.first_key[r], masked).store(scores);
            }
        }
    }
}

/// Turns scores into weights under the running maximum; returns what the output so far is to be
/// multiplied with.
#[inline(always)]
pub(super) unsafe fn soften<V: Vector, const R: usize>(
    scores: *mut f32,
    running: &mut Running<V, R>,
    count: usize,
) -> [V; R] {
    let mut grown = running.max;
    for r in 0..R {
        // SAFETY: the tile holds `count` keys of `R` vectors.
        unsafe {
            let column = scores.add(r * V::LANES);
            let mut max = running.max[r];
            for key in 0..count {
                max = max.max(V::load(column.add(key * R * V::LANES)));
            }
            grown[r] = exp(running.max[r].sub(max));
            for key in 0..count {
                let weights = column.add(key * R * V::LANES);
                weigh(V::load(weights), max).store(weights);
            }
            for key in count..KEY_TILE {
                V::splat(0.0).store(column.add(key * R * V::LANES));
            }
            let [[sum]]: [[V; 1]; 1] = sum_lanes(&Weights::<R>(column));
            running.max[r] = max;
            running.sum[r] = running.sum[r].mul(grown[r]).add(sum);
        }
    }
    grown
}

/// A column of the tile's weights, of `R` vectors a key; `narrow` has them along the lanes.
struct Weights<const R: usize>(*const f32);

impl<V: Vector, const R: usize> Lanes<V, 1, 1> for Weights<R> {
    /// # Safety
    /// The tile holds `KEY_TILE` keys.
    #[inline(always)]
    unsafe fn lane(&self, lane: usize) -> [[V; 1]; 1] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sum = V::splat(0.0);
            for key in (lane..KEY_TILE).step_by(V::LANES) {
                sum = sum.add(V::load(self.0.add(key * R * V::LANES)));
            }
            [[sum]]
        }
    }
}

/// Adds the weighted values of the tile to the output, four columns of a head at a time.
#[inline(always)]
unsafe fn accumulate<V: Vector, const R: usize>(tiles: &Tiles, grown: &[V; R], count: usize) {
    let width = R * V::LANES;
    for d in (0..tiles.dim).step_by(4) {
        // SAFETY: the tiles have `dim` columns, a multiple of four, and `count` keys.
        unsafe {
            let mut sums = [*grown; 4];
            for (i, sums) in sums.iter_mut().enumerate() {
                for (r, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.mul(V::load(tiles.output.add((d + i) * width + r * V::LANES)));
                }
            }
            for key in 0..count {
                let weights = tiles.weights.add(key * width);
                for (i, sums) in sums.iter_mut().enumerate() {
                    let value = V::splat(*tiles.values.add(key * tiles.dim + d + i));
                    for (r, sum) in sums.iter_mut().enumerate() {
                        *sum = value.mul_add(V::load(weights.add(r * V::LANES)), *sum);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                for (r, sum) in sums.iter().enumerate() {
                    sum.store(tiles.output.add((d + i) * width + r * V::LANES));
                }
            }
        }
    }
}

/// Divides by the sums and transposes back.
#[inline(always)]
unsafe fn store_output<E: Element, V: Vector, const R: usize>(
    args: &PagedAttention,
    task: &Task,
    tiles: &Tiles,
    running: &Running<V, R>,
    first_row: usize,
    num_rows: usize,
) {
    let width = R * V::LANES;
    let mut sums = [[0.0; MAX_LANES]; R];
    // SAFETY: the output has these rows, the output tile is [dim, width], and the key tile is free
    // again.
    unsafe {
        for (array, sum) in sums.iter_mut().zip(&running.sum) {
            sum.store(array.as_mut_ptr());
        }
        for row in 0..num_rows {
            let inverse = 1.0 / sums[row / V::LANES][row % V::LANES];
            for d in 0..args.head_dim {
                *tiles.keys.add(d) = *tiles.output.add(d * width + row) * inverse;
            }
            let target = (args.output as *mut E).add(task.output_offset(args, first_row + row));
            for d in (0..args.head_dim).step_by(V::LANES) {
                E::store_up_to(V::load(tiles.keys.add(d)), target.add(d), args.head_dim - d);
            }
        }
    }
}
