//! More than 16 rows, as in prefill: the softmax has the rows along the lanes.

use super::super::wide::{Running, begin, cap_scores, mask, soften};
use super::super::{KEY_TILE, PagedAttention, Task, scratch};
use super::{Keys, Products, ROW_TILE, SIDE, TILE_LEN, pack, store_row};
use crate::simd::Vector;

/// Rows whose softmax is in registers at once: two vectors.
const STRIP: usize = 2 * SIDE;
/// Of a task.
const MAX_STRIPS: usize = ROW_TILE / STRIP;

/// Tiles in scratch memory, those of the strips one behind the other.
pub(super) struct Tiles {
    /// Of each 16 rows: [head_dim / 32, 16 pairs of elements, 16 rows], scaled and rounded.
    query: *mut u32,
    /// [KEY_TILE, head_dim], where keys have to be copied.
    keys: *mut u16,
    /// [head_dim / 16, 16 pairs of keys, 16 elements].
    pub(super) values: *mut u32,
    /// [head_dim / 16, 16 elements, 16 pairs of keys], for [`Products`] that want it.
    pub(super) transposed: *mut u32,
    /// Of a strip, [KEY_TILE, STRIP]: scores, then weights.
    pub(super) weights: *mut f32,
    /// Of a strip, two times [16 pairs of keys, 16 rows], rounded.
    pub(super) pairs: *mut u32,
    /// Of a strip, [head_dim, STRIP]: weighted values of the tile.
    pub(super) weighted: *mut f32,
    /// Of each strip, [head_dim, STRIP], not yet divided by the sum.
    output: *mut f32,
}

#[inline(always)]
pub(super) fn lay_out(head_dim: usize) -> Tiles {
    let lens = [
        ROW_TILE * head_dim / 2,
        KEY_TILE * head_dim / 2,
        head_dim * SIDE,
        head_dim * SIDE,
        KEY_TILE * STRIP,
        2 * TILE_LEN,
        head_dim * STRIP,
        MAX_STRIPS * head_dim * STRIP,
    ];
    let [query, keys, values, transposed, weights, pairs, weighted, output] =
        scratch::split(scratch::lines(lens.iter().sum()), lens);
    Tiles {
        query: query.cast(),
        keys: keys.cast(),
        values: values.cast(),
        transposed: transposed.cast(),
        weights,
        pairs: pairs.cast(),
        weighted,
        output,
    }
}

/// Two vectors of rows.
struct Strip<V> {
    first_row: usize,
    num_rows: usize,
    /// The first key that a row sees.
    begin: usize,
    /// Behind the last key that a row sees.
    end: usize,
    /// Before which a row does not see a key.
    sees_all_from: usize,
    running: Running<V, 2>,
}

impl<V: Vector> Strip<V> {
    /// # Safety
    /// As for [`attend`].
    #[inline(always)]
    unsafe fn new(args: &PagedAttention, task: &Task, first_row: usize) -> Self {
        let num_rows = STRIP.min(task.num_rows() - first_row);
        let last = first_row + num_rows - 1;
        Self {
            first_row,
            num_rows,
            begin: task.first_key(args, first_row),
            end: task.position(last) + 1,
            sees_all_from: task.first_key(args, last),
            // SAFETY: the caller's promise.
            running: unsafe { begin::<f32, V, 2>(args, task, first_row, num_rows) },
        }
    }

    /// Turns the scores of a tile of keys into pairs of rounded weights; returns what the output so
    /// far is to be multiplied with.
    ///
    /// # Safety
    /// As for [`attend`]; the tiles hold the scores.
    #[inline(always)]
    unsafe fn soften(
        &mut self,
        args: &PagedAttention,
        task: &Task,
        tiles: &Tiles,
        keys: &Keys,
        count: usize,
    ) -> [V; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            if args.soft_cap != 0.0 {
                cap_scores::<V, 2>(tiles.weights, args.soft_cap, count);
            }
            if keys.first + count > task.position(self.first_row) + 1 || keys.first < self.sees_all_from {
                mask::<V, 2>(tiles.weights, &self.running, keys.first, count);
            }
            let grown = soften::<V, 2>(tiles.weights, &mut self.running, count);
            pack::pairs(tiles.weights, tiles.pairs);
            grown
        }
    }
}

/// Attends the task's rows, a strip at a time.
///
/// # Safety
/// As for [`attend`](super::attend), with at most [`ROW_TILE`] rows.
#[inline(always)]
pub(super) unsafe fn attend<V: Vector, P: Products>(args: &PagedAttention, task: &Task) {
    let (num_rows, head_dim) = (task.num_rows(), args.head_dim);
    let num_strips = num_rows.div_ceil(STRIP);
    let query_len = head_dim / 2 * SIDE;
    // SAFETY: the caller's promise, and the tiles hold what their comments say.
    unsafe {
        let tiles = lay_out(head_dim);
        tiles.output.write_bytes(0, num_strips * head_dim * STRIP);
        for tile in 0..2 * num_strips {
            pack::query(args, task, tile * SIDE, tiles.query.add(tile * query_len));
        }
        // A second strip that is not there is the first again, and is not looked at.
        let mut strips: [Strip<V>; MAX_STRIPS] =
            [Strip::new(args, task, 0), Strip::new(args, task, (num_strips - 1) * STRIP)];
        let _ready = P::ready(num_rows);
        let mut keys = Keys::begin(args, task);
        while keys.count > 0 {
            let halves = keys.halves(args, 0, tiles.keys);
            pack::values(args, &keys, 0, tiles.values);
            P::prepare_values(&tiles, head_dim);
            for (number, strip) in strips[..num_strips].iter_mut().enumerate() {
                if keys.first >= strip.end || keys.first + keys.count <= strip.begin {
                    continue;
                }
                let count = keys.count.min(strip.end - keys.first);
                let query = tiles.query.add(2 * number * query_len);
                P::score_many(&tiles, halves, query, head_dim);
                let grown = strip.soften(args, task, &tiles, &keys, count);
                P::weigh_many(&tiles, tiles.output.add(number * head_dim * STRIP), head_dim, grown);
            }
            keys.advance(args, task);
        }
        for (number, strip) in strips[..num_strips].iter().enumerate() {
            store_output(args, task, &tiles, strip, tiles.output.add(number * head_dim * STRIP));
        }
    }
}

/// Divides by the sums and transposes back.
#[inline(always)]
unsafe fn store_output<V: Vector>(
    args: &PagedAttention,
    task: &Task,
    tiles: &Tiles,
    strip: &Strip<V>,
    output: *const f32,
) {
    let mut sums = [0.0; STRIP];
    // SAFETY: the output has these rows, the strip's is [head_dim, STRIP], and the weighted values
    // are not needed any more.
    unsafe {
        for (r, sum) in strip.running.sum.iter().enumerate() {
            sum.store(sums.as_mut_ptr().add(r * SIDE));
        }
        let transposed = tiles.weighted;
        for r in 0..2 {
            for d in (0..args.head_dim).step_by(SIDE) {
                let source = output.add(d * STRIP + r * SIDE);
                let target = transposed.add(r * SIDE * args.head_dim + d);
                pack::transpose(source.cast(), STRIP, target.cast(), args.head_dim);
            }
        }
        for (row, sum) in sums[..strip.num_rows].iter().enumerate() {
            let place = task.output_offset(args, strip.first_row + row);
            store_row::<V>(args, place, transposed.add(row * args.head_dim), *sum);
        }
    }
}
