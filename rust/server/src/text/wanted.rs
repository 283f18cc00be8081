//! Whether long work on a text is still wanted where it runs: its client may have left, or others wait for the thread.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::TextError;

thread_local! {
    /// Of the work on this thread, which looks at it between two pieces without anything in between
    /// having to carry it.
    static CURRENT: RefCell<Option<Wanted>> = const { RefCell::new(None) };
    /// What the work on this thread may take, and whether that has cut it off.
    static BOUND: Cell<Option<(Bound, bool)>> = const { Cell::new(None) };
}

/// What work may take where others wait for it.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// Bytes that it may read, of the request and of what the server has stored.
    pub max_bytes: usize,
    /// It may take some milliseconds.
    pub is_brief: bool,
}

/// Runs work within a bound, and says whether it has been cut off there.
pub fn bounded<T>(bound: Bound, work: impl FnOnce() -> T) -> (T, bool) {
    /// Also after a panic.
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            BOUND.set(None);
        }
    }
    BOUND.set(Some((bound, false)));
    let _restore = Restore;
    let done = work();
    (done, BOUND.get().is_some_and(|(_, was_cut)| was_cut))
}

pub(super) fn is_brief() -> bool {
    BOUND.get().is_some_and(|(bound, _)| bound.is_brief)
}

/// Whether work may read this many bytes in all; if not, it has been cut off.
pub(crate) fn may_read(num_bytes: usize) -> bool {
    let is_within = BOUND.get().is_none_or(|(bound, _)| num_bytes <= bound.max_bytes);
    if !is_within {
        tell_cut();
    }
    is_within
}

/// Work has been cut off for what it takes.
pub(super) fn tell_cut() {
    BOUND.set(BOUND.get().map(|(bound, _)| (bound, true)));
}

/// Shared by work and those who wait for it.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    is_over: Arc<AtomicBool>,
}

/// Ends work when it is dropped.
#[derive(Debug)]
pub struct EndOnDrop(Wanted);

impl Wanted {
    /// Runs work that is wanted for as long as this is.
    pub fn scope<T>(self, work: impl FnOnce() -> T) -> T {
        /// Also after a panic.
        struct Restore(Option<Wanted>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self)));
        work()
    }

    /// The work is wanted until what this returns is dropped.
    #[must_use]
    pub fn end_on_drop(self) -> EndOnDrop {
        EndOnDrop(self)
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.is_over.store(true, Relaxed);
    }
}

/// To be called between two pieces of long work.
///
/// # Errors
/// [`TextError::Unwanted`]: the client has left, so nobody reads the rest.
pub(super) fn check() -> Result<(), TextError> {
    let is_over = CURRENT.with_borrow(|wanted| wanted.as_ref().is_some_and(|w| w.is_over.load(Relaxed)));
    if is_over { Err(TextError::Unwanted) } else { Ok(()) }
}
