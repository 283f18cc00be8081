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
//! while before they sleep, and come and go by a [`gate`] without a lock: a loop may be as short as
//! a microsecond. Idle threads never look out: the server's own threads need those cores. When they
//! are woken they leave the caller's core to it ([`affinity`]).

mod gate;
mod share;

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use self::gate::{Gate, Turn};
use self::share::Share;
use crate::affinity::{self, ThreadId};
use crate::parts::part;

/// Chunks that a loop is cut into, per thread: enough to balance, few enough to hand out.
const CHUNKS_PER_THREAD: usize = 4;
/// By how much less work is worth a thread that looks out for it than one that has to be woken.
const AWAKE: usize = 8;
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
/// Chunks have at least `min_chunk` items where a share has: what is worth waking a thread for; in
/// a [`Series`] an eighth of that, since its threads are awake. A loop no longer than that, and a
/// loop that starts while another one is on the pool, runs on the calling thread.
pub(crate) fn parallel_for(num_items: usize, min_chunk: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    let num_threads = num_threads();
    let ease = if POOL.is_in_series() { AWAKE } else { 1 };
    let chunk = min_chunk.max(1).div_ceil(ease).max(num_items / (num_threads * CHUNKS_PER_THREAD));
    let is_counted = u32::try_from(num_items).is_ok();
    if num_threads == 1 || num_items <= chunk || !is_counted {
        return work(0..num_items);
    }
    match POOL.caller.try_lock() {
        Ok(mut num_started) => {
            let shared = Loop::new(work, num_items, chunk, num_threads);
            POOL.run(&mut num_started, &shared, num_threads - 1);
        }
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
    /// Threads of the pool that have begun.
    threads: Vec<ThreadId>,
    /// The core of the caller, which all of them are kept off.
    caller_core: Option<usize>,
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
    /// Held while a loop is on the pool: how many threads were started.
    caller: Mutex<usize>,
    gate: Gate,
    /// The loop behind the gate, and how many threads it has room for; they change while the gate
    /// is closed.
    open: AtomicPtr<Loop<'static>>,
    num_joining: AtomicUsize,
    /// Number of open series.
    series: AtomicUsize,
    /// Threads that sleep until a loop is opened; they count themselves under the lock.
    num_sleeping: AtomicUsize,
    /// Whether the caller sleeps until no thread is inside; set under the lock.
    is_caller_asleep: AtomicBool,
    state: Mutex<State>,
    opened: Condvar,
    left: Condvar,
}

impl Pool {
    const fn new() -> Self {
        Self {
            caller: Mutex::new(0),
            gate: Gate::new(),
            open: AtomicPtr::new(std::ptr::null_mut()),
            num_joining: AtomicUsize::new(0),
            series: AtomicUsize::new(0),
            num_sleeping: AtomicUsize::new(0),
            is_caller_asleep: AtomicBool::new(false),
            state: Mutex::new(State { threads: Vec::new(), caller_core: None }),
            opened: Condvar::new(),
            left: Condvar::new(),
        }
    }

    fn is_in_series(&self) -> bool {
        self.series.load(Ordering::Relaxed) > 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; a loop body that panics aborts the process.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&'static self, num_started: &mut usize, shared: &Loop<'_>, num_joining: usize) {
        self.start_threads(num_started, num_joining);
        let open = std::ptr::from_ref(shared).cast::<Loop<'static>>().cast_mut();
        self.open.store(open, Ordering::Relaxed);
        self.num_joining.store(num_joining, Ordering::Relaxed);
        self.gate.open();
        let _closing = Closing(self);
        // A thread counts itself, then looks at the gate: either it sees that loop, or is seen
        // here.
        if self.num_sleeping.load(Ordering::SeqCst) > 0 {
            self.state().leave_core_to_caller();
            self.opened.notify_all();
        }
        shared.take_part(0);
    }

    fn start_threads(&'static self, num_started: &mut usize, num_joining: usize) {
        while *num_started < num_joining {
            let number = *num_started;
            let started = thread::Builder::new()
                .name(format!("kernels-{number}"))
                .spawn(move || self.join_loops(number));
            if started.is_err() {
                break;
            }
            *num_started += 1;
        }
    }

    fn join_loops(&self, number: usize) {
        let mut state = self.state();
        state.threads.push(affinity::this_thread());
        state.caller_core = None;
        drop(state);
        let mut seen = 0;
        loop {
            seen = self.next_turn(seen);
            // Where this is the number of a later loop already, the gate is closed for this turn.
            let has_room = number < self.num_joining.load(Ordering::Relaxed);
            if has_room && self.gate.enter(seen) {
                let abort = AbortOnPanic;
                // SAFETY: the loop stays where it is while a thread is inside: `Closing` waits for
                // that also when the caller's own part panics.
                unsafe { &*self.open.load(Ordering::Relaxed) }.take_part(number + 1);
                std::mem::forget(abort);
                self.leave();
            }
        }
    }

    fn leave(&self) {
        self.gate.leave();
        // As in `run`: the caller says that it sleeps, then looks at the gate.
        if self.is_caller_asleep.load(Ordering::SeqCst) {
            drop(self.state());
            self.left.notify_one();
        }
    }

    /// Returns the turn of the newest loop when it is another than the one seen before.
    fn next_turn(&self, seen: Turn) -> Turn {
        for _ in 0..GLANCES {
            let turn = self.gate.turn();
            if turn != seen {
                return turn;
            }
            if !self.is_in_series() {
                break;
            }
            std::hint::spin_loop();
        }
        let mut state = self.state();
        self.num_sleeping.fetch_add(1, Ordering::SeqCst);
        while self.gate.turn() == seen {
            state = self.opened.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.num_sleeping.fetch_sub(1, Ordering::SeqCst);
        self.gate.turn()
    }

    /// Returns when no thread is inside the loop, which is closed.
    fn wait_until_left(&self) {
        for _ in 0..GLANCES {
            if self.gate.is_empty() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut state = self.state();
        self.is_caller_asleep.store(true, Ordering::SeqCst);
        while !self.gate.is_empty() {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.is_caller_asleep.store(false, Ordering::SeqCst);
    }
}

/// Closes the open loop and waits until no thread is inside.
struct Closing(&'static Pool);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.gate.close();
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
