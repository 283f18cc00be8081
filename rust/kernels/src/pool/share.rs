//! What a thread has left of a loop.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Items side by side that are left, on a cache line of their own: the first of them in the upper
/// half of the word, the one behind the last in the lower.
#[repr(align(64))]
pub(super) struct Share(AtomicU64);

impl Share {
    pub(super) fn new(items: Range<usize>) -> Self {
        Self(AtomicU64::new(Self::word(items.start as u64, items.end as u64)))
    }

    fn word(start: u64, end: u64) -> u64 {
        start << 32 | end
    }

    pub(super) fn take_first(&self, chunk: usize) -> Option<Range<usize>> {
        self.take(|start, end| {
            let next = end.min(start + chunk as u64);
            (start..next, Self::word(next, end))
        })
    }

    pub(super) fn take_last(&self, chunk: usize) -> Option<Range<usize>> {
        self.take(|start, end| {
            let next = start.max(end.saturating_sub(chunk as u64));
            (next..end, Self::word(start, next))
        })
    }

    /// Takes items: those, and the word of what is left, for the first and the one behind the last.
    fn take(&self, split: impl Fn(u64, u64) -> (Range<u64>, u64)) -> Option<Range<usize>> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (start, end) = (word >> 32, word & u64::from(u32::MAX));
            if start == end {
                return None;
            }
            let (taken, left) = split(start, end);
            match self.0.compare_exchange_weak(word, left, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(taken.start as usize..taken.end as usize),
                Err(now) => word = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_taken_from_both_ends() {
        let share = Share::new(3..10);
        let taken = [share.take_first(3), share.take_last(3), share.take_first(3), share.take_last(3)];
        assert_eq!(taken, [Some(3..6), Some(7..10), Some(6..7), None]);
        assert_eq!(Share::new(4..4).take_first(1), None);
    }
}
