//! The draw of one row: which tokens are kept, then the one at which their masses pass the random
//! number.

use super::Rule;
use super::mass::{BLOCK, Block, Masses, Weight};
use super::notes::Notes;
use super::select::{Selection, Weighing};
use crate::simd::Vector;

/// How far below the greatest logit those are that `top_p` mostly keeps, in temperatures.
const WINDOW: f32 = 9.0;

/// The memory of a draw.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// The greatest logits of some disjoint parts of the row.
    pub(super) maxima: Vec<f32>,
    block: Block,
    notes: Notes,
    sums: Vec<u64>,
    selection: Selection,
}

/// What a row is drawn by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    rule: Rule,
    uniform: f32,
    greatest: f32,
    masses: Masses,
}

impl Draw {
    /// The draw of a row whose greatest logit is finite.
    pub(super) fn new(rule: Rule, greatest: f32, uniform: f32) -> Self {
        Self { rule, uniform, greatest, masses: Masses::new(greatest, rule.temperature) }
    }

    /// Returns the token.
    ///
    /// # Safety
    /// The processor has the instructions of `V`; likewise below.
    #[inline(always)]
    pub(super) unsafe fn token<V: Vector>(&self, logits: &[f32], work: &mut Work) -> usize {
        let lowest = self.lowest(logits);
        // SAFETY: the caller's promise.
        unsafe {
            if self.rule.top_k == 0 && self.rule.top_p >= 1.0 {
                return self.invert::<V>(logits, lowest, &mut work.sums, &mut work.block);
            }
            let Work { maxima, block, notes, sums, selection } = work;
            let border = lowest.max(self.border(maxima));
            let total = self.note::<V>(logits, lowest, border, notes, block);
            if self.suffice::<V>(notes, border == lowest, total, block) {
                let lowest = self.threshold::<V>(&notes.logits, lowest, total, selection, block);
                notes.tokens[self.invert::<V>(&notes.logits, lowest, sums, block)]
            } else {
                let lowest = self.threshold::<V>(logits, lowest, total, selection, block);
                self.invert::<V>(logits, lowest, sums, block)
            }
        }
    }

    /// Returns the least logit that `min_p` and `top_n_sigma` keep.
    fn lowest(&self, logits: &[f32]) -> f32 {
        let greatest = f64::from(self.greatest);
        let mut lowest = f64::NEG_INFINITY;
        if self.rule.min_p > 0.0 {
            lowest = greatest + f64::from(self.rule.min_p).ln() * f64::from(self.rule.temperature);
        }
        if self.rule.top_n_sigma > 0.0 {
            lowest = lowest.max(greatest - f64::from(self.rule.top_n_sigma) * self.deviation(logits));
        }
        lowest as f32
    }

    /// Returns the standard deviation of the logits of all tokens that may be drawn (top-n-sigma is
    /// that of Tang et al. 2024, arXiv:2411.07641). Temperature would divide it as it divides the
    /// logits, so it chooses the same tokens at each.
    fn deviation(&self, logits: &[f32]) -> f64 {
        const LANES: usize = 8;
        let [mut sums, mut squares, mut counts] = [[0.0; LANES]; 3];
        for logits in logits.chunks(LANES) {
            for (lane, logit) in logits.iter().enumerate() {
                let is_possible = *logit > f32::NEG_INFINITY;
                let below = if is_possible { f64::from(logit - self.greatest) } else { 0.0 };
                sums[lane] += below;
                squares[lane] += below * below;
                counts[lane] += f64::from(u8::from(is_possible));
            }
        }
        let [sum, squares, count] = [sums, squares, counts].map(|lanes| lanes.iter().sum::<f64>());
        let mean = sum / count;
        (squares / count - mean * mean).max(0.0).sqrt()
    }

    /// Returns a logit from which on the likeliest tokens are, mostly as many as are needed.
    fn border(&self, maxima: &mut [f32]) -> f32 {
        let top_k = self.rule.top_k;
        if top_k == 0 {
            return self.greatest - WINDOW * self.rule.temperature;
        }
        if top_k > maxima.len() {
            return f32::NEG_INFINITY;
        }
        // As many logits are at least as great as that of the maxima.
        *maxima.select_nth_unstable_by(top_k - 1, |a, b| b.total_cmp(a)).1
    }

    /// Notes the tokens from `border` on, and returns the mass of those from `lowest` on.
    #[inline(always)]
    unsafe fn note<V: Vector>(
        &self,
        logits: &[f32],
        lowest: f32,
        border: f32,
        notes: &mut Notes,
        block: &mut Block,
    ) -> u64 {
        let mut total = 0;
        notes.clear();
        for (number, logits) in logits.chunks(BLOCK).enumerate() {
            // SAFETY: the caller's promise.
            total += unsafe { Weight::Mass(self.masses).total::<V>(logits, lowest, block) };
            if !notes.is_full() {
                notes.take(logits, number * BLOCK, border);
            }
        }
        total
    }

    /// Returns whether all that the row keeps is among the notes. `are_all`: no other token may be
    /// kept; `total` is the mass of all.
    #[inline(always)]
    unsafe fn suffice<V: Vector>(&self, notes: &Notes, are_all: bool, total: u64, block: &mut Block) -> bool {
        if notes.is_full() || are_all {
            return !notes.is_full();
        }
        if self.rule.top_k > 0 {
            return notes.logits.len() >= self.rule.top_k;
        }
        // SAFETY: the caller's promise.
        let noted = unsafe { self.total::<V>(&notes.logits, f32::NEG_INFINITY, block) };
        noted >= self.share(total)
    }

    /// Returns the mass of the logits from `lowest` on.
    #[inline(always)]
    unsafe fn total<V: Vector>(&self, logits: &[f32], lowest: f32, block: &mut Block) -> u64 {
        let mut total = 0;
        for logits in logits.chunks(BLOCK) {
            // SAFETY: the caller's promise.
            total += unsafe { Weight::Mass(self.masses).total::<V>(logits, lowest, block) };
        }
        total
    }

    /// Returns the mass that `top_p` keeps of a total; some of it, also with a `top_p` of 0.
    fn share(&self, total: u64) -> u64 {
        ((f64::from(self.rule.top_p) * total as f64) as u64).clamp(1, total)
    }

    /// Returns the least logit that the row keeps, out of those that matter. `total`: the mass of
    /// the whole row from `lowest` on.
    #[inline(always)]
    unsafe fn threshold<V: Vector>(
        &self,
        logits: &[f32],
        mut lowest: f32,
        mut total: u64,
        selection: &mut Selection,
        block: &mut Block,
    ) -> f32 {
        // SAFETY: the caller's promise.
        unsafe {
            if self.rule.top_k > 0 {
                let weighing = Weighing { weight: Weight::One, lowest, masses: self.masses };
                lowest = selection.reach::<V>(weighing, logits, self.rule.top_k as u64, block);
                total = self.total::<V>(logits, lowest, block);
            }
            if self.rule.top_p < 1.0 {
                let weighing = Weighing { weight: Weight::Mass(self.masses), lowest, masses: self.masses };
                lowest = selection.reach::<V>(weighing, logits, self.share(total), block);
            }
        }
        lowest
    }

    /// Returns the place at which the masses from `lowest` on, summed in their order, pass the
    /// random number.
    #[inline(always)]
    unsafe fn invert<V: Vector>(
        &self,
        logits: &[f32],
        lowest: f32,
        sums: &mut Vec<u64>,
        block: &mut Block,
    ) -> usize {
        sums.clear();
        for logits in logits.chunks(BLOCK) {
            // SAFETY: the caller's promise.
            sums.push(unsafe { Weight::Mass(self.masses).total::<V>(logits, lowest, block) });
        }
        let mut target = share_of(sums.iter().sum(), self.uniform);
        let mut number = 0;
        while target >= sums[number] {
            target -= sums[number];
            number += 1;
        }
        let first = number * BLOCK;
        let logits = &logits[first..logits.len().min(first + BLOCK)];
        // SAFETY: the caller's promise.
        let masses = unsafe { Weight::Mass(self.masses).of::<V>(logits, lowest, block) };
        let passes = |mass: &f32| {
            let is_passed = *mass as u64 > target;
            target -= if is_passed { 0 } else { *mass as u64 };
            is_passed
        };
        first + masses.iter().position(passes).expect("the target is below the sum of the block")
    }
}

/// Returns the product of a total with the 24 bits of a number in \[0, 1), rounded down: below the
/// total.
fn share_of(total: u64, uniform: f32) -> u64 {
    const BITS: u32 = 24;
    let last = (1 << BITS) - 1;
    let number = ((uniform * (1 << BITS) as f32) as u64).min(last);
    (total >> BITS) * number + (((total & last) * number) >> BITS)
}
