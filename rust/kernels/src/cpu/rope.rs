//! Rotary position embedding in place, then key and value into their cache slots.

use std::ops::Range;

use super::{Shared, by_kv_dtypes, rows_per_chunk};
use crate::KvDtypes;
use crate::element::Element;
use crate::pool::parallel_for;
use crate::simd::{Vector, multiversioned};

/// The arguments of [`rope_and_store_kv`].
#[derive(Clone, Copy, Debug)]
pub struct RopeAndStore {
    /// \[num_tokens, num_heads, head_dim\], heads adjacent.
    pub query: usize,
    /// \[num_tokens, num_kv_heads, head_dim\], heads adjacent.
    pub key: usize,
    /// As `key`.
    pub value: usize,
    /// Elements from one token's query to the next one's.
    pub query_stride: usize,
    /// Elements from one token's key to the next one's.
    pub key_stride: usize,
    /// Elements from one token's value to the next one's.
    pub value_stride: usize,
    /// Tokens of the step.
    pub num_tokens: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads.
    pub num_kv_heads: usize,
    /// Elements per head.
    pub head_dim: usize,
    /// Leading elements of a head that are rotated; even.
    pub rotary_dim: usize,
    /// \[max_position, rotary_dim\] `f32`: cosines, then sines.
    pub cos_sin: usize,
    /// \[num_tokens\] `i32`.
    pub positions: usize,
    /// \[num_tokens\] `i64`; negative stores nothing.
    pub slot_mapping: usize,
    /// \[slots, num_kv_heads, head_dim\], contiguous.
    pub key_cache: usize,
    /// As `key_cache`.
    pub value_cache: usize,
}

/// Rotates query and key in place and copies the rotated key and the value to their slots.
///
/// # Safety
/// The addresses are those of live tensors with the shapes and strides given, written by nobody else; positions
/// and slots lie inside `cos_sin` and the caches, and no slot occurs twice.
pub unsafe fn rope_and_store_kv(dtypes: KvDtypes, args: &RopeAndStore) {
    // SAFETY: the caller's promise.
    unsafe { by_kv_dtypes!(all, dtypes, args) }
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
        // SAFETY: the caller of `rope_and_store_kv` vouches for the tensors, positions and slots.
        unsafe {
            let position = *(args.positions as *const i32).add(token) as usize;
            let cos = (args.cos_sin as *const f32).add(position * args.rotary_dim);
            let query = (args.query as *mut E).add(token * args.query_stride);
            let key = (args.key as *mut E).add(token * args.key_stride);
            for head in 0..args.num_heads {
                rotate::<E, V>(query.add(head * args.head_dim), cos, args.rotary_dim / 2);
            }
            for head in 0..args.num_kv_heads {
                rotate::<E, V>(key.add(head * args.head_dim), cos, args.rotary_dim / 2);
            }
            let slot = *(args.slot_mapping as *const i64).add(token);
            if slot >= 0 {
                let offset = slot as usize * kv_len;
                let value = (args.value as *const E).add(token * args.value_stride);
                copy::<E, C, V>(key, (args.key_cache as *mut C).add(offset), kv_len);
                copy::<E, C, V>(value, (args.value_cache as *mut C).add(offset), kv_len);
            }
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
