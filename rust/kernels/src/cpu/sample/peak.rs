//! The greatest logit of a row.

use super::mass::{BLOCK, load_filled};
use crate::simd::{MAX_LANES, Vector};

/// What one pass over a row shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peak {
    /// The greatest logit.
    pub(crate) greatest: f32,
    /// The first place at which it is.
    pub(crate) place: usize,
    /// Whether all logits are finite numbers; else the others mean nothing.
    pub(crate) is_finite: bool,
}

impl Peak {
    /// Looks at a row, and leaves in `maxima` the greatest logit of each of some disjoint parts,
    /// which are of the length of a few vectors.
    ///
    /// # Safety
    /// The processor has the instructions of `V`.
    #[inline(always)]
    pub(crate) unsafe fn of<V: Vector>(logits: &[f32], maxima: &mut Vec<f32>) -> Self {
        let (mut greatest, mut highest) = (f32::NEG_INFINITY, 0);
        maxima.clear();
        // SAFETY: the caller's promise.
        unsafe {
            let zero = V::splat(0.0);
            // 0, and not a number once a logit was none.
            let mut poison = zero;
            for (number, block) in logits.chunks(BLOCK).enumerate() {
                let mut most = V::splat(f32::NEG_INFINITY);
                for start in (0..block.len()).step_by(V::LANES) {
                    let x = load_filled::<V>(block, start, block[0]);
                    most = most.max(x);
                    poison = x.mul_add(zero, poison);
                }
                let mut lanes = [0.0; MAX_LANES];
                most.store(lanes.as_mut_ptr());
                maxima.extend_from_slice(&lanes[..V::LANES.min(block.len())]);
                let most = most.greatest();
                if most > greatest {
                    (greatest, highest) = (most, number);
                }
            }
            let first = highest * BLOCK;
            let place = logits[first..].iter().position(|logit| *logit == greatest);
            Self { greatest, place: first + place.unwrap_or(0), is_finite: poison.sum() == 0.0 }
        }
    }
}
