//! Whether long work on a text is still wanted: its client may have left.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::TextError;

thread_local! {
    /// Of the work on this thread, which looks at it between two pieces without anything in between
    /// having to carry it.
    static CURRENT: RefCell<Option<Wanted>> = const { RefCell::new(None) };
    /// Whether others wait for this thread, and whether that has cut work off.
    static BRIEF: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Runs work that may take some milliseconds, and says whether it has been cut off there.
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

/// Work has been cut off for what it takes.
pub(super) fn tell_cut() {
    BRIEF.set(BRIEF.get().map(|_| true));
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
