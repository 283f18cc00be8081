//! A few threads that share one loop at a time with the thread that asks.
//!
//! The caller starts on the loop at once and the others join when they wake; a thread that wakes
//! too late finds the loop closed and sleeps on. So a loop costs at most one notification and never
//! waits for a thread to start. Each thread has a share of the iterations, side by side, and takes
//! it in chunks from its front; one that has none left takes chunks from the end of another's,
//! which balances threads that wake at different times. So what a thread reads lies together, and
//! what it will read next is known.
//!
//! Within a [`Series`], where the next loop is microseconds away, threads look out for it for a
//! while before they sleep. Idle threads never do: the server's own threads need those cores. When
//! they are woken they leave the caller's core to it ([`affinity`]).

mod share;

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use self::share::Share;
use crate::affinity::{self, ThreadId};
use crate::parts::part;

/// Chunks that a loop is cut into, per thread: enough to balance, few enough to hand out.
const CHUNKS_PER_THREAD: usize = 4;
/// Polls for the next loop of a series, or for a loop's end, before a thread sleeps: some hundred
/// microseconds, which is what a thread that slept takes to be back where the processor's idle
/// states or a hypervisor are in the way.
const GLANCES: usize = 4000;

static POOL: Pool = Pool::new();
/// Threads that take part in a loop, the caller included; 0 until first used.
static NUM_THREADS: AtomicUsize = AtomicUsize::new(0);

/// Returns the number of threads that share a loop, the calling one included.
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
/// Chunks have at least `min_chunk` items where a share has: what is worth waking a thread for. A
/// loop no longer than that, and a loop that starts while another one is on the pool, runs on the
/// calling thread.
pub(crate) fn parallel_for(num_items: usize, min_chunk: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    let num_threads = num_threads();
    let chunk = min_chunk.max(1).max(num_items / (num_threads * CHUNKS_PER_THREAD));
    let is_counted = u32::try_from(num_items).is_ok();
    if num_threads == 1 || num_items <= chunk || !is_counted {
        return work(0..num_items);
    }
    match POOL.caller.try_lock() {
        Ok(_turn) => POOL.run(&Loop::new(work, num_items, chunk, num_threads), num_threads - 1),
        Err(_) => work(0..num_items),
    }
}

/// While one exists, loops follow each other closely.
pub(crate) struct Series(());

impl Series {
    pub(crate) fn begin() -> Self {
        POOL.series.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        POOL.series.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Loop<'a> {
    work: &'a (dyn Fn(Range<usize>) + Sync),
    /// What each thread has left, the caller first; those for whom there is no chunk share others'.
    shares: Vec<Share>,
    chunk: usize,
}

impl<'a> Loop<'a> {
    fn new(
        work: &'a (dyn Fn(Range<usize>) + Sync),
        num_items: usize,
        chunk: usize,
        num_threads: usize,
    ) -> Self {
        let num_shares = num_threads.min(num_items.div_ceil(chunk));
        let shares = (0..num_shares).map(|number| Share::new(part(num_items, number, num_shares))).collect();
        Self { work, shares, chunk }
    }

    fn take_part(&self, number: usize) {
        let own = number % self.shares.len();
        while let Some(items) = self.shares[own].take_first(self.chunk) {
            (self.work)(items);
        }
        let (before, after) = self.shares.split_at(own);
        for share in after.iter().chain(before) {
            while let Some(items) = share.take_last(self.chunk) {
                (self.work)(items);
            }
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
    /// Threads of the pool that have begun.
    threads: Vec<ThreadId>,
    /// The core of the caller, which all of them are kept off.
    caller_core: Option<usize>,
    /// Threads that sleep until a loop is opened.
    num_sleeping: usize,
    /// Whether the caller sleeps until no thread is inside.
    is_caller_asleep: bool,
    /// Threads that exist.
    num_started: usize,
}

impl State {
    /// Keeps the pool's threads off the caller's core: those that wake now would share it.
    fn leave_core_to_caller(&mut self) {
        let core = affinity::current_core();
        if core == self.caller_core {
            return;
        }
        if let Some(core) = core {
            affinity::keep_off(core, &self.threads);
        }
        self.caller_core = core;
    }
}

struct Pool {
    caller: Mutex<()>,
    state: Mutex<State>,
    /// Number of open series.
    series: AtomicUsize,
    /// `State::loops`, to be looked at without the lock.
    loops: AtomicU64,
    /// Threads inside the loop, the caller not counted; changed under the lock.
    inside: AtomicUsize,
    opened: Condvar,
    left: Condvar,
}

impl Pool {
    const fn new() -> Self {
        Self {
            caller: Mutex::new(()),
            state: Mutex::new(State {
                open: None,
                limit: 0,
                loops: 0,
                threads: Vec::new(),
                caller_core: None,
                num_sleeping: 0,
                is_caller_asleep: false,
                num_started: 0,
            }),
            series: AtomicUsize::new(0),
            loops: AtomicU64::new(0),
            inside: AtomicUsize::new(0),
            opened: Condvar::new(),
            left: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; a loop body that panics aborts the process.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&'static self, shared: &Loop<'_>, num_joining: usize) {
        // SAFETY: only the lifetime changes. `Closing` closes the loop and waits for every thread
        // inside before `shared` goes out of scope, also when the caller's own part panics.
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
        self.loops.store(state.loops, Ordering::Relaxed);
        let is_one_asleep = state.num_sleeping > 0;
        if is_one_asleep {
            state.leave_core_to_caller();
        }
        drop(state);
        if is_one_asleep {
            self.opened.notify_all();
        }
        let _closing = Closing(self);
        shared.take_part(0);
    }

    fn join_loops(&self, number: usize) {
        let mut joined = 0;
        let mut state = self.state();
        state.threads.push(affinity::this_thread());
        state.caller_core = None;
        loop {
            match state.open {
                Some(open) if number < state.limit && joined != state.loops => {
                    joined = state.loops;
                    self.inside.fetch_add(1, Ordering::Relaxed);
                    drop(state);
                    let abort = AbortOnPanic;
                    open.take_part(number + 1);
                    std::mem::forget(abort);
                    state = self.leave();
                }
                _ => state = self.wait_for_loop(state),
            }
        }
    }

    fn leave(&self) -> MutexGuard<'_, State> {
        let state = self.state();
        // Publishes this thread's writes to the caller, which reads the number without the lock.
        if self.inside.fetch_sub(1, Ordering::Release) == 1 && state.is_caller_asleep {
            self.left.notify_one();
        }
        state
    }

    /// Returns when another loop may be open.
    fn wait_for_loop<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let seen = state.loops;
        drop(state);
        for _ in 0..GLANCES {
            if self.series.load(Ordering::Relaxed) == 0 {
                break;
            }
            if self.loops.load(Ordering::Relaxed) != seen {
                return self.state();
            }
            std::hint::spin_loop();
        }
        let mut state = self.state();
        if state.loops == seen {
            state.num_sleeping += 1;
            state = self.opened.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.num_sleeping -= 1;
        }
        state
    }

    /// Returns when no thread is inside the loop, which is closed.
    fn wait_until_left(&self) {
        for _ in 0..GLANCES {
            if self.inside.load(Ordering::Acquire) == 0 {
                return;
            }
            std::hint::spin_loop();
        }
        let mut state = self.state();
        state.is_caller_asleep = true;
        while self.inside.load(Ordering::Acquire) > 0 {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_caller_asleep = false;
    }
}

/// Closes the open loop and waits until no thread is inside.
struct Closing(&'static Pool);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.state().open = None;
        self.0.wait_until_left();
    }
}

/// Aborts when a kernel panics on a pool thread: it left half a tensor, and no caller can know.
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
            for number in 0..4 {
                scope.spawn(move || {
                    let _series = (number % 2 == 0).then(Series::begin);
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

    #[test]
    fn loops_in_a_row_lose_nothing() {
        // A thread that sleeps just as a loop opens must be woken, or the loop waits for it for
        // ever.
        set_num_threads(3);
        for round in 0..2 {
            let _series = (round == 0).then(Series::begin);
            let sum = AtomicUsize::new(0);
            for _ in 0..2000 {
                parallel_for(6, 1, &|range| {
                    sum.fetch_add(range.len(), Ordering::Relaxed);
                });
            }
            assert_eq!(sum.load(Ordering::Relaxed), 12_000);
        }
    }
}
