//! A few threads that share one loop at a time with the thread that asks.
//!
//! The caller starts on the loop at once and the others join when they wake; a thread that wakes too late finds
//! the loop closed and sleeps on. So a loop costs at most one notification, never waits for a thread to start, and
//! idle threads do not spin: the server's own threads need those cores. Iterations are handed out in chunks, first
//! come first served, which balances threads that wake at different times.

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Chunks that a loop is cut into, per thread: enough to balance, few enough to hand out.
const CHUNKS_PER_THREAD: usize = 4;

static POOL: Pool = Pool::new();
/// Threads that take part in a loop, the caller included; 0 until someone asks.
static NUM_THREADS: AtomicUsize = AtomicUsize::new(0);

/// Threads that share a loop, the calling one included.
#[must_use]
pub fn num_threads() -> usize {
    match NUM_THREADS.load(Ordering::Relaxed) {
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        chosen => chosen,
    }
}

/// Sets how many threads share a loop, the calling one included; at least one.
pub fn set_num_threads(num_threads: usize) {
    NUM_THREADS.store(num_threads.max(1), Ordering::Relaxed);
}

/// Runs `work` over all of `0..num_items` in chunks, and returns when all are done.
///
/// Chunks have at least `min_chunk` items: what is worth waking a thread for. A loop no longer than that, and a
/// loop that starts while another one is on the pool, runs on the calling thread.
pub(crate) fn parallel_for(num_items: usize, min_chunk: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    let num_threads = num_threads();
    let chunk = min_chunk.max(1).max(num_items / (num_threads * CHUNKS_PER_THREAD));
    if num_threads == 1 || num_items <= chunk {
        return work(0..num_items);
    }
    match POOL.caller.try_lock() {
        Ok(_turn) => POOL.run(&Loop { work, next: AtomicUsize::new(0), num_items, chunk }, num_threads - 1),
        Err(_) => work(0..num_items),
    }
}

struct Loop<'a> {
    work: &'a (dyn Fn(Range<usize>) + Sync),
    next: AtomicUsize,
    num_items: usize,
    chunk: usize,
}

impl Loop<'_> {
    fn take_part(&self) {
        loop {
            let start = self.next.fetch_add(self.chunk, Ordering::Relaxed);
            if start >= self.num_items {
                return;
            }
            (self.work)(start..self.num_items.min(start + self.chunk));
        }
    }
}

struct State {
    /// The loop that threads may join; `None` when it is closed.
    open: Option<&'static Loop<'static>>,
    /// Threads with a number from this on stay out of the open loop.
    limit: usize,
    /// Counts loops, so that no thread joins the same one twice.
    loops: u64,
    /// Threads inside the loop, the caller not counted.
    inside: usize,
    /// Threads that exist.
    num_started: usize,
}

struct Pool {
    caller: Mutex<()>,
    state: Mutex<State>,
    opened: Condvar,
    left: Condvar,
}

impl Pool {
    const fn new() -> Self {
        Self {
            caller: Mutex::new(()),
            state: Mutex::new(State { open: None, limit: 0, loops: 0, inside: 0, num_started: 0 }),
            opened: Condvar::new(),
            left: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; a loop body that panics aborts the process.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&'static self, shared: &Loop<'_>, num_joining: usize) {
        // SAFETY: only the lifetime changes. `Closing` closes the loop and waits for every thread inside before
        // `shared` goes out of scope, also when the caller's own part panics.
        let open = unsafe { std::mem::transmute::<&Loop<'_>, &'static Loop<'static>>(shared) };
        let mut state = self.state();
        while state.num_started < num_joining {
            let number = state.num_started;
            let started = thread::Builder::new()
                .name(format!("kernels-{number}"))
                .spawn(move || self.join_loops(number));
            if started.is_err() {
                break;
            }
            state.num_started += 1;
        }
        state.open = Some(open);
        state.limit = num_joining;
        state.loops += 1;
        drop(state);
        self.opened.notify_all();
        let _closing = Closing(self);
        shared.take_part();
    }

    fn join_loops(&self, number: usize) {
        let mut joined = 0;
        let mut state = self.state();
        loop {
            match state.open {
                Some(open) if number < state.limit && joined != state.loops => {
                    joined = state.loops;
                    state.inside += 1;
                    drop(state);
                    let abort = AbortOnPanic;
                    open.take_part();
                    std::mem::forget(abort);
                    state = self.state();
                    state.inside -= 1;
                    if state.inside == 0 {
                        self.left.notify_one();
                    }
                }
                _ => state = self.opened.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Closes the open loop and waits until no thread is inside.
struct Closing(&'static Pool);

impl Drop for Closing {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open = None;
        while state.inside > 0 {
            state = self.0.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A kernel that panics on a pool thread has left half a tensor behind, and nobody to tell.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_runs_once_from_several_callers() {
        // A lost or repeated chunk would leave rows of a tensor unwritten, or normalised twice.
        set_num_threads(3);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for num_items in [0, 1, 7, 64, 1000] {
                        let counts: Vec<AtomicUsize> = (0..num_items).map(|_| AtomicUsize::new(0)).collect();
                        parallel_for(num_items, 3, &|range| {
                            for count in &counts[range] {
                                count.fetch_add(1, Ordering::Relaxed);
                            }
                        });
                        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                    }
                });
            }
        });
    }
}
