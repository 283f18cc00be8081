//! Lengths that are cut into parts.

use std::ops::Range;

/// Returns one of some parts of a length, side by side and about as long.
#[inline(always)]
pub(crate) fn part(len: usize, number: usize, num_parts: usize) -> Range<usize> {
    len * number / num_parts..len * (number + 1) / num_parts
}
