//! Vectors of `f32` as wide as the processor's registers, and the choice among them at run time.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod decode;
mod portable;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use decode::Decode;
pub(crate) use portable::Portable;

/// The widest `Vector::LANES` there is.
pub(crate) const MAX_LANES: usize = 16;

/// A register of `f32` lanes.
///
/// Making one is unsafe, because it needs a processor with the right instructions; having one
/// proves that the processor has them, so arithmetic is safe. Every method is always inlined into a
/// function that [`multiversioned`] compiled with those instructions enabled.
pub(crate) trait Vector: Copy {
    /// Lanes of the register.
    const LANES: usize;
    /// Rows of an output tile of 32 columns that the registers hold.
    const TILE_ROWS: usize;

    /// Returns the same number in each lane.
    ///
    /// # Safety
    /// The processor has the instructions of this vector.
    unsafe fn splat(x: f32) -> Self;

    /// Reads `LANES` numbers.
    ///
    /// # Safety
    /// They are readable, and the processor has the instructions of this vector; likewise below.
    unsafe fn load(source: *const f32) -> Self;
    /// Reads and widens `LANES` numbers of `bfloat16`.
    ///
    /// # Safety
    /// As [`Vector::load`].
    unsafe fn load_bf16(source: *const u16) -> Self;
    /// Reads and widens `LANES` numbers of half precision.
    ///
    /// # Safety
    /// As [`Vector::load`].
    unsafe fn load_f16(source: *const u16) -> Self;

    /// Reads `LANES` pairs of `bfloat16`: the first of each pair in one vector, the second in the
    /// other.
    ///
    /// # Safety
    /// As [`Vector::load`].
    unsafe fn load_bf16_pairs(source: *const u32) -> (Self, Self);

    /// Writes `LANES` numbers.
    ///
    /// # Safety
    /// They are writable; likewise below.
    unsafe fn store(self, target: *mut f32);
    /// Writes `LANES` numbers rounded to `bfloat16`.
    ///
    /// # Safety
    /// As [`Vector::store`].
    unsafe fn store_bf16(self, target: *mut u16);
    /// Writes `LANES` numbers rounded to half precision.
    ///
    /// # Safety
    /// As [`Vector::store`].
    unsafe fn store_f16(self, target: *mut u16);

    /// `self + other`
    fn add(self, other: Self) -> Self;
    /// `self - other`
    fn sub(self, other: Self) -> Self;
    /// `self * other`
    fn mul(self, other: Self) -> Self;
    /// `self / other`
    fn div(self, other: Self) -> Self;
    /// Returns the greater of the two, lane by lane.
    fn max(self, other: Self) -> Self;
    /// Returns the lesser of the two, lane by lane.
    fn min(self, other: Self) -> Self;
    /// `self * factor + term`, rounded once where the processor can.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    /// Rounded to the nearest whole number.
    fn round(self) -> Self;
    /// `self * 2^exponent` for whole exponents in -126..=127.
    fn scale(self, exponent: Self) -> Self;
    /// `self` where `limit >= bound`, else `other`.
    fn keep_where_ge(self, limit: Self, bound: Self, other: Self) -> Self;
    /// Returns the sum of each of four vectors: lanes eight apart first, then neighbours, and
    /// neighbouring sums. [`sum_lanes`] adds in the same order.
    fn sum_each(four: [Self; 4]) -> [f32; 4];
    /// Returns the sum of the lanes, in that order.
    #[inline(always)]
    fn sum(self) -> f32 {
        Self::sum_each([self; 4])[0]
    }
    /// Returns the greatest lane.
    fn greatest(self) -> f32;
}

/// `M` times `N` sums whose terms lie in vectors of their own: those that another kernel has in one
/// lane are worked out by `lane`.
///
/// A trait and not a closure: only functions that are always inlined may use a vector.
pub(crate) trait Lanes<V, const N: usize, const M: usize> {
    /// Returns the terms of a lane, summed.
    ///
    /// # Safety
    /// The processor has the instructions of `V`, and what the implementor says.
    unsafe fn lane(&self, lane: usize) -> [[V; N]; M];
}

/// Adds lanes in the order of [`Vector::sum_each`]. Sums whose terms lie along the lanes in one
/// kernel and across them in another thus come out the same, bit for bit.
///
/// # Safety
/// That of [`Lanes::lane`].
#[inline(always)]
pub(crate) unsafe fn sum_lanes<V: Vector, const N: usize, const M: usize>(
    lanes: &impl Lanes<V, N, M>,
) -> [[V; N]; M] {
    const EIGHT: usize = 8;
    // SAFETY: the caller's promise.
    unsafe {
        let mut parts = [[[V::splat(0.0); N]; M]; 4];
        for i in 0..EIGHT {
            let mut sum = lanes.lane(i);
            if V::LANES > EIGHT {
                sum = add_each(sum, lanes.lane(i + EIGHT));
            }
            // `i` in binary: each trailing one is a sum of as many lanes that waits for its
            // neighbour.
            let complete = i.trailing_ones() as usize;
            for part in &parts[..complete] {
                sum = add_each(*part, sum);
            }
            parts[complete] = sum;
        }
        parts[3]
    }
}

#[inline(always)]
fn add_each<V: Vector, const N: usize, const M: usize>(mut a: [[V; N]; M], b: [[V; N]; M]) -> [[V; N]; M] {
    for (a, b) in a.iter_mut().zip(b) {
        for (a, b) in a.iter_mut().zip(b) {
            *a = a.add(b);
        }
    }
    a
}

/// `e^x` to within two units in the last place; below -87 it stays at about `1e-38` (the polynomial
/// is that of Cephes' `expf`).
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn exp<V: Vector>(x: V) -> V {
    // SAFETY: the caller's promise; `x` proves it as well.
    unsafe {
        let x = x.max(V::splat(-87.0)).min(V::splat(88.0));
        let exponent = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        let rest = exponent.mul_add(V::splat(-0.693_359_4), x);
        let rest = exponent.mul_add(V::splat(2.121_944_4e-4), rest);
        let mut series = V::splat(1.987_569_2e-4);
        for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
            series = series.mul_add(rest, V::splat(coefficient));
        }
        series.mul_add(rest.mul(rest), rest.add(V::splat(1.0))).scale(exponent)
    }
}

/// Returns the hyperbolic tangent, to within `1e-7`.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn tanh<V: Vector>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { V::splat(1.0).sub(V::splat(2.0).div(exp(x.add(x)).add(V::splat(1.0)))) }
}

/// The instruction sets for which the kernels are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// Returns the best level of this processor; the standard library caches the detection.
#[inline]
pub(crate) fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            return Level::Avx512;
        }
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// Returns the instruction set that the CPU kernels use here: `avx512`, `avx2` or `portable`.
#[must_use]
pub fn cpu_features() -> &'static str {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => "avx512",
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => "avx2",
        Level::Portable => "portable",
    }
}

/// Asks for the cache line at an address that will be read soon; it need not be that of anything.
#[inline(always)]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of this kind has the instruction, and it reads nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Defines `$name(args, range)`, which runs `$body(args, range)` with the processor's best vector
/// type, for one element type or (`$name<E, …>`) for any.
///
/// The body must be `#[inline(always)]`: it is compiled once per instruction set.
macro_rules! multiversioned {
    ($name:ident $(<$($element:ident),+>)?, $body:ident, $args:ty) => {
        /// # Safety
        /// The pointers in `args` are valid for the whole of `range`.
        unsafe fn $name$(<$($element: $crate::element::Element),+>)?(args: &$args, range: std::ops::Range<usize>) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            unsafe fn avx512$(<$($element: $crate::element::Element),+>)?(
                args: &$args,
                range: std::ops::Range<usize>,
            ) {
                // SAFETY: the instructions are enabled here; the pointers are the caller's promise.
                unsafe { $body::<$($($element,)+)? $crate::simd::Avx512>(args, range) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2$(<$($element: $crate::element::Element),+>)?(
                args: &$args,
                range: std::ops::Range<usize>,
            ) {
                // SAFETY: the instructions are enabled here; the pointers are the caller's promise.
                unsafe { $body::<$($($element,)+)? $crate::simd::Avx2>(args, range) }
            }
            match $crate::simd::level() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the processor has the instructions.
                $crate::simd::Level::Avx512 => unsafe { avx512$(::<$($element),+>)?(args, range) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the processor has the instructions.
                $crate::simd::Level::Avx2 => unsafe { avx2$(::<$($element),+>)?(args, range) },
                // SAFETY: any processor will do; the pointers are the caller's promise.
                $crate::simd::Level::Portable => unsafe {
                    $body::<$($($element,)+)? $crate::simd::Portable>(args, range);
                },
            }
        }
    };
}
pub(crate) use multiversioned;
