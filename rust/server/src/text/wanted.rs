//! Cancels long work on a text whose client has left.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::TextError;

thread_local! {
    /// The state of this thread's work, checked between two pieces. Thread-local, so that no code
    /// between must pass it on.
    static CURRENT: RefCell<Option<Wanted>> = const { RefCell::new(None) };
    /// Whether others wait for this thread, and whether that has cut work off.
    static BRIEF: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Runs work for at most some milliseconds; returns whether it was cut off.
pub fn briefly<T>(work: impl FnOnce() -> T) -> (T, bool) {
    /// Also after a panic.
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            BRIEF.set(None);
        }
    }
    BRIEF.set(Some(false));
    let _restore = Restore;
    let done = work();
    (done, BRIEF.get() == Some(true))
}

pub(super) fn is_brief() -> bool {
    BRIEF.get().is_some()
}

/// Records that work was cut off.
pub(super) fn tell_cut() {
    BRIEF.set(BRIEF.get().map(|_| true));
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
