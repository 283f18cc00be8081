//! Up to 16 rows, as in decoding: the softmax has the keys along the lanes.
//!
//! Heads of one sequence are taken together: their keys lie side by side in the cache, which is
//! then read from front to back, as processors foresee it, and while one head waits for a register
//! another goes on.

use super::super::narrow::Softmax;
use super::super::{KEY_TILE, PagedAttention, Task, scratch};
use super::{Keys, Products, SIDE, TILE_LEN, pack, store_row};
use crate::simd::Vector;

/// Heads that are taken together, at most.
const MAX_HEADS: usize = 4;

/// Tiles of a head in scratch memory.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    /// [head_dim / 32, 16 pairs of elements, 16 rows], scaled and rounded.
    pub(super) query: *mut u32,
    /// [KEY_TILE, head_dim], where keys have to be copied.
    keys: *mut u16,
    /// [head_dim / 16, 16 pairs of keys, 16 elements]. Before there are weights, room for as many
    /// keys.
    pub(super) values: *mut u32,
    /// [KEY_TILE, 16 rows], or the other way round.
    pub(super) scores: *mut f32,
    /// [16 rows, KEY_TILE], rounded.
    pub(super) weights: *mut u32,
    /// [16 rows, head_dim]: weighted values of the tile, for [`Products`] that add them later.
    pub(super) weighted: *mut f32,
    /// [16 rows, head_dim], not yet divided by the sum.
    pub(super) output: *mut f32,
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
    pub(super) fn lay_out(head_dim: usize) -> [Self; MAX_HEADS] {
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
    unsafe fn soften<V: Vector, P: Products>(&mut self, args: &PagedAttention, task: &Task, keys: &Keys) {
        for row in 0..task.num_rows() {
            let mut weights = [0.0; KEY_TILE];
            // SAFETY: see above.
            unsafe {
                P::read_scores(&self.tiles, row, &mut weights);
                self.grown[row] = self.softmax[row].soften::<V>(args, task, row, &mut weights, keys.range());
                pack::round(&weights, self.tiles.weights.add(row * SIDE));
            }
        }
    }

    /// Divides by the sums.
    #[inline(always)]
    unsafe fn store<V: Vector>(&self, args: &PagedAttention, task: &Task) {
        for row in 0..task.num_rows() {
            // SAFETY: see above; the output has this row.
            unsafe {
                let output = self.tiles.output.add(row * args.head_dim);
                store_row::<V>(args, task.output_offset(args, row), output, self.softmax[row].sum);
            }
        }
    }
}

/// Attends the rows of the first tasks, as many as have up to 16; returns how many.
///
/// # Safety
/// As for [`attend`](super::attend); there is one.
#[inline(always)]
pub(super) unsafe fn attend<V: Vector, P: Products>(args: &PagedAttention, tasks: &[Task]) -> usize {
    let num_tasks = tasks.iter().take_while(|task| task.num_rows() <= SIDE).count();
    let mut tasks = &tasks[..num_tasks];
    // SAFETY: the caller's promise.
    unsafe {
        let mut keys = Keys::begin(args, &tasks[0]);
        keys.ahead(args, args.key_cache, num_heads_beside(tasks), 0, 1).fetch_all();
        while !tasks.is_empty() {
            let (heads, others) = tasks.split_at(num_heads_beside(tasks));
            keys = attend_heads::<V, P>(args, heads, others, keys);
            tasks = others;
        }
    }
    num_tasks
}

/// Returns how many of the first tasks are of one sequence's heads side by side.
fn num_heads_beside(tasks: &[Task]) -> usize {
    let is_beside = |(number, task): &(usize, &Task)| {
        let is_next = task.kv_head == tasks[0].kv_head + number && task.num_heads == tasks[0].num_heads;
        is_next && task.first_token == tasks[0].first_token
    };
    tasks.iter().take(MAX_HEADS).enumerate().take_while(is_beside).count()
}

/// Attends the rows of tasks side by side, from the first keys on, which have been asked for;
/// returns the first keys of the other tasks, which have been too.
///
/// # Safety
/// As for [`attend`].
#[inline(always)]
unsafe fn attend_heads<V: Vector, P: Products>(
    args: &PagedAttention,
    tasks: &[Task],
    others: &[Task],
    mut keys: Keys,
) -> Keys {
    let (first, num_heads) = (&tasks[0], tasks.len());
    let head = |tiles| Head { tiles, softmax: [Softmax::default(); SIDE], grown: [1.0; SIDE] };
    let mut heads = Tiles::lay_out(args.head_dim).map(head);
    let heads = &mut heads[..num_heads];
    // SAFETY: the caller's promise, and the tiles hold what their comments say.
    unsafe {
        for (head, task) in heads.iter_mut().zip(tasks) {
            head.begin::<V>(args, task);
        }
        let _ready = P::ready(first.num_rows());
        loop {
            for (number, (head, task)) in heads.iter_mut().zip(tasks).enumerate() {
                let halves = keys.halves(args, number, head.tiles.keys);
                let values = keys.ahead(args, args.value_cache, num_heads, number, num_heads);
                P::score_few(&head.tiles, halves, args.head_dim, values, first.num_rows());
                head.soften::<V, P>(args, task, &keys);
            }
            let (mut next, mut num_next_heads) = (keys, num_heads);
            next.advance(args, first);
            let is_last = next.count == 0;
            if let (true, Some(other)) = (is_last, others.first()) {
                (next, num_next_heads) = (Keys::begin(args, other), num_heads_beside(others));
            }
            for (number, head) in heads.iter().enumerate() {
                let ahead = next.ahead(args, args.key_cache, num_next_heads, number, num_heads);
                P::weigh_few::<V>(args, &head.tiles, &keys, number, ahead, &head.grown[..first.num_rows()]);
            }
            keys = next;
            if is_last {
                break;
            }
        }
        for (head, task) in heads.iter().zip(tasks) {
            head.store::<V>(args, task);
        }
    }
    keys
}
