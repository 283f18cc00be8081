//! The ways to multiply pairs of weights, taken out of words, with pairs of activations.

use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::element::{Bf16, Element};
#[cfg(target_arch = "x86_64")]
use crate::simd::Avx512;
use crate::simd::Decode;

/// How a vector of pairs is multiplied with a pair of activations and added to a vector of sums.
///
/// Every function is unsafe for one reason: the processor must have the instructions.
pub(super) trait Product {
    /// A vector of sums.
    type Sum: Decode;
    /// An activation in memory.
    type Number: Element;
    /// What codes of four bits stand for.
    type Table: Copy;
    /// A vector of pairs of weights, ready to multiply.
    type Weights: Copy;
    /// A pair of activations, ready to multiply.
    type Numbers: Copy;
    /// Rows whose sums the registers hold.
    const ROWS: usize;

    unsafe fn table(numbers: *const f32) -> Self::Table;
    /// The pairs whose codes of four bits begin at the bits `FIRST` and `SECOND` of each word, 16
    /// apart.
    unsafe fn codes<const FIRST: u32, const SECOND: u32>(
        words: *const u32,
        table: Self::Table,
    ) -> Self::Weights;
    /// The pairs whose numbers of eight bits have `FIRST` and `SECOND` bits above them.
    unsafe fn bytes<const FIRST: u32, const SECOND: u32>(words: *const u32) -> Self::Weights;
    unsafe fn numbers(source: *const Self::Number) -> Self::Numbers;
    unsafe fn add(sum: Self::Sum, weights: Self::Weights, numbers: Self::Numbers) -> Self::Sum;
}

/// Weights widened to `f32`, the first of each pair added first.
pub(super) struct Widened<V>(PhantomData<V>);

impl<V: Decode> Product for Widened<V> {
    type Sum = V;
    type Number = f32;
    type Table = V::Table;
    type Weights = (V, V);
    type Numbers = (V, V);
    const ROWS: usize = V::TILE_ROWS;

    #[inline(always)]
    unsafe fn table(numbers: *const f32) -> V::Table {
        // SAFETY: the caller's promise.
        unsafe { V::table(numbers) }
    }

    #[inline(always)]
    unsafe fn codes<const FIRST: u32, const SECOND: u32>(words: *const u32, table: V::Table) -> (V, V) {
        // SAFETY: the caller's promise.
        unsafe { (V::look_up::<FIRST>(words, table), V::look_up::<SECOND>(words, table)) }
    }

    #[inline(always)]
    unsafe fn bytes<const FIRST: u32, const SECOND: u32>(words: *const u32) -> (V, V) {
        // SAFETY: the caller's promise.
        unsafe { (V::byte::<FIRST>(words), V::byte::<SECOND>(words)) }
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

/// Activations rounded to `bfloat16`, and numbers without their scales, which it holds exactly;
/// multiplied in pairs by the processor, the second of each pair first.
#[cfg(target_arch = "x86_64")]
pub(super) struct Rounded;

#[cfg(target_arch = "x86_64")]
impl Product for Rounded {
    type Sum = Avx512;
    type Number = Bf16;
    type Table = __m512i;
    type Weights = __m512i;
    type Numbers = __m512i;
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn table(numbers: *const f32) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { narrow_table(numbers) }
    }

    #[inline(always)]
    unsafe fn codes<const FIRST: u32, const SECOND: u32>(words: *const u32, table: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { narrow_codes::<FIRST>(words, table) }
    }

    #[inline(always)]
    unsafe fn bytes<const FIRST: u32, const SECOND: u32>(words: *const u32) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { narrow_bytes::<FIRST, SECOND>(words) }
    }

    #[inline(always)]
    unsafe fn numbers(source: *const Bf16) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_epi32(source.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn add(sum: Avx512, weights: __m512i, numbers: __m512i) -> Avx512 {
        // SAFETY: the caller's promise.
        unsafe { sum.add_pairs(weights, numbers) }
    }
}

/// Sixteen numbers as `bfloat16`, twice: a permutation reads five bits of a place, and the fifth is
/// the next code's.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn narrow_table(numbers: *const f32) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let upper = _mm512_srli_epi32::<16>(_mm512_loadu_si512(numbers.cast()));
        _mm512_broadcast_i64x4(_mm512_cvtepi32_epi16(upper))
    }
}

/// Pairs of `bfloat16` for the codes from the bits `FIRST` and `FIRST + 16` of each word on.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn narrow_codes<const FIRST: u32>(words: *const u32, table: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_permutexvar_epi16(_mm512_srli_epi32::<FIRST>(_mm512_loadu_si512(words.cast())), table) }
}

/// Pairs of `bfloat16` for the bytes that `FIRST` and `SECOND` bits of each word lie above; each is
/// the upper half of an `f32`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn narrow_bytes<const FIRST: u32, const SECOND: u32>(words: *const u32) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let words = _mm512_loadu_si512(words.cast());
        let first = _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(_mm512_slli_epi32::<FIRST>(words)));
        let second = _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(_mm512_slli_epi32::<SECOND>(words)));
        let first = _mm512_srli_epi32::<16>(_mm512_castps_si512(first));
        _mm512_mask_blend_epi16(0xaaaa_aaaa, first, _mm512_castps_si512(second))
    }
}
