//! Whether long work on a text is still wanted: its client may have left.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::TextError;

thread_local! {
    /// Of the work on this thread, which looks at it between two pieces without anything in between having to carry it.
    static CURRENT: RefCell<Option<Wanted>> = const { RefCell::new(None) };
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
