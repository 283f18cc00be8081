//! Eight-bit floating-point numbers of the KV cache: `float8_e4m3fn`.
//!
//! ```text
//!   seee emmm    (-1)^s · 2^(e - 7) · 1.mmm;  e = 0: (-1)^s · 2^-6 · 0.mmm;  0x7f, 0xff: NaN
//! ```
//!
//! Micikevicius et al., *FP8 formats for deep learning*, 2022. There is no infinity; the greatest
//! number is 448.

use crate::element::{Element, F16};
use crate::simd::{MAX_LANES, Vector};

/// A number of eight bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct E4m3(u8);

const NAN: u8 = 0x7f;
const MAX: f32 = 448.0;
/// The least number with an implicit one.
const MIN_NORMAL: f32 = 1.0 / 64.0;
/// Added to a magnitude below [`MIN_NORMAL`], rounds it to a multiple of the least number, 2⁻⁹.
const TO_MULTIPLES: f32 = 16384.0;

/// Returns the bits of the half that is 2⁻⁸ times the number: the exponents' biases are 7 and 15.
#[inline(always)]
fn half_of(code: u8) -> u16 {
    let (sign, magnitude) = (u16::from(code & 0x80), u16::from(code & 0x7f));
    let not_a_number = if magnitude == u16::from(NAN) { 0x7c00 } else { 0 };
    sign << 8 | magnitude << 7 | not_a_number
}

/// Returns the number nearest to `x`, the even one of two; beyond 448 that is 448.
#[inline(always)]
fn nearest(x: f32) -> u8 {
    let sign = (x.to_bits() >> 24) as u8 & 0x80;
    let magnitude = x.abs().min(MAX);
    let bits = magnitude.to_bits();
    let below = ((magnitude + TO_MULTIPLES).to_bits().wrapping_sub(TO_MULTIPLES.to_bits())) as u8;
    // Twenty bits of the mantissa fall away; a carry out of it raises the exponent.
    let rounded = bits.wrapping_add(0x7_ffff).wrapping_add(bits >> 20 & 1) >> 20;
    let above = rounded.wrapping_sub((127 - 7) << 3) as u8;
    let code = if magnitude < MIN_NORMAL { below } else { above };
    sign | if x.is_nan() { NAN } else { code }
}

impl Element for E4m3 {
    #[inline(always)]
    unsafe fn load<V: Vector>(source: *const Self) -> V {
        let mut halves = [0; MAX_LANES];
        for (lane, half) in halves[..V::LANES].iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *half = half_of(unsafe { (*source.add(lane)).0 });
        }
        // SAFETY: the caller vouches for the processor, and `F16` is a transparent wrapper.
        unsafe { F16::load::<V>(halves.as_ptr().cast()).mul(V::splat(256.0)) }
    }

    #[inline(always)]
    unsafe fn store<V: Vector>(vector: V, target: *mut Self) {
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: the caller's promise, and `lanes` holds `MAX_LANES`.
        unsafe {
            vector.store(lanes.as_mut_ptr());
            for (lane, x) in lanes[..V::LANES].iter().enumerate() {
                *target.add(lane) = Self(nearest(*x));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Portable;

    /// The definition of the format.
    fn number(code: u8) -> f64 {
        let (exponent, mantissa) = (i32::from(code >> 3 & 0xf), f64::from(code & 7) / 8.0);
        let magnitude = match (exponent, code & 7) {
            (15, 7) => f64::NAN,
            (0, _) => mantissa * 2f64.powi(-6),
            _ => (1.0 + mantissa) * 2f64.powi(exponent - 7),
        };
        if code & 0x80 == 0 { magnitude } else { -magnitude }
    }

    fn loaded<V: Vector>(codes: &[u8]) -> Vec<f32> {
        let mut numbers = vec![0.0; codes.len()];
        for (codes, numbers) in codes.chunks_exact(V::LANES).zip(numbers.chunks_exact_mut(V::LANES)) {
            // SAFETY: both chunks have `V::LANES` elements; the caller chooses a vector of this
            // processor.
            unsafe { E4m3::load::<V>(codes.as_ptr().cast()).store(numbers.as_mut_ptr()) }
        }
        numbers
    }

    fn stored<V: Vector>(numbers: &[f32]) -> Vec<u8> {
        let mut codes = vec![0; numbers.len()];
        for (codes, numbers) in codes.chunks_exact_mut(V::LANES).zip(numbers.chunks_exact(V::LANES)) {
            // SAFETY: as in `loaded`.
            unsafe { E4m3::store(V::load(numbers.as_ptr()), codes.as_mut_ptr().cast()) }
        }
        codes
    }

    /// A cache whose numbers are read as others is noise in every answer.
    #[test]
    fn every_code_is_read_as_its_number() {
        let codes: Vec<u8> = (0..=255).collect();
        for (code, read) in codes.iter().zip(loaded::<Portable>(&codes)) {
            let expected = number(*code) as f32;
            assert!(
                read.to_bits() == expected.to_bits() || read.is_nan() && expected.is_nan(),
                "{code:#x}: {read} for {expected}"
            );
        }
    }

    /// A rounding that leans to one side moves every key of a long context the same way.
    #[test]
    fn numbers_are_rounded_to_the_nearest_and_to_even() {
        let codes: Vec<u8> = (0..NAN).collect();
        let mut numbers: Vec<f32> = codes.iter().map(|code| number(*code) as f32).collect();
        let ends: Vec<f32> = numbers.windows(2).map(|ends| (ends[0] + ends[1]) / 2.0).collect();
        let mut expected = codes;
        for (low, middle) in (0..).zip(ends) {
            let even = low + (low & 1);
            numbers.extend([middle.next_down(), middle, middle.next_up()]);
            expected.extend([low, even, low + 1]);
        }
        numbers.extend([449.0, 1e30, f32::INFINITY, f32::NAN, 1e-30]);
        expected.extend([0x7e, 0x7e, 0x7e, NAN, 0]);
        numbers.resize(numbers.len().next_multiple_of(MAX_LANES), 0.0);
        let negative: Vec<f32> = numbers.iter().map(|x| -x).collect();
        assert_eq!(stored::<Portable>(&numbers)[..expected.len()], expected);
        let expected: Vec<u8> = expected.iter().map(|code| code | 0x80).collect();
        assert_eq!(stored::<Portable>(&negative)[..expected.len()], expected);
    }
}
