//! The way into a loop, for threads that look out for it: one word, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a loop, of those that were opened so far.
pub(super) type Turn = u64;

/// Whether the loop is open.
const OPEN: u64 = 1 << 31;
/// The threads inside.
const INSIDE: u64 = OPEN - 1;

/// The loop's turn in the upper half, whether threads may come in, and how many are inside; on
/// cache lines of its own, since others look at it all the time.
///
/// One thread at a time opens and closes it: its keeper.
#[repr(align(128))]
pub(super) struct Gate(AtomicU64);

impl Gate {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns the turn of the newest loop.
    pub(super) fn turn(&self) -> Turn {
        // As strong as `open`: a thread that is about to sleep has counted itself before it looks.
        self.0.load(Ordering::SeqCst) >> 32
    }

    /// Opens for the next loop; it is closed, and no thread is inside. What the keeper wrote before
    /// is seen by threads that enter.
    pub(super) fn open(&self) {
        let turn = (self.turn() + 1) & u64::from(u32::MAX);
        self.0.store(turn << 32 | OPEN, Ordering::SeqCst);
    }

    /// Lets no thread in any more.
    pub(super) fn close(&self) {
        self.0.fetch_and(!OPEN, Ordering::AcqRel);
    }

    /// Comes in if the loop of that turn is still open; the loop then stays until
    /// [`Gate::leave`].
    pub(super) fn enter(&self, turn: Turn) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while word >> 32 == turn && word & OPEN != 0 {
            match self.0.compare_exchange_weak(word, word + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Goes out; what this thread wrote inside is seen by the keeper once the gate
    /// [`is_empty`](Gate::is_empty).
    pub(super) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    /// Returns whether no thread is inside.
    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::SeqCst) & INSIDE == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_entered_while_it_is_open() {
        // Who comes in too late would find a loop that is gone, or the next one twice.
        let gate = Gate::new();
        gate.open();
        let first = gate.turn();
        assert!(gate.enter(first) && gate.enter(first) && !gate.is_empty());
        gate.close();
        assert!(!gate.enter(first));
        gate.leave();
        assert!(!gate.is_empty());
        gate.leave();
        assert!(gate.is_empty());
        gate.open();
        assert!(!gate.enter(first) && gate.enter(gate.turn()));
    }
}
