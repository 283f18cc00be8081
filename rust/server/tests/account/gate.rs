//! A door before the work that is done on threads of its own.

use std::sync::mpsc;

use tokio::runtime::Runtime;

/// Holds up the only thread on which prompts are made.
pub struct Gate {
    _open: mpsc::Sender<()>,
}

impl Gate {
    /// Waits until all that was begun before is done.
    pub fn close(runtime: &Runtime, before: Option<Self>) -> Self {
        let (open, opened) = mpsc::channel::<()>();
        let (closes, closed) = mpsc::channel();
        runtime.spawn_blocking(move || {
            closes.send(()).unwrap();
            // An error: the other end is gone.
            let _ = opened.recv();
        });
        drop(before);
        closed.recv().unwrap();
        Self { _open: open }
    }
}
