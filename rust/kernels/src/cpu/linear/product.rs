//! The ways to multiply pairs of weights with pairs of activations.

use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::TILE;
#[cfg(target_arch = "x86_64")]
use crate::simd::Avx512;
use crate::simd::Vector;

/// The product of a vector of weight pairs and a pair of activations, added to a vector of sums.
///
/// Every function is unsafe for one reason: the processor must have the instructions.
pub(super) trait Product {
    /// Rows whose sums the registers hold.
    const TILE_ROWS: usize;
    /// Vectors of sums that leave enough registers to what is multiplied.
    const MAX_SUMS: usize = 20;
    /// Words of 32 bits that a pair of weights takes.
    const WORDS: usize = 1;
    /// An activation in memory.
    type Number;
    /// A vector of sums.
    type Sum: Vector;
    /// A vector of weight pairs, ready to multiply.
    type Weights: Copy;
    /// A pair of activations, ready to multiply.
    type Numbers: Copy;

    unsafe fn weights(source: *const u32) -> Self::Weights;
    unsafe fn numbers(source: *const Self::Number) -> Self::Numbers;
    unsafe fn add(sum: Self::Sum, weights: Self::Weights, numbers: Self::Numbers) -> Self::Sum;
}

/// Weights widened to `f32`; exact but for the rounding of the sum.
pub(super) struct Widened<V>(PhantomData<V>);

impl<V: Vector> Product for Widened<V> {
    const TILE_ROWS: usize = V::TILE_ROWS;
    type Number = f32;
    type Sum = V;
    type Weights = (V, V);
    type Numbers = (V, V);

    #[inline(always)]
    unsafe fn weights(source: *const u32) -> (V, V) {
        // SAFETY: the caller's promise.
        unsafe { V::load_bf16_pairs(source) }
    }

    #[inline(always)]
    unsafe fn numbers(source: *const f32) -> (V, V) {
        // SAFETY: the caller's promise.
        unsafe { (V::splat(*source), V::splat(*source.add(1))) }
    }

    #[inline(always)]
    unsafe fn add(sum: V, weights: (V, V), numbers: (V, V)) -> V {
        numbers.1.mul_add(weights.1, numbers.0.mul_add(weights.0, sum))
    }
}

/// Weights that are `f32` already; the sums are those of [`Widened`], number by number.
pub(super) struct Plain<V>(PhantomData<V>);

impl<V: Vector> Product for Plain<V> {
    const TILE_ROWS: usize = V::TILE_ROWS;
    const WORDS: usize = 2;
    type Number = f32;
    type Sum = V;
    type Weights = (V, V);
    type Numbers = (V, V);

    #[inline(always)]
    unsafe fn weights(source: *const u32) -> (V, V) {
        // SAFETY: the caller's promise; the second of each pair lies a tile's lanes after the
        // first.
        unsafe { (V::load(source.cast()), V::load(source.add(TILE).cast())) }
    }

    #[inline(always)]
    unsafe fn numbers(source: *const f32) -> (V, V) {
        // SAFETY: the caller's promise.
        unsafe { (V::splat(*source), V::splat(*source.add(1))) }
    }

    #[inline(always)]
    unsafe fn add(sum: V, weights: (V, V), numbers: (V, V)) -> V {
        numbers.1.mul_add(weights.1, numbers.0.mul_add(weights.0, sum))
    }
}

/// Activations rounded to `bfloat16`, multiplied in pairs by the processor.
#[cfg(target_arch = "x86_64")]
pub(super) struct Rounded;

#[cfg(target_arch = "x86_64")]
impl Product for Rounded {
    const TILE_ROWS: usize = 8;
    const MAX_SUMS: usize = 24;
    type Number = u16;
    type Sum = Avx512;
    type Weights = __m512i;
    type Numbers = __m512i;

    #[inline(always)]
    unsafe fn weights(source: *const u32) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_si512(source.cast()) }
    }

    #[inline(always)]
    unsafe fn numbers(source: *const u16) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_epi32(source.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn add(sum: Avx512, weights: __m512i, numbers: __m512i) -> Avx512 {
        // SAFETY: the caller's promise.
        unsafe { sum.add_pairs(weights, numbers) }
    }
}
