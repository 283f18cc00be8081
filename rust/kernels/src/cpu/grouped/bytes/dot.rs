//! Four products of bytes in each lane: the same integers by whatever instruction.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::cpu::linear::TILE;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Decode, Portable, Vector};

/// Bytes of four inputs of a tile.
pub(super) const QUAD: usize = 4 * TILE;

/// A vector of sums, one for each of some outputs.
///
/// Every function is unsafe for one reason: the memory must be readable or writable, and the
/// processor must have the instructions.
pub(super) trait Dot: Copy {
    /// What the sums are scaled in.
    type Vector: Decode;
    /// Four inputs of each output, ready to multiply.
    type Weights: Copy;
    /// Outputs of a vector.
    const LANES: usize = Self::Vector::LANES;
    /// Rows whose sums the registers hold, of two vectors each.
    const ROWS: usize;

    /// What the sums of a row begin at; there is -128 times the sum of its codes.
    unsafe fn start(start: *const i32) -> Self;
    unsafe fn weights(source: *const u8) -> Self::Weights;
    /// Adds the products with four codes of a row.
    unsafe fn add(self, weights: Self::Weights, codes: *const u8) -> Self;
    unsafe fn store(self, target: *mut i32);
    /// Looks up the codes of four bits of some words: those of the lower halves of their bytes at
    /// the target, those of the upper ones a tile behind.
    unsafe fn look_up(words: *const u32, table: &[i8; 16], target: *mut u8);
}

/// Defines a vector of 512 or 256 bits.
#[cfg(target_arch = "x86_64")]
macro_rules! dot {
    (
        $(#[$doc:meta])* $name:ident($inner:ty) as $vector:ty, rows $rows:literal,
        $load:ident, $store:ident, $set:ident, $spread:ident, $and:ident, $shift:ident, $shuffle:ident,
        start($start:ident) $begin:expr,
        weights($source:ident) $weights:expr => $kind:ty,
        add($sum:ident, $four:ident, $codes:ident) $add:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(super) struct $name($inner);

        impl Dot for $name {
            type Vector = $vector;
            type Weights = $kind;
            const ROWS: usize = $rows;

            #[inline(always)]
            unsafe fn start($start: *const i32) -> Self {
                // SAFETY: the caller's promise.
                Self(unsafe { $begin })
            }

            #[inline(always)]
            unsafe fn weights(source: *const u8) -> Self::Weights {
                // SAFETY: the caller's promise.
                unsafe {
                    let $source = $load(source.cast());
                    $weights
                }
            }

            #[inline(always)]
            unsafe fn add(self, $four: Self::Weights, codes: *const u8) -> Self {
                // SAFETY: the caller's promise.
                unsafe {
                    let ($sum, $codes) = (self.0, $set(codes.cast::<i32>().read_unaligned()));
                    Self($add)
                }
            }

            #[inline(always)]
            unsafe fn store(self, target: *mut i32) {
                // SAFETY: the caller's promise.
                unsafe { $store(target.cast(), self.0) }
            }

            #[inline(always)]
            unsafe fn look_up(words: *const u32, table: &[i8; 16], target: *mut u8) {
                // SAFETY: the caller's promise.
                unsafe {
                    let table = $spread(_mm_loadu_si128(table.as_ptr().cast()));
                    let words = $load(words.cast());
                    let low = $and(words, $set(0x0f0f_0f0f));
                    let high = $and($shift::<4>(words), $set(0x0f0f_0f0f));
                    $store(target.cast(), $shuffle(table, low));
                    $store(target.add(QUAD).cast(), $shuffle(table, high));
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
dot! {
    /// AVX-512 with VNNI, whose first factor has no sign: it is 128 greater than the weight.
    Vnni512(__m512i) as Avx512, rows 8,
    _mm512_loadu_si512, _mm512_storeu_si512, _mm512_set1_epi32, _mm512_broadcast_i32x4,
    _mm512_and_si512, _mm512_srli_epi32, _mm512_shuffle_epi8,
    start(start) _mm512_set1_epi32(*start),
    weights(bytes) _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)) => __m512i,
    add(sum, weights, codes) _mm512_dpbusd_epi32(sum, weights, codes)
}

#[cfg(target_arch = "x86_64")]
dot! {
    /// The same instruction of processors without AVX-512.
    Vnni256(__m256i) as Avx2, rows 4,
    _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32, _mm256_broadcastsi128_si256,
    _mm256_and_si256, _mm256_srli_epi32, _mm256_shuffle_epi8,
    start(start) _mm256_set1_epi32(*start),
    weights(bytes) _mm256_xor_si256(bytes, _mm256_set1_epi8(-128)) => __m256i,
    add(sum, weights, codes) _mm256_dpbusd_avx_epi32(sum, weights, codes)
}

#[cfg(target_arch = "x86_64")]
dot! {
    /// AVX2: magnitudes of weights, and codes with the signs of the weights. Two products of at
    /// most 128 and 127 fit into 16 bits.
    Pairs256(__m256i) as Avx2, rows 2,
    _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32, _mm256_broadcastsi128_si256,
    _mm256_and_si256, _mm256_srli_epi32, _mm256_shuffle_epi8,
    start(_start) _mm256_setzero_si256(),
    weights(bytes) (_mm256_abs_epi8(bytes), bytes) => (__m256i, __m256i),
    add(sum, weights, codes) {
        let pairs = _mm256_maddubs_epi16(weights.0, _mm256_sign_epi8(codes, weights.1));
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}

/// Any processor; the compiler uses what there is.
#[derive(Clone, Copy)]
pub(super) struct Plain([i32; 8]);

impl Dot for Plain {
    type Vector = Portable;
    type Weights = [[i8; 4]; 8];
    const ROWS: usize = 2;

    #[inline(always)]
    unsafe fn start(_: *const i32) -> Self {
        Self([0; 8])
    }

    #[inline(always)]
    unsafe fn weights(source: *const u8) -> Self::Weights {
        // SAFETY: the caller's promise.
        unsafe { source.cast::<Self::Weights>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn add(self, weights: Self::Weights, codes: *const u8) -> Self {
        // SAFETY: the caller's promise.
        let codes = unsafe { codes.cast::<[i8; 4]>().read_unaligned() };
        let product = |lane: usize, i: usize| i32::from(weights[lane][i]) * i32::from(codes[i]);
        Self(std::array::from_fn(|lane| (0..4).fold(self.0[lane], |sum, i| sum + product(lane, i))))
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut i32) {
        // SAFETY: the caller's promise.
        unsafe { target.cast::<[i32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn look_up(words: *const u32, table: &[i8; 16], target: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let bytes = words.cast::<[u8; 32]>().read_unaligned();
            let low = bytes.map(|byte| table[usize::from(byte & 15)]);
            let high = bytes.map(|byte| table[usize::from(byte >> 4)]);
            target.cast::<[i8; 32]>().write_unaligned(low);
            target.add(QUAD).cast::<[i8; 32]>().write_unaligned(high);
        }
    }
}
