//! Rotary position embedding in place, then key and value into their cache slots.

use std::ops::Range;

use super::rms_norm::sum_of_squares;
use super::{Shared, by_kv_dtypes, rows_per_chunk};
use crate::KvDtypes;
use crate::element::Element;
use crate::ops::{OpError, arguments};
use crate::pool::parallel_for;
use crate::simd::{Vector, multiversioned};

/// Declares the arguments of [`rope_and_store_kv`] of a device, by the fields that say which slots
/// its caches have and where.
macro_rules! rope_arguments {
    ($(#[$meta:meta])* { $($slots:tt)* }) => {
        arguments! {
            $(#[$meta])*
            pub struct RopeAndStore, rows num_tokens {
                /// \[num_tokens, num_heads, head_dim\], heads adjacent.
                query: usize,
                /// \[num_tokens, num_kv_heads, head_dim\], heads adjacent.
                key: usize,
                /// As `key`.
                value: usize,
                /// Elements from one token's query to the next one's.
                query_stride: usize,
                /// Elements from one token's key to the next one's.
                key_stride: usize,
                /// Elements from one token's value to the next one's.
                value_stride: usize,
                /// Tokens of the step.
                num_tokens: usize,
                /// Query heads.
                num_heads: usize,
                /// Key and value heads.
                num_kv_heads: usize,
                /// Elements per head.
                head_dim: usize,
                /// Leading elements of a head that are rotated; even, 0 for none.
                rotary_dim: usize,
                /// \[max_position, rotary_dim\] `f32`: cosines, then sines.
                cos_sin: usize,
                /// Rows of `cos_sin`.
                max_position: usize,
                /// \[max_position\] `f32`, multiplies the queries of each position; 0 for none.
                query_factors: usize,
                /// \[head_dim\], the weight of the norm of each query head before it is rotated; 0
                /// for none.
                query_norm: usize,
                /// As `query_norm`, of the keys.
                key_norm: usize,
                /// \[num_tokens\] `i32`.
                positions: usize,
                /// \[num_tokens\] `i64`; negative stores nothing.
                slot_mapping: usize,
                $($slots)*
                /// \[num_blocks, block_size, num_kv_heads, head_dim\], each block contiguous.
                key_cache: usize,
                /// As `key_cache`.
                value_cache: usize,
                /// Added to the mean square of a norm.
                eps: f32,
                /// Of query, key, value and norms.
                dtype: u32,
                /// Of the caches: the same, or `bfloat16` under `float32`.
                cache_dtype: u32,
            }
        }
    };
}
pub(crate) use rope_arguments;

rope_arguments! {
    /// The arguments of [`rope_and_store_kv`].
    {
        /// Blocks of each cache.
        num_blocks: usize,
        /// Slots per block.
        block_size: usize,
        /// Elements from one block of a cache to the next.
        block_stride: usize,
    }
}

/// Normalises and rotates query and key in place and copies the rotated key and the value to their
/// slots.
///
/// # Errors
/// A position lies outside of `cos_sin`, a slot outside of the caches, or there is no kernel for
/// the dtypes; nothing was written then.
///
/// # Safety
/// The addresses are those of live tensors with the shapes and strides given, written by no other
/// thread, and no slot occurs twice.
pub unsafe fn rope_and_store_kv(args: &RopeAndStore) -> Result<(), OpError> {
    let dtypes = KvDtypes::from_codes(args.dtype, args.cache_dtype)?;
    // SAFETY: the caller's promise, and what `check` has found.
    unsafe {
        check(args)?;
        by_kv_dtypes!(all, dtypes, args);
    }
    Ok(())
}

/// One pass over two short columns, beside which the rotation of a single token is long.
///
/// # Safety
/// That of `rope_and_store_kv`.
unsafe fn check(args: &RopeAndStore) -> Result<(), OpError> {
    let num_slots = args.num_blocks * args.block_size;
    let is_below = |value: i64, limit| usize::try_from(value).is_ok_and(|value| value < limit);
    for token in 0..args.num_tokens {
        // SAFETY: the caller vouches for columns of `num_tokens`.
        let (position, slot) = unsafe {
            (*(args.positions as *const i32).add(token), *(args.slot_mapping as *const i64).add(token))
        };
        if !is_below(position.into(), args.max_position) {
            return Err(OpError::OutOfRange {
                what: "position",
                value: position.into(),
                limit: args.max_position,
            });
        }
        if slot >= 0 && !is_below(slot, num_slots) {
            return Err(OpError::OutOfRange { what: "slot", value: slot, limit: num_slots });
        }
    }
    Ok(())
}

unsafe fn all<E: Element, C: Element>(args: &RopeAndStore) {
    let shared = Shared(*args);
    let row_len = (args.num_heads + 2 * args.num_kv_heads) * args.head_dim;
    // SAFETY: the caller's promise; ranges do not overlap.
    parallel_for(args.num_tokens, rows_per_chunk(row_len), &|tokens| unsafe {
        run::<E, C>(shared.get(), tokens);
    });
}

multiversioned!(run<E, C>, tokens, RopeAndStore);

#[inline(always)]
unsafe fn tokens<E: Element, C: Element, V: Vector>(args: &RopeAndStore, range: Range<usize>) {
    let kv_len = args.num_kv_heads * args.head_dim;
    for token in range {
        // SAFETY: the caller of `rope_and_store_kv` vouches for the tensors, and `check` for
        // positions and slots.
        unsafe {
            let position = *(args.positions as *const i32).add(token) as usize;
            let cos = (args.cos_sin as *const f32).add(position * args.rotary_dim);
            let query = (args.query as *mut E).add(token * args.query_stride);
            let key = (args.key as *mut E).add(token * args.key_stride);
            for head in 0..args.num_heads {
                let head = query.add(head * args.head_dim);
                normalise::<E, V>(args, head, args.query_norm as *const E);
                rotate::<E, V>(head, cos, args.rotary_dim / 2);
            }
            for head in 0..args.num_kv_heads {
                let head = key.add(head * args.head_dim);
                normalise::<E, V>(args, head, args.key_norm as *const E);
                rotate::<E, V>(head, cos, args.rotary_dim / 2);
            }
            if args.query_factors != 0 {
                let factor = *(args.query_factors as *const f32).add(position);
                multiply::<E, V>(query, factor, args.num_heads * args.head_dim);
            }
            let slot = *(args.slot_mapping as *const i64).add(token);
            if slot >= 0 {
                let (block, slot) = (slot as usize / args.block_size, slot as usize % args.block_size);
                let offset = block * args.block_stride + slot * kv_len;
                let value = (args.value as *const E).add(token * args.value_stride);
                copy::<E, C, V>(key, (args.key_cache as *mut C).add(offset), kv_len);
                copy::<E, C, V>(value, (args.value_cache as *mut C).add(offset), kv_len);
            }
        }
    }
}

/// Divides a head by its root mean square and multiplies it with a weight, unless that is null.
#[inline(always)]
unsafe fn normalise<E: Element, V: Vector>(args: &RopeAndStore, head: *mut E, weight: *const E) {
    if weight.is_null() {
        return;
    }
    // SAFETY: the caller vouches for a head and a weight of `head_dim` elements.
    unsafe {
        let mean = sum_of_squares::<E, V>(head, args.head_dim) / args.head_dim as f32;
        let scale = V::splat(1.0 / (mean + args.eps).sqrt());
        for i in (0..args.head_dim).step_by(V::LANES) {
            let left = args.head_dim - i;
            let normal = E::load_up_to::<V>(head.add(i), left).mul(scale);
            E::store_up_to(normal.mul(E::load_up_to::<V>(weight.add(i), left)), head.add(i), left);
        }
    }
}

#[inline(always)]
unsafe fn multiply<E: Element, V: Vector>(x: *mut E, factor: f32, len: usize) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: the caller vouches for `len` elements.
        unsafe {
            let product = E::load_up_to::<V>(x.add(i), len - i).mul(V::splat(factor));
            E::store_up_to(product, x.add(i), len - i);
        }
    }
}

/// Copies `len` elements into the cache, rounded to its element type.
#[inline(always)]
unsafe fn copy<E: Element, C: Element, V: Vector>(source: *const E, target: *mut C, len: usize) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: the caller vouches for `len` elements of both.
        unsafe { C::store_up_to(E::load_up_to::<V>(source.add(i), len - i), target.add(i), len - i) }
    }
}

/// Rotates the pairs (i, i + half) of one head; `cos` holds `half` cosines, then as many sines.
#[inline(always)]
unsafe fn rotate<E: Element, V: Vector>(head: *mut E, cos: *const f32, half: usize) {
    for i in (0..half).step_by(V::LANES) {
        let left = half - i;
        // SAFETY: a head has at least `2 * half` elements, and so has its row of `cos`.
        unsafe {
            let (first, second) = (head.add(i), head.add(half + i));
            let c = f32::load_up_to::<V>(cos.add(i), left);
            let s = f32::load_up_to::<V>(cos.add(half + i), left);
            let a = E::load_up_to::<V>(first, left);
            let b = E::load_up_to::<V>(second, left);
            E::store_up_to(a.mul(c).sub(b.mul(s)), first, left);
            E::store_up_to(b.mul(c).add(a.mul(s)), second, left);
        }
    }
}
