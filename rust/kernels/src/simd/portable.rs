//! Eight lanes in an array, for processors without AVX2: the compiler uses what there is.

use super::Vector;

/// An array that is treated as a register.
#[derive(Clone, Copy)]
pub(crate) struct Portable(pub(super) [f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| operation(self.0[i], other.0[i])))
    }
}

impl Vector for Portable {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 2;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 8])
    }

    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { source.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> Self {
        // SAFETY: the caller's promise.
        let bits = unsafe { source.cast::<[u16; 8]>().read_unaligned() };
        Self(bits.map(|half| f32::from_bits(u32::from(half) << 16)))
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(source: *const u32) -> (Self, Self) {
        // SAFETY: the caller's promise.
        let pairs = unsafe { source.cast::<[u32; 8]>().read_unaligned() };
        (
            Self(pairs.map(|pair| f32::from_bits(pair << 16))),
            Self(pairs.map(|pair| f32::from_bits(pair & 0xffff_0000))),
        )
    }

    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> Self {
        // SAFETY: the caller's promise.
        let bits = unsafe { source.cast::<[u16; 8]>().read_unaligned() };
        Self(bits.map(half_to_f32))
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { target.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, target: *mut u16) {
        // SAFETY: the caller's promise.
        unsafe { target.cast::<[u16; 8]>().write_unaligned(self.0.map(bf16_from_f32)) }
    }

    #[inline(always)]
    unsafe fn store_f16(self, target: *mut u16) {
        // SAFETY: the caller's promise.
        unsafe { target.cast::<[u16; 8]>().write_unaligned(self.0.map(half_from_f32)) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        // Not `f32::mul_add`: without the instruction that is a call into the C library per lane.
        self.mul(factor).add(term)
    }

    #[inline(always)]
    fn round(self) -> Self {
        Self(self.0.map(f32::round_ties_even))
    }

    #[inline(always)]
    fn scale(self, exponent: Self) -> Self {
        self.zip(exponent, |x, n| x * f32::from_bits(((n as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    fn keep_where_ge(self, limit: Self, bound: Self, other: Self) -> Self {
        Self(std::array::from_fn(|i| if limit.0[i] >= bound.0[i] { self.0[i] } else { other.0[i] }))
    }

    #[inline(always)]
    fn sum_each(four: [Self; 4]) -> [f32; 4] {
        four.map(|Self([a, b, c, d, e, f, g, h])| ((a + b) + (c + d)) + ((e + f) + (g + h)))
    }

    #[inline(always)]
    fn greatest(self) -> f32 {
        self.0.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

fn bf16_from_f32(x: f32) -> u16 {
    if x.is_nan() {
        return 0x7fc0;
    }
    let bits = x.to_bits();
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

fn half_to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let magnitude = u32::from(half & 0x7fff);
    if magnitude >= 0x7c00 {
        // Infinity and NaN: the greatest exponent in either format.
        return f32::from_bits(sign | 0x7f80_0000 | ((magnitude & 0x3ff) << 13));
    }
    // Read as an `f32` it is too small by the difference of the exponent biases, 127 - 15; so are
    // subnormals.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(sign | scaled.to_bits())
}

fn half_from_f32(x: f32) -> u16 {
    let sign = ((x.to_bits() >> 16) & 0x8000) as u16;
    let magnitude = x.abs();
    if magnitude.is_nan() {
        return sign | 0x7e00;
    }
    // From here on rounding would reach 65536, which half precision has not.
    if magnitude >= 65520.0 {
        return sign | 0x7c00;
    }
    // Below the least normal number the spacing is constant: adding 0.5 aligns the mantissa to it
    // and rounds.
    if magnitude < f32::from_bits((127 - 14) << 23) {
        return sign | ((magnitude + 0.5).to_bits() - 0.5f32.to_bits()) as u16;
    }
    let bits = magnitude.to_bits() - ((127 - 15) << 23);
    sign | ((bits + 0xfff + ((bits >> 13) & 1)) >> 13) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_round_trip() {
        // A wrong conversion would corrupt float16 models on processors without the instruction.
        for half in 0..=u16::MAX {
            let wide = half_to_f32(half);
            if wide.is_nan() {
                assert!(half_to_f32(half_from_f32(wide)).is_nan());
            } else {
                assert_eq!(half_from_f32(wide), half, "{half:#06x} is {wide}");
            }
        }
    }

    #[test]
    fn halves_round_to_nearest_even() {
        // Truncation would bias every stored activation towards zero.
        assert_eq!(half_from_f32(1.0 + 1.0 / 2048.0), 0x3c00);
        assert_eq!(half_from_f32(1.0 + 3.0 / 2048.0), 0x3c02);
        assert_eq!(half_from_f32(65519.0), 0x7bff);
        assert_eq!(half_from_f32(65520.0), 0x7c00);
        assert_eq!(half_from_f32(f32::from_bits((127 - 25) << 23)), 0);
        assert_eq!(half_from_f32(1.5 * f32::from_bits((127 - 25) << 23)), 1);
    }
}
