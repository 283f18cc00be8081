//! Sixteen lanes.

use std::arch::x86_64::*;

use super::Vector;

/// A 512-bit register.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(pub(super) __m512);

const TO_NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

macro_rules! arithmetic {
    ($($name:ident = $instruction:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, other: Self) -> Self {
            // SAFETY: `self` exists, so the processor has the instruction.
            Self(unsafe { $instruction(self.0, other.0) })
        }
    )*};
}

impl Vector for Avx512 {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 8;

    arithmetic! {
        add = _mm512_add_ps;
        sub = _mm512_sub_ps;
        mul = _mm512_mul_ps;
        div = _mm512_div_ps;
        max = _mm512_max_ps;
        min = _mm512_min_ps;
        scale = _mm512_scalef_ps;
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { _mm512_loadu_ps(source) })
    }

    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(source.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(source: *const u32) -> (Self, Self) {
        // SAFETY: the caller's promise. The second of a pair is an `f32` with the first for its
        // lowest bits.
        unsafe {
            let pairs = _mm512_loadu_si512(source.cast());
            let second = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            (Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs))), Self(_mm512_castsi512_ps(second)))
        }
    }

    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(source.cast())) })
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(target, self.0) }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, target: *mut u16) {
        // SAFETY: the caller's promise. Adding 0x7fff and the lowest kept bit rounds to nearest
        // even; a NaN would overflow into infinity or zero and is replaced by a quiet one.
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            let safe = _mm512_mask_blend_epi32(nan, rounded, _mm512_set1_epi32(0x7fc0_0000));
            let narrow = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(safe));
            _mm256_storeu_si256(target.cast(), narrow);
        }
    }

    #[inline(always)]
    unsafe fn store_f16(self, target: *mut u16) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_si256(target.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0)) }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: `self` exists, so the processor has the instruction.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, term.0) })
    }

    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: `self` exists, so the processor has the instruction.
        Self(unsafe { _mm512_roundscale_ps::<TO_NEAREST>(self.0) })
    }

    #[inline(always)]
    fn keep_where_ge(self, limit: Self, bound: Self, other: Self) -> Self {
        // SAFETY: `self` exists, so the processor has the instructions.
        unsafe {
            let keep = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(limit.0, bound.0);
            Self(_mm512_mask_blend_ps(keep, other.0, self.0))
        }
    }

    #[inline(always)]
    fn sum_each([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: the vectors exist, so the processor has the instructions; `sums` holds four
        // lanes.
        unsafe {
            let [a, b, c, d] = [fold(a), fold(b), fold(c), fold(d)];
            let quads = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let total = _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps::<1>(quads));
            let mut sums = [0.0; 4];
            _mm_storeu_ps(sums.as_mut_ptr(), total);
            sums
        }
    }

    #[inline(always)]
    fn greatest(self) -> f32 {
        // SAFETY: `self` exists, so the processor has the instruction.
        unsafe { _mm512_reduce_max_ps(self.0) }
    }
}

/// Returns the upper half added to the lower.
#[inline(always)]
fn fold(x: Avx512) -> __m256 {
    // SAFETY: the vector exists, so the processor has the instructions.
    unsafe { _mm256_add_ps(_mm512_castps512_ps256(x.0), _mm512_extractf32x8_ps::<1>(x.0)) }
}
