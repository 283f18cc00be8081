//! Causal attention over the block-wise KV cache, prefill chunks and decodes in one call.
//!
//! The work is cut into tasks of one KV head and up to a tile of query tokens of one sequence. All
//! query heads of the KV head's group come along, so that a key is read once for `tokens * group`
//! rows. Each task streams over the keys in tiles with a running maximum and sum (Milakov and
//! Gimelshein, 2018; Dao et al., 2022):
//!
//! ```text
//!   rows: (token 0, head 0) (token 0, head 1) … (token 1, head 0) …  sees keys 0 ..= position
//!   keys: 0 … 31 | 32 … 63 | …      through the block table to cache slots, any block size
//! ```
//!
//! Three inner loops: `narrow` for a few rows keeps lanes along `head_dim` and reads the cache
//! directly; `wide` for many rows keeps lanes along the rows, so that the softmax needs no sum
//! across lanes. Where the processor multiplies `bfloat16` faster and the cache is of that type,
//! `tiled` takes any number of rows, rounds what it multiplies to `bfloat16`, and has an order of
//! its own.
//!
//! `narrow` and `wide` give a row the same bits, whatever it is computed with, and `tiled` those of
//! its own. Tiles begin at multiples of their length, so a row meets each key at the same place of
//! the same tile; hidden keys weigh 0; and each sums in one order, the first two in that:
//!
//! ```text
//!   score    lane l: elements l, l + LANES, … of the head in turn; then lanes, by `Vector::sum`
//!   weights  of a tile: lane l: keys l, l + LANES, … in turn; then the lanes; tiles in turn
//!   output   keys in turn
//! ```

mod check;
#[expect(clippy::needless_range_loop, reason = "rows and columns of registers are named by their numbers")]
mod narrow;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiled;
#[expect(clippy::needless_range_loop, reason = "vectors of rows are named by their numbers")]
mod wide;

use std::mem::offset_of;
use std::ops::Range;

use self::check::Sequence;
use super::linear::{TILE_INPUTS, prefers_rounding};
use super::rounded::Made;
use super::{Shared, by_kv_dtypes, scratch};
use crate::KvDtypes;
use crate::element::Element;
use crate::ops::{OpError, arguments};
use crate::pool::{num_threads, parallel_for};
use crate::simd::{MAX_LANES, Vector, exp, multiversioned, prefetch, tanh};

/// Keys per tile: their widened copies and scores stay in the nearest caches.
const KEY_TILE: usize = 32;
/// Rows (query token times head of the group) per task: two of the widest vectors. Those of `tiled`
/// are larger.
const ROW_TILE: usize = 2 * MAX_LANES;
/// Bytes of a cache line.
const CACHE_LINE: usize = 64;
/// A score that no softmax notices, yet finite: the difference of two is a number.
const MASKED: f32 = -1e30;
/// Key elements times rows that are worth waking a thread for: some ten microseconds' worth.
const WORK_PER_CHUNK: usize = 256 * 1024;

arguments! {
/// The arguments of [`paged_attention`].
pub struct PagedAttention, rows num_seqs {
    /// \[num_tokens, num_heads, head_dim\], contiguous.
    output: usize,
    /// \[num_tokens, num_heads, head_dim\], heads adjacent.
    query: usize,
    /// \[num_blocks, block_size, num_kv_heads, head_dim\], each block contiguous.
    key_cache: usize,
    /// As `key_cache`.
    value_cache: usize,
    /// \[num_rows, stride\] `i32`.
    block_tables: usize,
    /// \[num_seqs\] `i32`: which row of `block_tables` is whose.
    rows: usize,
    /// \[num_seqs\] `i32`.
    context_lens: usize,
    /// \[num_seqs + 1\] `i32`.
    query_starts: usize,
    /// Sequences of the step.
    num_seqs: usize,
    /// Tokens that query and output have room for.
    num_tokens: usize,
    /// Rows of `block_tables`.
    num_table_rows: usize,
    /// Blocks of the caches.
    num_blocks: usize,
    /// Query heads, a multiple of `num_kv_heads`.
    num_heads: usize,
    /// Key and value heads.
    num_kv_heads: usize,
    /// Elements per head.
    head_dim: usize,
    /// Slots per block.
    block_size: usize,
    /// Elements from one block of the caches to the next.
    block_stride: usize,
    /// Elements from one token's query to the next one's.
    query_stride: usize,
    /// Entries from one row of `block_tables` to the next.
    block_table_stride: usize,
    /// As `output`, in `bfloat16`: rounded for a product (see `rounded`), by `tiled`; 0 for none.
    rounded: usize,
    /// Multiplies the scores.
    scale: f32,
    /// Maximum keys that a token sees, its own among them; 0 for all.
    window: usize,
    /// \[num_heads\] of `dtype`: one more score of each head, without a value; 0 for none.
    sinks: usize,
    /// Bends scores to within this; 0 for not at all.
    soft_cap: f32,
    /// Of query, output and sinks.
    dtype: u32,
    /// Of the caches: the same, or `bfloat16` under `float32`.
    cache_dtype: u32,
}
}

impl PagedAttention {
    /// What it makes, if that can be rounded at once.
    pub(super) fn made(&self) -> Option<Made> {
        let dtypes = KvDtypes::from_codes(self.dtype, self.cache_dtype).ok()?;
        let width = self.num_heads * self.head_dim;
        let rounded = offset_of!(Self, rounded);
        let num_rows = self.num_tokens;
        is_tiled(self, dtypes).then_some(Made { output: self.output, num_rows, width, rounded })
    }
}

/// Query tokens of one sequence, and query heads of one KV head.
#[derive(Clone, Copy)]
struct Task {
    /// Of the block tables.
    row: usize,
    kv_head: usize,
    first_head: usize,
    num_heads: usize,
    /// The first token, counted over the whole step.
    first_token: usize,
    num_tokens: usize,
    /// Where the first token stands in its sequence: it sees the keys up to and including this one.
    first_position: usize,
}

impl Task {
    fn num_rows(&self) -> usize {
        self.num_tokens * self.num_heads
    }

    /// Returns the number of keys that the last token sees.
    fn num_keys(&self) -> usize {
        self.first_position + self.num_tokens
    }

    /// Returns the last key that a row sees.
    fn position(&self, row: usize) -> usize {
        self.first_position + row / self.num_heads
    }

    /// Returns the first key that a row sees.
    fn first_key(&self, args: &PagedAttention, row: usize) -> usize {
        if args.window == 0 { 0 } else { (self.position(row) + 1).saturating_sub(args.window) }
    }

    /// Returns the number of a row's query head.
    fn head(&self, row: usize) -> usize {
        self.first_head + row % self.num_heads
    }

    /// Returns where a row of the query starts, in elements.
    fn query_offset(&self, args: &PagedAttention, row: usize) -> usize {
        let (token, head) = (self.first_token + row / self.num_heads, self.first_head + row % self.num_heads);
        token * args.query_stride + head * args.head_dim
    }

    /// Returns where a row of the output starts, in elements.
    fn output_offset(&self, args: &PagedAttention, row: usize) -> usize {
        let (token, head) = (self.first_token + row / self.num_heads, self.first_head + row % self.num_heads);
        (token * args.num_heads + head) * args.head_dim
    }

    /// Where keys `first_key ..` start in the caches, in elements; returns how many of the tile
    /// there are.
    ///
    /// # Safety
    /// The block table covers the task's keys.
    #[inline(always)]
    unsafe fn key_offsets(
        &self,
        args: &PagedAttention,
        first_key: usize,
        offsets: &mut [usize; KEY_TILE],
    ) -> usize {
        let count = KEY_TILE.min(self.num_keys() - first_key);
        let (mut block, mut slot) = (first_key / args.block_size, first_key % args.block_size);
        let (row, slot_len) = (self.row * args.block_table_stride, args.num_kv_heads * args.head_dim);
        for offset in &mut offsets[..count] {
            // SAFETY: the caller's promise.
            let id = unsafe { *(args.block_tables as *const i32).add(row + block) } as usize;
            *offset = id * args.block_stride + slot * slot_len + self.kv_head * args.head_dim;
            slot += 1;
            if slot == args.block_size {
                (block, slot) = (block + 1, 0);
            }
        }
        count
    }
}

struct Step<'a> {
    args: &'a PagedAttention,
    tasks: &'a [Task],
    /// Whether the tasks are those of `tiled`.
    is_tiled: bool,
}

/// Asks for heads of `head_dim` elements at some offsets of a cache.
#[inline(always)]
fn fetch<C>(cache: *const C, head_dim: usize, offsets: &[usize]) {
    for offset in offsets {
        let head = cache.wrapping_add(*offset).cast::<u8>();
        for line in (0..head_dim * size_of::<C>()).step_by(CACHE_LINE) {
            prefetch(head.wrapping_add(line));
        }
    }
}

/// Attends each sequence's new tokens to its cached keys and values.
///
/// # Errors
/// A row, a length or a block id lies outside of the tensors, or there is no kernel for the dtypes;
/// nothing was written then.
///
/// # Safety
/// The addresses are those of live tensors with the shapes and strides given, the output written by
/// nothing else.
pub unsafe fn paged_attention(args: &PagedAttention) -> Result<(), OpError> {
    let dtypes = KvDtypes::from_codes(args.dtype, args.cache_dtype)?;
    // SAFETY: the caller's promise, and what `plan` has found.
    unsafe {
        let is_tiled = is_tiled(args, dtypes);
        let tasks = plan(args, row_tile(is_tiled))?;
        by_kv_dtypes!(all, dtypes, &Step { args, tasks: &tasks, is_tiled });
    }
    Ok(())
}

/// Returns whether [`paged_attention`] over a `bfloat16` cache rounds queries and weights on this
/// processor, for heads of this many elements: where products do.
#[must_use]
pub fn attention_rounds(head_dim: usize) -> bool {
    head_dim.is_multiple_of(TILE_INPUTS) && prefers_rounding()
}

fn is_tiled(args: &PagedAttention, dtypes: KvDtypes) -> bool {
    dtypes == KvDtypes::F32OverBf16 && attention_rounds(args.head_dim)
}

/// Returns the rows of a task, at most.
fn row_tile(is_tiled: bool) -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_tiled {
        return tiled::ROW_TILE;
    }
    ROW_TILE
}

/// Returns the score of a head's sink.
///
/// # Safety
/// The sinks have this head.
unsafe fn sink<E: Element, V: Vector>(args: &PagedAttention, head: usize) -> f32 {
    // SAFETY: the caller's promise; one element is read.
    unsafe { E::load_up_to::<V>((args.sinks as *const E).add(head), 1).sum() }
}

/// Bends a score to within the cap.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn bend<V: Vector>(score: V, cap: f32) -> V {
    // SAFETY: the caller's promise.
    unsafe { tanh(score.div(V::splat(cap))).mul(V::splat(cap)) }
}

/// Returns the weight of a score under the maximum so far; 0 where the score is [`MASKED`], also in
/// a tile of which a row sees nothing.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn weigh<V: Vector>(score: V, max: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { exp(score.sub(max)).keep_where_ge(score, V::splat(MASKED / 2.0), V::splat(0.0)) }
}

unsafe fn all<E: Element, C: Element>(step: &Step<'_>) {
    let Step { args, tasks, .. } = *step;
    let work_of = |task: &Task| task.num_keys() * task.num_rows() * args.head_dim;
    let (work, most_work) =
        tasks.iter().map(work_of).fold((0, 0), |(sum, most), work| (sum + work, work.max(most)));
    let together = tasks_together(args, tasks.len(), most_work);
    let num_items = tasks.len() / together;
    let min_items = (num_items * WORK_PER_CHUNK).div_ceil(work.max(1));
    let step = Shared(step);
    // SAFETY: the caller's promise; no two tasks write the same rows of the output.
    parallel_for(num_items, min_items, &|items| unsafe {
        run::<E, C>(step.get(), items.start * together..items.end * together);
    });
}

/// Returns how many tasks in a row go to the same thread: those of all heads, whose keys lie side
/// by side, where threads have as much to do all the same.
fn tasks_together(args: &PagedAttention, num_tasks: usize, most_work: usize) -> usize {
    let heads = args.num_kv_heads;
    if num_tasks >= heads * num_threads() && most_work * heads <= WORK_PER_CHUNK { heads } else { 1 }
}

/// Cuts the step into tasks, sequence by sequence.
///
/// # Errors
/// A row, a length or a block id lies outside of the tensors.
///
/// # Safety
/// `rows`, `query_starts`, `context_lens` and `block_tables` are readable.
unsafe fn plan(args: &PagedAttention, row_tile: usize) -> Result<Vec<Task>, OpError> {
    let mut tasks = Vec::new();
    for seq in 0..args.num_seqs {
        // SAFETY: the caller vouches for `num_seqs` rows and lengths, one more start, and the block
        // tables.
        let Sequence { row, start, end, context_len } = unsafe { check::sequence(args, seq)? };
        plan_sequence(args, row_tile, row, start..end, context_len, &mut tasks);
    }
    Ok(tasks)
}

fn plan_sequence(
    args: &PagedAttention,
    row_tile: usize,
    row: usize,
    tokens: Range<usize>,
    context_len: usize,
    tasks: &mut Vec<Task>,
) {
    let group = args.num_heads / args.num_kv_heads;
    let tokens_per_task = (row_tile / group).max(1);
    for first_token in tokens.clone().step_by(tokens_per_task) {
        let num_tokens = tokens_per_task.min(tokens.end - first_token);
        let first_position = (context_len + first_token).saturating_sub(tokens.end);
        for head in (0..group).step_by(row_tile) {
            let num_heads = row_tile.min(group - head);
            tasks.extend((0..args.num_kv_heads).map(|kv_head| {
                let first_head = kv_head * group + head;
                Task { row, kv_head, first_head, num_heads, first_token, num_tokens, first_position }
            }));
        }
    }
}

multiversioned!(run<E, C>, tasks, Step<'_>);

#[inline(always)]
unsafe fn tasks<E: Element, C: Element, V: Vector>(step: &Step<'_>, range: Range<usize>) {
    let args = step.args;
    #[cfg(target_arch = "x86_64")]
    if step.is_tiled {
        // SAFETY: as below.
        return unsafe { tiled::attend::<V>(args, &step.tasks[range]) };
    }
    for task in &step.tasks[range] {
        let lanes_divide = args.head_dim.is_multiple_of(V::LANES);
        // SAFETY: the caller of `paged_attention` vouches for the tensors that the task points
        // into.
        unsafe {
            match task.num_rows() {
                1 if lanes_divide => narrow::attend::<E, C, V, 1>(args, task),
                2 if lanes_divide => narrow::attend::<E, C, V, 2>(args, task),
                3 if lanes_divide => narrow::attend::<E, C, V, 3>(args, task),
                4 if lanes_divide => narrow::attend::<E, C, V, 4>(args, task),
                _ => wide::attend::<E, C, V>(args, task),
            }
        }
    }
}
