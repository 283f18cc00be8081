//! The ways to multiply pairs of weights with pairs of activations.

use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::TILE;
use crate::simd::Vector;

/// The product of a vector of weight pairs and a pair of activations, added to a vector of sums.
///
/// Every function is unsafe for one reason: the processor must have the instructions.
pub(super) trait Product {
    /// Sums in a vector.
    const LANES: usize;
    /// Rows whose sums the registers hold.
    const TILE_ROWS: usize;
    /// Words of 32 bits that a pair of weights takes.
    const WORDS: usize = 1;
    /// An activation in memory.
    type Number;
    /// A vector of sums.
    type Sum: Copy;
    /// A vector of weight pairs, ready to multiply.
    type Weights: Copy;
    /// A pair of activations, ready to multiply.
    type Numbers: Copy;

    unsafe fn zero() -> Self::Sum;
    unsafe fn weights(source: *const u32) -> Self::Weights;
    unsafe fn numbers(source: *const Self::Number) -> Self::Numbers;
    unsafe fn add(sum: Self::Sum, weights: Self::Weights, numbers: Self::Numbers) -> Self::Sum;
    unsafe fn store(sum: Self::Sum, target: *mut f32);
}

/// Weights widened to `f32`; exact but for the rounding of the sum.
pub(super) struct Widened<V>(PhantomData<V>);

impl<V: Vector> Product for Widened<V> {
    const LANES: usize = V::LANES;
    const TILE_ROWS: usize = V::TILE_ROWS;
    type Number = f32;
    type Sum = V;
    type Weights = (V, V);
    type Numbers = (V, V);

    #[inline(always)]
    unsafe fn zero() -> V {
        // SAFETY: the caller's promise.
        unsafe { V::splat(0.0) }
    }

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

    #[inline(always)]
    unsafe fn store(sum: V, target: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { sum.store(target) }
    }
}

/// Weights that are `f32` already; the sums are those of [`Widened`], number by number.
pub(super) struct Plain<V>(PhantomData<V>);

impl<V: Vector> Product for Plain<V> {
    const LANES: usize = V::LANES;
    const TILE_ROWS: usize = V::TILE_ROWS;
    const WORDS: usize = 2;
    type Number = f32;
    type Sum = V;
    type Weights = (V, V);
    type Numbers = (V, V);

    #[inline(always)]
    unsafe fn zero() -> V {
        // SAFETY: the caller's promise.
        unsafe { V::splat(0.0) }
    }

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

    #[inline(always)]
    unsafe fn store(sum: V, target: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { sum.store(target) }
    }
}

/// Activations rounded to `bfloat16`, multiplied in pairs by the processor.
#[cfg(target_arch = "x86_64")]
pub(super) struct Rounded;

#[cfg(target_arch = "x86_64")]
impl Product for Rounded {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 6;
    type Number = u16;
    type Sum = __m512;
    type Weights = __m512i;
    type Numbers = __m512i;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_setzero_ps() }
    }

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
    unsafe fn add(sum: __m512, weights: __m512i, numbers: __m512i) -> __m512 {
        // SAFETY: the caller's promise; only the type of the 512 bits changes.
        unsafe {
            let pairs = std::mem::transmute::<__m512i, __m512bh>(weights);
            _mm512_dpbf16_ps(sum, pairs, std::mem::transmute::<__m512i, __m512bh>(numbers))
        }
    }

    #[inline(always)]
    unsafe fn store(sum: __m512, target: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(target, sum) }
    }
}
