//! Any number of rows by the tile registers of the processor (AMX), over a `bfloat16` cache.
//!
//! The scaled query and the weights of a tile of keys are rounded to `bfloat16`, as a product
//! rounds its activations. A tile of [`KEY_TILE`] keys is what one instruction sums over, so both
//! products have the order of [`linear`](crate::cpu::linear): the even and the odd terms of 32
//! elements apart, from 0, then both added to each other.
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
//! does not depend on which factor stands where.

#[expect(clippy::needless_range_loop, reason = "rows and columns of registers are named by their numbers")]
mod few;
mod many;
mod pack;
mod registers;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::{KEY_TILE, PagedAttention, Task, fetch};
use crate::cpu::linear::TILE_INPUTS as STEP;
use crate::simd::Vector;

/// Rows of a task: values are transposed once for all of them.
pub(super) const ROW_TILE: usize = 64;
/// Rows or columns of a register.
const SIDE: usize = 16;
/// 2^-96.
const LEAST_SUM: f32 = 1.262_177_4e-29;
/// Words of a register.
const TILE_LEN: usize = SIDE * SIDE;

/// Attends the tasks' rows.
///
/// # Safety
/// The tasks point into live tensors of `f32` and caches of `bfloat16`, `V` has 16 lanes, and the
/// processor has its instructions and tile registers.
#[inline(always)]
pub(super) unsafe fn attend<V: Vector>(args: &PagedAttention, mut tasks: &[Task]) {
    while let Some(task) = tasks.first() {
        // SAFETY: the caller's promise.
        let num_done = unsafe {
            if task.num_rows() <= SIDE {
                few::attend::<V>(args, tasks)
            } else {
                many::attend::<V>(args, task);
                1
            }
        };
        tasks = &tasks[num_done..];
    }
}

/// Returns 0 in place of sums too small for the ways to sum to agree: registers take numbers that
/// are not normal for 0, vectors do not. That changes a sum of 32 terms by less than 2^-121, and so
/// none of 2^-96 or more.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn without_least<V: Vector>(sum: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let size = sum.max(V::splat(0.0).sub(sum));
        sum.keep_where_ge(size, V::splat(LEAST_SUM), V::splat(0.0))
    }
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

    /// Asks for a head of the keys, or of their values.
    #[inline(always)]
    fn fetch(&self, args: &PagedAttention, cache: usize, head: usize) {
        let cache = (cache as *const u16).wrapping_add(head * args.head_dim);
        fetch(cache, args.head_dim, &self.offsets[..self.count]);
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
            return Halves { first: at(0), second: at(second), step };
        }
        for (key, offset) in self.offsets[..self.count].iter().enumerate() {
            let (source, target) = (cache.wrapping_add(*offset), copy.wrapping_add(key * args.head_dim));
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(source, target, args.head_dim) }
        }
        let second = copy.wrapping_add(second * args.head_dim);
        Halves { first: copy, second, step: args.head_dim * size_of::<u16>() }
    }
}

/// Two times 16 keys. What lies behind the last key gives scores that are not used, and a second
/// half without keys is the first.
#[derive(Clone, Copy)]
struct Halves {
    first: *const u16,
    second: *const u16,
    /// Bytes from one key to the next.
    step: usize,
}
