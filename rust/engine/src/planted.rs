//! Bugs on purpose, one at a time, to show that the simulation finds them: `cargo test -p
//! streamcore-engine --features planted-bugs`. Without that feature every question here is answered
//! `false` by the compiler.

/// A bug that can be planted.
#[cfg_attr(not(feature = "planted-bugs"), expect(unreachable_pub, reason = "it is public with the feature"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A cached block that is held again stays in the list of the free ones.
    EarlyEviction,
    /// Keys and values go one slot too far.
    OffByOneSlot,
    /// A hold on a block ends twice.
    DoubleFree,
    /// A block is found after it was handed out again.
    StaleHit,
    /// Blocks are given back while a step in flight uses them.
    UnfencedFree,
    /// An abort in flight is answered and forgotten.
    LostAbort,
    /// The last of the queue is served first.
    Starvation,
    /// A step computes one token too many.
    BudgetOverrun,
    /// Requests with different salts share blocks.
    WrongSalt,
    /// The last block of a sequence is not given back.
    LeakedBlock,
    /// A block that a sequence takes later is missing in the plans.
    UntoldBlock,
    /// A request that waits does so beyond its deadline.
    LateDeadline,
    /// A token is drawn before its mask is there.
    EarlyMask,
    /// Prefills beside decodes take all that is left of the budget.
    LongChunk,
}

/// Returns whether this bug is planted in this thread.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn has(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
pub(crate) use switch::has;
#[cfg(feature = "planted-bugs")]
pub use switch::plant;

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug in all engines of this thread, in the place of the one before.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn has(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}
