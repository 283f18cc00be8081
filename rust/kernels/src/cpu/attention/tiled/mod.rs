//! Any number of rows by the processor's own products of `bfloat16`, over a cache of that type: in
//! tile registers (AMX) or in vectors.
//!
//! The scaled query and the weights of a tile of keys are rounded to `bfloat16`, as a product
//! rounds its activations. A tile of [`KEY_TILE`] keys is what one instruction of tile registers
//! sums over. The order of the sums is that of [`registers`] or that of [`vectors`].
//!
//! ```text
//!   scores  [16 keys, 16 rows]   = keys [16, 32 of the head]       · query [32 of the head, 16]
//!   few     [rows, 16 of a head] = weights [rows, 32 keys]         · values [32 keys, 16]
//!   many    [16 of a head, 16]   = values, transposed [16, 32 keys] · weights [32 keys, 16 rows]
//!   output  = output * (what the maximum has grown by) + that
//! ```
//!
//! Keys are read where they lie in the cache. The right factor of a product has neighbouring terms
//! side by side, so values are interleaved by pairs of keys; [`many`] transposes them too, since
//! its weights have the rows along the lanes, and to transpose all of them would take longer. A sum
//! does not depend on which factor stands where. Vectors take the right factor in the same form,
//! and the numbers of the left one by one.

mod few;
mod many;
mod pack;
#[expect(clippy::needless_range_loop, reason = "rows and columns of registers are named by their numbers")]
mod registers;
#[cfg(test)]
mod tests;
#[expect(clippy::needless_range_loop, reason = "rows and columns of registers are named by their numbers")]
mod vectors;

use std::ops::Range;

use self::registers::Registers;
use self::vectors::Vectors;
use super::{CACHE_LINE, KEY_TILE, PagedAttention, Task};
use crate::cpu::linear::{TILE_INPUTS as STEP, has_tiles};
use crate::element::{Bf16, Element};
use crate::parts;
use crate::simd::{Vector, prefetch};

/// Rows of a task: values are transposed once for all of them.
pub(super) const ROW_TILE: usize = 64;
/// Rows or columns of a register.
const SIDE: usize = 16;
/// The parts of a line and of a key that [`Pace`] counts.
const FRACTION: usize = 1 << 20;
/// Words of a register.
const TILE_LEN: usize = SIDE * SIDE;

/// Attends the tasks' rows.
///
/// # Safety
/// The tasks point into live tensors of `f32` and caches of `bfloat16`, `V` has 16 lanes, and the
/// processor has its instructions and products of `bfloat16`.
#[inline(always)]
pub(super) unsafe fn attend<V: Vector>(args: &PagedAttention, tasks: &[Task]) {
    // SAFETY: the caller's promise.
    unsafe {
        if has_tiles() {
            attend_by::<V, Registers>(args, tasks);
        } else {
            attend_by::<V, Vectors>(args, tasks);
        }
    }
}

#[inline(always)]
unsafe fn attend_by<V: Vector, P: Products>(args: &PagedAttention, mut tasks: &[Task]) {
    while let Some(task) = tasks.first() {
        // SAFETY: the caller's promise.
        let num_done = unsafe {
            if task.num_rows() <= SIDE {
                few::attend::<V, P>(args, tasks)
            } else {
                many::attend::<V, P>(args, task);
                1
            }
        };
        tasks = &tasks[num_done..];
    }
}

/// Writes a row of the output, divided by the sum of its weights.
///
/// # Safety
/// As for [`attend`]; the output has a head at this place, and so have the weighted values.
#[inline(always)]
unsafe fn store_row<V: Vector>(args: &PagedAttention, place: usize, weighted: *const f32, sum: f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let inverse = V::splat(1.0 / sum);
        for d in (0..args.head_dim).step_by(V::LANES) {
            let output = V::load(weighted.add(d)).mul(inverse);
            output.store((args.output as *mut f32).add(place + d));
            if args.rounded != 0 {
                Bf16::store(output, (args.rounded as *mut Bf16).add(place + d));
            }
        }
    }
}

/// The products of attention: those of up to 16 rows with the tiles of [`few`], those of 32 with
/// the tiles of [`many`]. A sum does not depend on how many rows there are.
///
/// Every function is unsafe for one reason: the processor must have the instructions, and the tiles
/// hold what their comments say.
trait Products {
    /// While it exists, this thread is ready for the products of some rows.
    type Ready;

    unsafe fn ready(num_rows: usize) -> Self::Ready;
    /// The scores of a tile of keys. Asks for what is read next meanwhile, as below.
    unsafe fn score_few(tiles: &few::Tiles, keys: Halves, head_dim: usize, ahead: Ahead, num_rows: usize);
    /// Reads those of a row.
    unsafe fn read_scores(tiles: &few::Tiles, row: usize, scores: &mut [f32; KEY_TILE]);
    /// Multiplies the output of some rows by what their maximum has grown by, and adds the weighted
    /// values of a head of a tile of keys.
    unsafe fn weigh_few<V: Vector>(
        args: &PagedAttention,
        tiles: &few::Tiles,
        keys: &Keys,
        head: usize,
        ahead: Ahead,
        grown: &[f32],
    );
    /// The scores of a tile of keys with 32 rows of a query.
    unsafe fn score_many(tiles: &many::Tiles, keys: Halves, query: *const u32, head_dim: usize);
    /// Lays out the values of a tile of keys for [`Products::weigh_many`].
    unsafe fn prepare_values(tiles: &many::Tiles, head_dim: usize);
    /// The same of 32 rows, with their output.
    unsafe fn weigh_many<V: Vector>(tiles: &many::Tiles, output: *mut f32, head_dim: usize, grown: [V; 2]);
}

/// A tile of keys: where they lie, for the first of some heads side by side.
#[derive(Clone, Copy)]
struct Keys {
    offsets: [usize; KEY_TILE],
    count: usize,
    /// The first of them.
    first: usize,
}

impl Keys {
    /// Those that a task begins with.
    ///
    /// # Safety
    /// As for [`Task::key_offsets`].
    #[inline(always)]
    unsafe fn begin(args: &PagedAttention, task: &Task) -> Self {
        let first = task.first_key(args, 0) / KEY_TILE * KEY_TILE;
        let mut keys = Self { offsets: [0; KEY_TILE], count: 0, first };
        // SAFETY: the caller's promise.
        unsafe { keys.find(args, task) }
        keys
    }

    /// Goes on to the next; there are none behind the last.
    ///
    /// # Safety
    /// As for [`Task::key_offsets`].
    #[inline(always)]
    unsafe fn advance(&mut self, args: &PagedAttention, task: &Task) {
        self.first += KEY_TILE;
        // SAFETY: the caller's promise.
        unsafe { self.find(args, task) }
    }

    #[inline(always)]
    unsafe fn find(&mut self, args: &PagedAttention, task: &Task) {
        self.count = match self.first < task.num_keys() {
            // SAFETY: the caller's promise.
            true => unsafe { task.key_offsets(args, self.first, &mut self.offsets) },
            false => 0,
        };
    }

    /// One of some parts of the keys, or of their values, with some heads side by side.
    #[inline(always)]
    fn ahead(
        &self,
        args: &PagedAttention,
        cache: usize,
        num_heads: usize,
        part: usize,
        num_parts: usize,
    ) -> Ahead<'_> {
        Ahead {
            cache: cache as *const u16,
            lines_per_key: num_heads * args.head_dim * size_of::<u16>() / CACHE_LINE,
            offsets: &self.offsets[parts::part(self.count, part, num_parts)],
        }
    }

    fn range(&self) -> Range<usize> {
        self.first..self.first + self.count
    }

    /// Where both halves of a head's tile lie, as the registers load them: in the cache, or in
    /// `copy` where blocks are not whole halves.
    ///
    /// # Safety
    /// `copy` holds [`KEY_TILE`, head_dim], and the offsets are those of keys.
    #[inline(always)]
    unsafe fn halves(&self, args: &PagedAttention, head: usize, copy: *mut u16) -> Halves {
        let cache = (args.key_cache as *const u16).wrapping_add(head * args.head_dim);
        let second = if self.count > SIDE { SIDE } else { 0 };
        if args.block_size.is_multiple_of(SIDE) {
            let step = args.num_kv_heads * args.head_dim * size_of::<u16>();
            let at = |key: usize| cache.wrapping_add(self.offsets[key]);
            return Halves { first: at(0), second: at(second), step, is_whole: second > 0 };
        }
        for (key, offset) in self.offsets[..self.count].iter().enumerate() {
            let (source, target) = (cache.wrapping_add(*offset), copy.wrapping_add(key * args.head_dim));
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(source, target, args.head_dim) }
        }
        let step = args.head_dim * size_of::<u16>();
        Halves { first: copy, second: copy.wrapping_add(second * args.head_dim), step, is_whole: second > 0 }
    }
}

/// Keys or values that are read soon, and are asked for a few cache lines at a time: all at once
/// they would wait for each other, since a processor has a few dozen lines on their way. They are
/// asked for as they lie, which is what it foresees.
#[derive(Clone, Copy)]
struct Ahead<'a> {
    /// Of the first head.
    cache: *const u16,
    /// Of the heads side by side.
    lines_per_key: usize,
    offsets: &'a [usize],
}

impl Ahead<'_> {
    fn num_lines(&self) -> usize {
        self.offsets.len() * self.lines_per_key
    }

    #[inline(always)]
    fn pace(&self, num_steps: usize) -> Pace {
        Pace {
            lines: (self.num_lines() * FRACTION).div_ceil(num_steps),
            keys: FRACTION.div_ceil(self.lines_per_key),
        }
    }

    /// Asks for the lines of a step.
    #[inline(always)]
    fn fetch(&self, pace: Pace, step: usize) {
        let end = ((step + 1) * pace.lines / FRACTION).min(self.num_lines());
        for line in step * pace.lines / FRACTION..end {
            let key = line * pace.keys / FRACTION;
            let place = self.cache.wrapping_add(self.offsets[key]);
            prefetch(place.wrapping_byte_add((line - key * self.lines_per_key) * CACHE_LINE));
        }
    }

    /// Asks for all of them.
    #[inline(always)]
    fn fetch_all(&self) {
        self.fetch(self.pace(1), 0);
    }
}

/// How fast one goes through what is [`Ahead`], so that a step need not divide.
#[derive(Clone, Copy)]
struct Pace {
    /// Lines for each step, times [`FRACTION`].
    lines: usize,
    /// Keys for each line, times [`FRACTION`].
    keys: usize,
}

/// Two times 16 keys. What lies behind the last key gives scores that are not used, and a second
/// half without keys is the first.
#[derive(Clone, Copy)]
struct Halves {
    first: *const u16,
    second: *const u16,
    /// Bytes from one key to the next.
    step: usize,
    /// Whether the second half has keys.
    is_whole: bool,
}
