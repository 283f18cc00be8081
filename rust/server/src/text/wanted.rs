//! Whether long work on a text is still wanted where it runs: its client may have left, or others
//! wait for the thread.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::TextError;

thread_local! {
    /// The state of this thread's work, checked between two pieces. Thread-local, so that no code
    /// between must pass it on.
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

/// Records that work was cut off.
pub(super) fn tell_cut() {
    BOUND.set(BOUND.get().map(|(bound, _)| (bound, true)));
}

/// State shared by work and its waiters.
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

    /// Keeps the work wanted until the returned guard is dropped.
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

/// Checks between two pieces of long work that it is still wanted.
///
/// # Errors
/// [`TextError::Unwanted`] if the client has left.
pub(super) fn check() -> Result<(), TextError> {
    let is_over = CURRENT.with_borrow(|wanted| wanted.as_ref().is_some_and(|w| w.is_over.load(Relaxed)));
    if is_over { Err(TextError::Unwanted) } else { Ok(()) }
}
