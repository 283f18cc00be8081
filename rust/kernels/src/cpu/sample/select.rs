//! The logit at which weights reach a sum, found without a sort: first by its distance from the
//! greatest, then digit by digit among those at the same distance.

use super::mass::{BLOCK, Block, Masses, Weight};
use crate::simd::Vector;

/// Distances that are distinguished in an octave: few logits share one.
const PER_OCTAVE: f32 = 32.0;
/// Where the digits of a float begin in its ordered bits, the highest first.
const SHIFTS: [u32; 3] = [21, 10, 0];
const NUM_BINS: usize = 1 << 11;
/// Logits that are looked at together for those at a distance: few chunks have any.
const CHUNK: usize = 16;

/// Memory for the weights by distance or digit, and for the logits that are left.
#[derive(Debug)]
pub(super) struct Selection {
    bins: Box<[u64; NUM_BINS]>,
    left: Vec<f32>,
}

impl Default for Selection {
    fn default() -> Self {
        Self { bins: Box::new([0; NUM_BINS]), left: Vec::new() }
    }
}

/// What is selected by: weights, from a logit on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighing {
    pub(super) weight: Weight,
    pub(super) lowest: f32,
    pub(super) masses: Masses,
}

impl Selection {
    /// Returns the greatest logit such that the weights of it and of all greater ones reach
    /// `wanted`; `lowest` if those from `lowest` on do not.
    ///
    /// # Safety
    /// The processor has the instructions of `V`; likewise below.
    #[inline(always)]
    pub(super) unsafe fn reach<V: Vector>(
        &mut self,
        weighing: Weighing,
        logits: &[f32],
        wanted: u64,
        block: &mut Block,
    ) -> f32 {
        // SAFETY: the caller's promise.
        let Some((distance, wanted)) = (unsafe { self.near::<V>(weighing, logits, wanted, block) }) else {
            return weighing.lowest;
        };
        self.leave(weighing.masses, logits, distance);
        // SAFETY: likewise.
        unsafe { self.digits::<V>(weighing, wanted, block) }
    }

    /// Returns the distance at which the weights reach `wanted`, and what the nearer ones leave of
    /// it; `None` if they do not.
    #[inline(always)]
    unsafe fn near<V: Vector>(
        &mut self,
        weighing: Weighing,
        logits: &[f32],
        wanted: u64,
        block: &mut Block,
    ) -> Option<(usize, u64)> {
        self.bins.fill(0);
        let mut places = [0; BLOCK];
        for logits in logits.chunks(BLOCK) {
            for (place, logit) in places.iter_mut().zip(logits) {
                let distance = distance_of(weighing.masses, *logit);
                let distance = if distance < LAST { distance } else { LAST };
                // SAFETY: it is between 0 and `LAST`.
                *place = unsafe { distance.to_int_unchecked::<i32>() };
            }
            // SAFETY: the caller's promise.
            let weights = unsafe { weighing.weight.of::<V>(logits, weighing.lowest, block) };
            for (place, weight) in places.iter().zip(weights) {
                self.bins[*place as usize % NUM_BINS] += whole(*weight);
            }
        }
        first_to_reach(self.bins.iter(), wanted)
    }

    /// Leaves the logits at this distance.
    #[inline(always)]
    fn leave(&mut self, masses: Masses, logits: &[f32], distance: usize) {
        let from = distance as f32;
        let to = if from < LAST { from + 1.0 } else { f32::INFINITY };
        let is_there = |logit: f32| {
            let distance = distance_of(masses, logit);
            // An infinite one is at the last distance, too.
            (distance >= from) & ((distance < to) | (to == f32::INFINITY))
        };
        self.left.clear();
        for chunk in logits.chunks(CHUNK) {
            if chunk.iter().fold(false, |is_any, logit| is_any | is_there(*logit)) {
                self.left.extend(chunk.iter().copied().filter(|logit| is_there(*logit)));
            }
        }
    }

    /// Returns the logit out of those that are left at which their weights reach `wanted`, which
    /// they do.
    #[inline(always)]
    unsafe fn digits<V: Vector>(&mut self, weighing: Weighing, mut wanted: u64, block: &mut Block) -> f32 {
        for shift in SHIFTS {
            // Digits above this one are the same in all that are left.
            let digit_of = |logit: f32| (ordered_bits(logit) >> shift) as usize % NUM_BINS;
            self.bins.fill(0);
            for logits in self.left.chunks(BLOCK) {
                // SAFETY: the caller's promise.
                let weights = unsafe { weighing.weight.of::<V>(logits, weighing.lowest, block) };
                for (logit, weight) in logits.iter().zip(weights) {
                    self.bins[digit_of(*logit)] += whole(*weight);
                }
            }
            let reached = first_to_reach(self.bins.iter().rev(), wanted);
            let (place, rest) = reached.expect("they reached it together");
            wanted = rest;
            self.left.retain(|logit| digit_of(*logit) == NUM_BINS - 1 - place);
        }
        self.left[0]
    }
}

/// The last distance, which is that of all greater ones, too.
const LAST: f32 = (NUM_BINS - 1) as f32;

/// Returns how far a logit is from the greatest, not rounded.
#[inline(always)]
fn distance_of(masses: Masses, logit: f32) -> f32 {
    masses.octaves_below(logit) * PER_OCTAVE
}

/// Returns the place of the first sum at which the sums so far reach `wanted`, and what those
/// before leave of it.
fn first_to_reach<'a>(sums: impl Iterator<Item = &'a u64>, mut wanted: u64) -> Option<(usize, u64)> {
    for (place, sum) in sums.enumerate() {
        if *sum >= wanted {
            return Some((place, wanted));
        }
        wanted -= sum;
    }
    None
}

/// Returns a weight, which is a whole number, as such.
#[inline(always)]
fn whole(weight: f32) -> u64 {
    // SAFETY: weights are at most 2^38.
    unsafe { weight.to_int_unchecked::<i64>() as u64 }
}

/// Returns a number that orders as the float does.
#[inline(always)]
fn ordered_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    bits ^ (((bits as i32) >> 31) as u32 | 1 << 31)
}
