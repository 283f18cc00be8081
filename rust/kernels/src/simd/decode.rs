//! Numbers of four and eight bits, taken out of words and widened in registers.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
use super::{Portable, Vector};

/// A vector whose lanes are filled from one word each.
///
/// Every function is unsafe for one reason: the memory must be readable, and the processor must
/// have the instructions.
pub(crate) trait Decode: Vector {
    /// Sixteen numbers, ready to be looked up.
    type Table: Copy;

    unsafe fn table(numbers: *const f32) -> Self::Table;
    /// The number of each lane whose place is in the four bits of its word from bit `SHIFT` on.
    unsafe fn look_up<const SHIFT: u32>(words: *const u32, table: Self::Table) -> Self;
    /// The signed number in the eight bits of each word that `LEFT` bits lie above.
    unsafe fn byte<const LEFT: u32>(words: *const u32) -> Self;
    /// Signed numbers of eight bits that lie side by side.
    unsafe fn load_i8(source: *const i8) -> Self;
    /// Integers of fewer than 24 bits.
    unsafe fn load_i32(source: *const i32) -> Self;
    /// Writes whole numbers in -127..=127, the lane that `order` has at each place.
    unsafe fn store_i8(self, order: &[u8; 16], target: *mut i8);
    /// `self * factor + term`, rounded once on every processor.
    fn fused(self, factor: Self, term: Self) -> Self;
}

#[cfg(target_arch = "x86_64")]
impl Decode for Avx512 {
    type Table = __m512;

    #[inline(always)]
    unsafe fn table(numbers: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(numbers) }
    }

    #[inline(always)]
    unsafe fn look_up<const SHIFT: u32>(words: *const u32, table: __m512) -> Self {
        // SAFETY: the caller's promise. The permutation reads the lowest four bits of each lane.
        unsafe {
            let places = _mm512_srli_epi32::<SHIFT>(_mm512_loadu_si512(words.cast()));
            Self(_mm512_permutexvar_ps(places, table))
        }
    }

    #[inline(always)]
    unsafe fn byte<const LEFT: u32>(words: *const u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let highest = _mm512_slli_epi32::<LEFT>(_mm512_loadu_si512(words.cast()));
            Self(_mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(highest)))
        }
    }

    #[inline(always)]
    unsafe fn load_i8(source: *const i8) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(source.cast())))) }
    }

    #[inline(always)]
    unsafe fn load_i32(source: *const i32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(_mm512_cvtepi32_ps(_mm512_loadu_si512(source.cast()))) }
    }

    #[inline(always)]
    unsafe fn store_i8(self, order: &[u8; 16], target: *mut i8) {
        // SAFETY: the caller's promise.
        unsafe {
            let numbers = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0));
            let order = _mm_loadu_si128(order.as_ptr().cast());
            _mm_storeu_si128(target.cast(), _mm_shuffle_epi8(numbers, order));
        }
    }

    #[inline(always)]
    fn fused(self, factor: Self, term: Self) -> Self {
        self.mul_add(factor, term)
    }
}

#[cfg(target_arch = "x86_64")]
impl Decode for Avx2 {
    /// The first eight and the last eight.
    type Table = (__m256, __m256);

    #[inline(always)]
    unsafe fn table(numbers: *const f32) -> (__m256, __m256) {
        // SAFETY: the caller's promise.
        unsafe { (_mm256_loadu_ps(numbers), _mm256_loadu_ps(numbers.add(8))) }
    }

    #[inline(always)]
    unsafe fn look_up<const SHIFT: u32>(words: *const u32, table: (__m256, __m256)) -> Self {
        // SAFETY: the caller's promise. A permutation reads the lowest three bits of each lane, the
        // choice between the two the fourth, moved to the sign.
        unsafe {
            let places = _mm256_srlv_epi32(_mm256_loadu_si256(words.cast()), _mm256_set1_epi32(SHIFT as i32));
            let (first, last) =
                (_mm256_permutevar8x32_ps(table.0, places), _mm256_permutevar8x32_ps(table.1, places));
            Self(_mm256_blendv_ps(first, last, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(places))))
        }
    }

    #[inline(always)]
    unsafe fn byte<const LEFT: u32>(words: *const u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let count = _mm256_set1_epi32(LEFT as i32);
            let highest = _mm256_sllv_epi32(_mm256_loadu_si256(words.cast()), count);
            Self(_mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(highest)))
        }
    }

    #[inline(always)]
    unsafe fn load_i8(source: *const i8) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(source.cast())))) }
    }

    #[inline(always)]
    unsafe fn load_i32(source: *const i32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(_mm256_cvtepi32_ps(_mm256_loadu_si256(source.cast()))) }
    }

    #[inline(always)]
    unsafe fn store_i8(self, order: &[u8; 16], target: *mut i8) {
        // SAFETY: the caller's promise.
        unsafe {
            let wide = _mm256_cvtps_epi32(self.0);
            let halves = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256::<1>(wide));
            let numbers = _mm_packs_epi16(halves, halves);
            let order = _mm_loadl_epi64(order.as_ptr().cast());
            _mm_storel_epi64(target.cast(), _mm_shuffle_epi8(numbers, order));
        }
    }

    #[inline(always)]
    fn fused(self, factor: Self, term: Self) -> Self {
        self.mul_add(factor, term)
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// `self` plus the products of pairs of `bfloat16`, the second of each pair first.
    ///
    /// # Safety
    /// The processor has `avx512bf16`.
    #[inline(always)]
    pub(crate) unsafe fn add_pairs(self, weights: __m512i, numbers: __m512i) -> Self {
        // SAFETY: the caller's promise; only the type of the 512 bits changes.
        unsafe {
            let weights = std::mem::transmute::<__m512i, __m512bh>(weights);
            Self(_mm512_dpbf16_ps(self.0, weights, std::mem::transmute::<__m512i, __m512bh>(numbers)))
        }
    }
}

impl Decode for Portable {
    type Table = [f32; 16];

    #[inline(always)]
    unsafe fn table(numbers: *const f32) -> [f32; 16] {
        // SAFETY: the caller's promise.
        unsafe { numbers.cast::<[f32; 16]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn look_up<const SHIFT: u32>(words: *const u32, table: [f32; 16]) -> Self {
        // SAFETY: the caller's promise.
        let words = unsafe { words.cast::<[u32; 8]>().read_unaligned() };
        Self(words.map(|word| table[(word >> SHIFT & 15) as usize]))
    }

    #[inline(always)]
    unsafe fn byte<const LEFT: u32>(words: *const u32) -> Self {
        // SAFETY: the caller's promise.
        let words = unsafe { words.cast::<[u32; 8]>().read_unaligned() };
        Self(words.map(|word| ((word << LEFT) as i32 >> 24) as f32))
    }

    #[inline(always)]
    unsafe fn load_i8(source: *const i8) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { source.cast::<[i8; 8]>().read_unaligned() }.map(f32::from))
    }

    #[inline(always)]
    unsafe fn load_i32(source: *const i32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { source.cast::<[i32; 8]>().read_unaligned() }.map(|number| number as f32))
    }

    #[inline(always)]
    unsafe fn store_i8(self, order: &[u8; 16], target: *mut i8) {
        let numbers = std::array::from_fn(|place| self.0[usize::from(order[place])] as i8);
        // SAFETY: the caller's promise.
        unsafe { target.cast::<[i8; 8]>().write_unaligned(numbers) }
    }

    #[inline(always)]
    fn fused(self, factor: Self, term: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].mul_add(factor.0[i], term.0[i])))
    }
}

#[cfg(target_arch = "x86_64")]
impl From<Avx512> for __m512 {
    #[inline(always)]
    fn from(vector: Avx512) -> Self {
        vector.0
    }
}
