//! Every vector type against plain arithmetic: a kernel is written once, so its lanes must mean the
//! same everywhere.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::element::{Bf16, Element, F16};

const NUMBERS: [f32; 16] =
    [0.0, -0.0, 1.0, -1.5, 3.3, 1e-3, 65504.0, -7.25, 0.1, 2.5, -3.5, 1e-7, 88.0, -87.0, 255.5, -0.3];

struct Numbers;

impl<V: Vector> Lanes<V, 1, 1> for Numbers {
    unsafe fn lane(&self, lane: usize) -> [[V; 1]; 1] {
        // SAFETY: the caller's promise.
        [[unsafe { V::splat(NUMBERS[lane]) }]]
    }
}

fn lanes<V: Vector>(vector: V) -> Vec<f32> {
    let mut lanes = vec![0.0; V::LANES];
    // SAFETY: `lanes` holds a vector.
    unsafe { vector.store(lanes.as_mut_ptr()) };
    lanes
}

fn map<V: Vector>(operation: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    (0..V::LANES).map(|i| operation(NUMBERS[i], NUMBERS[15 - i])).collect()
}

fn round_trip<E: Element, V: Vector>(x: f32) -> f32 {
    let mut stored = [E::default(); MAX_LANES];
    // SAFETY: the callers check the processor; `stored` holds a vector.
    unsafe {
        E::store(V::splat(x), stored.as_mut_ptr());
        lanes(E::load::<V>(stored.as_ptr()))[V::LANES - 1]
    }
}

#[inline(always)]
unsafe fn check<V: Vector>() {
    // SAFETY: the callers check the processor; `NUMBERS` holds a vector from its first element, and
    // from its last `V::LANES`.
    let (a, b, reversed) = unsafe {
        let reversed: Vec<f32> = NUMBERS.iter().rev().copied().collect();
        (V::load(NUMBERS.as_ptr()), V::load(reversed.as_ptr()), reversed)
    };
    assert_eq!(lanes(b), reversed[..V::LANES]);
    assert_eq!(lanes(a.add(b)), map::<V>(|a, b| a + b));
    assert_eq!(lanes(a.sub(b)), map::<V>(|a, b| a - b));
    assert_eq!(lanes(a.mul(b)), map::<V>(|a, b| a * b));
    assert_eq!(lanes(b.div(a.add(a).sub(b))), map::<V>(|a, b| b / (a + a - b)));
    assert_eq!(lanes(a.max(b)), map::<V>(f32::max));
    assert_eq!(lanes(a.min(b)), map::<V>(f32::min));
    assert_eq!(lanes(a.round()), map::<V>(|a, _| a.round_ties_even()));
    assert_eq!(lanes(a.keep_where_ge(b, a, b)), map::<V>(|a, b| if b >= a { a } else { b }));
    assert_eq!(a.greatest(), map::<V>(|a, _| a).into_iter().fold(f32::MIN, f32::max));
    for (sum, expected) in V::sum_each([a, b, a.mul(a), a]).into_iter().zip([a, b, a.mul(a), a]) {
        let expected: f32 = lanes(expected).iter().sum();
        assert!((sum - expected).abs() <= expected.abs() * 1e-6, "{sum} is not {expected}");
        assert!((a.sum() - lanes(a).iter().sum::<f32>()).abs() < 1e-2);
    }
    // SAFETY: the callers check the processor.
    let [[across]] = unsafe { sum_lanes::<V, 1, 1>(&Numbers) };
    assert_eq!(lanes(across)[0].to_bits(), a.sum().to_bits(), "attention would sum in two orders");
    for x in [0.0f32, -0.5, 1.0, 20.0, -20.0, 87.9, -86.9] {
        // SAFETY: the callers check the processor.
        let actual = unsafe { lanes(exp(V::splat(x)))[0] };
        assert!((actual / x.exp() - 1.0).abs() < 4e-7, "e^{x} is not {actual}");
    }
    // SAFETY: the callers check the processor.
    unsafe {
        assert!(lanes(exp(V::splat(-1e30)))[0] < 1e-37);
        assert_eq!(lanes(V::splat(3.0).mul_add(V::splat(-2.0), V::splat(0.5)))[0], -5.5);
        assert_eq!(lanes(V::splat(0.75).scale(V::splat(-126.0)))[0], 0.75 * f32::MIN_POSITIVE);
    }
    check_rounding::<V>();
}

fn check_rounding<V: Vector>() {
    for (x, expected) in
        [(1.0 + 1.0 / 256.0, 1.0), (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0), (-0.1, -0.100_097_656)]
    {
        assert_eq!(round_trip::<Bf16, V>(x), expected);
    }
    assert!(round_trip::<Bf16, V>(f32::from_bits(0x7fff_ffff)).is_nan());
    for (x, expected) in [
        (1.0 + 1.0 / 2048.0, 1.0),
        (65519.0, 65504.0),
        (65520.0, f32::INFINITY),
        (5.960_464_5e-8, 5.960_464_5e-8),
    ] {
        assert_eq!(round_trip::<F16, V>(x), expected);
    }
    assert!(round_trip::<F16, V>(f32::NAN).is_nan());
    let source: [f32; 3] = [1.0, 2.0, 3.0];
    let mut target = [9.0f32; 4];
    // SAFETY: three elements are readable and writable.
    unsafe {
        let part = f32::load_up_to::<V>(source.as_ptr(), 3);
        assert_eq!(lanes(part).iter().sum::<f32>(), 6.0);
        f32::store_up_to(part, target.as_mut_ptr(), 3);
    }
    assert_eq!(target, [1.0, 2.0, 3.0, 9.0]);
}

#[test]
fn portable_lanes_are_plain_arithmetic() {
    // On a processor without vectors every model would answer nonsense.
    // SAFETY: any processor will do.
    unsafe { check::<Portable>() }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn avx2_lanes_are_plain_arithmetic() {
    // On a processor without AVX-512 every model would answer nonsense.
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
    {
        // SAFETY: the processor has the instructions.
        unsafe { check::<Avx2>() }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn avx512_lanes_are_plain_arithmetic() {
    // On a processor with AVX-512 every model would answer nonsense.
    if level() == Level::Avx512 {
        // SAFETY: the processor has the instructions.
        unsafe { check::<Avx512>() }
    }
}
