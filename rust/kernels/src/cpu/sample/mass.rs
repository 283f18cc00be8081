//! Probabilities as whole numbers. Their sums depend on no order, so neither lanes nor blocks nor
//! threads can change a draw.

use crate::simd::{MAX_LANES, Vector};

/// Bits of the likeliest token's mass; half a million of those make a sum of 57 bits.
const MASS_BITS: i32 = 38;
/// Logits that are weighed at a time: the sum of their masses is exact in `f64`.
pub(super) const BLOCK: usize = 512;
/// Octaves below the likeliest token at which no mass is left.
const LEAST: f32 = -64.0;
/// Octaves per unit of a logit, at most: more would make infinities of differences.
const MAX_OCTAVES: f32 = 1e30;

/// `2^x` as a series for `x` in -0.5..=0.5, the highest power first; the next term is below
/// `1.3e-7`.
const SERIES: [f32; 7] = {
    let mut series = [1.0; 7];
    let (mut term, mut power) = (1.0, 1);
    while power < 7 {
        term *= std::f64::consts::LN_2 / power as f64;
        series[6 - power] = term as f32;
        power += 1;
    }
    series
};

/// The weights of a block of logits.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Block([f32; BLOCK]);

impl Default for Block {
    fn default() -> Self {
        Self([0.0; BLOCK])
    }
}

/// How the logits of a row become masses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Masses {
    greatest: f32,
    octaves: f32,
}

impl Masses {
    /// Those of a row with this greatest logit.
    pub(crate) fn new(greatest: f32, temperature: f32) -> Self {
        Self { greatest, octaves: (std::f32::consts::LOG2_E / temperature).min(MAX_OCTAVES) }
    }

    /// Returns `2^38 · 2^((logit - greatest) · octaves)`, a whole number.
    ///
    /// Sums and products are rounded one by one: fused ones would come out otherwise on processors
    /// that lack them.
    #[inline(always)]
    unsafe fn of<V: Vector>(self, logits: V) -> V {
        // SAFETY: `logits` proves that the processor has the instructions.
        unsafe {
            let below = logits.sub(V::splat(self.greatest)).mul(V::splat(self.octaves));
            let below = below.max(V::splat(LEAST));
            let exponent = below.round();
            let rest = below.sub(exponent);
            let mut power = V::splat(SERIES[0]);
            for coefficient in &SERIES[1..] {
                power = power.mul(rest).add(V::splat(*coefficient));
            }
            power.scale(exponent.add(V::splat(MASS_BITS as f32))).round()
        }
    }

    /// Returns how many octaves a logit is below the greatest.
    #[inline(always)]
    pub(super) fn octaves_below(self, logit: f32) -> f32 {
        (self.greatest - logit) * self.octaves
    }

    /// Returns a total of masses as a multiple of the likeliest token's.
    pub(crate) fn ratio(total: u64) -> f64 {
        total as f64 / (1u64 << MASS_BITS) as f64
    }
}

/// What counts of a logit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weight {
    /// That it is there.
    One,
    /// Its mass.
    Mass(Masses),
}

impl Weight {
    /// Returns the weights of up to [`BLOCK`] logits; 0 for those below `lowest`.
    ///
    /// # Safety
    /// The processor has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn of<'a, V: Vector>(
        self,
        logits: &[f32],
        lowest: f32,
        block: &'a mut Block,
    ) -> &'a [f32] {
        let len = logits.len().next_multiple_of(MAX_LANES);
        let weights = &mut block.0[..len];
        for start in (0..len).step_by(V::LANES) {
            // SAFETY: the caller's promise; a vector of weights begins at `start`.
            unsafe {
                let x = load_filled::<V>(logits, start, f32::NEG_INFINITY);
                let weight = match self {
                    Self::One => V::splat(1.0),
                    Self::Mass(masses) => masses.of(x),
                };
                let kept = weight.keep_where_ge(x, V::splat(lowest), V::splat(0.0));
                kept.store(weights.as_mut_ptr().add(start));
            }
        }
        &block.0[..logits.len()]
    }

    /// Returns the weight of up to [`BLOCK`] logits together.
    ///
    /// # Safety
    /// As [`Weight::of`].
    #[inline(always)]
    pub(super) unsafe fn total<V: Vector>(self, logits: &[f32], lowest: f32, block: &mut Block) -> u64 {
        // SAFETY: the caller's promise.
        let weights = unsafe { self.of::<V>(logits, lowest, block) };
        let mut sums = [0.0; MAX_LANES];
        let (whole, rest) = weights.as_chunks::<MAX_LANES>();
        for weights in whole {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += f64::from(*weight);
            }
        }
        for (sum, weight) in sums.iter_mut().zip(rest) {
            *sum += f64::from(*weight);
        }
        sums.iter().sum::<f64>() as u64
    }
}

/// Returns the vector of logits from `start` on, filled up where the row ends.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn load_filled<V: Vector>(logits: &[f32], start: usize, filling: f32) -> V {
    let left = &logits[start.min(logits.len())..];
    // SAFETY: the caller's promise; either slice holds a vector.
    unsafe {
        if left.len() >= V::LANES {
            return V::load(left.as_ptr());
        }
        let mut lanes = [filling; MAX_LANES];
        lanes[..left.len()].copy_from_slice(left);
        V::load(lanes.as_ptr())
    }
}
