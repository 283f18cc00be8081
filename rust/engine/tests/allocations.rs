//! The memory of a step and of a waiting request, counted by the allocator itself.
#![allow(clippy::unwrap_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;

use common::{config, request};
use streamcore_engine::{Engine, EngineConfig, Event, OwnedStepBuffers, Request, Scores, StepPlan};

thread_local! {
    static NUM_ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static NUM_BYTES: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, which counts what each thread asks for.
struct Counting;

fn count(num_allocations: usize, num_bytes: isize) {
    NUM_ALLOCATIONS.set(NUM_ALLOCATIONS.get() + num_allocations);
    NUM_BYTES.set(NUM_BYTES.get() + num_bytes);
}

// SAFETY: every call is passed on to the system's allocator as it came. The counters have neither a
// constructor nor a destructor, so they allocate nothing themselves.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size().cast_signed());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -layout.size().cast_signed());
        // SAFETY: the memory came from the system's allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An engine in its loop, with everything that the loop itself needs.
struct Loop {
    engine: Engine,
    columns: OwnedStepBuffers,
    plans: VecDeque<StepPlan>,
    sampled: Vec<i32>,
    events: Vec<Event>,
}

impl Loop {
    /// Plans and completes steps; answers how often that asked for memory.
    fn run(&mut self, num_steps: usize) -> usize {
        let before = NUM_ALLOCATIONS.get();
        for _ in 0..num_steps {
            self.plans.push_back(self.engine.schedule(&mut self.columns.borrow()).unwrap());
            if self.plans.len() == self.engine.config().max_steps_in_flight {
                let plan = self.plans.pop_front().unwrap();
                let sampled = &self.sampled[..plan.num_samples];
                self.engine.complete(plan.id, sampled, Scores::default()).unwrap();
            }
            self.engine.drain_events(&mut self.events);
            self.events.clear();
        }
        NUM_ALLOCATIONS.get() - before
    }
}

/// Returns what the engine's own checks ask for in these steps: debug builds make them once in each
/// of the two calls.
fn num_for_checks(engine: &Engine, num_steps: usize) -> usize {
    let before = NUM_ALLOCATIONS.get();
    engine.check_invariants();
    if cfg!(debug_assertions) { 2 * num_steps * (NUM_ALLOCATIONS.get() - before) } else { 0 }
}

#[test]
fn a_step_in_the_steady_state_asks_for_no_memory() {
    // The time of an allocation is unpredictable; at thousands of steps a second it becomes a
    // stutter in every stream.
    for (max_steps_in_flight, num_keys) in [(1, 1), (2, 1), (2, 3)] {
        let limits = EngineConfig {
            block_size: 16,
            num_blocks: 4096,
            max_num_batched_tokens: 2048,
            max_num_seqs: 256,
            max_model_len: 256,
            max_steps_in_flight,
            ..config()
        };
        let columns = OwnedStepBuffers::new(&limits);
        let mut engine = Engine::new(limits).unwrap();
        for id in 0..256 {
            let key = id as u32 % num_keys;
            engine.add_request(Request { key, ..request(id, 16, 200) }).unwrap();
        }
        let (plans, sampled) = (VecDeque::with_capacity(2), vec![7; 256]);
        let mut steps = Loop { engine, columns, plans, sampled, events: vec![] };
        steps.run(20);
        assert_eq!(steps.engine.stats().num_running, 256);
        let num_allocations = steps.run(150);
        let num_expected = num_for_checks(&steps.engine, 150);
        assert_eq!(num_allocations, num_expected, "at depth {max_steps_in_flight} with {num_keys} keys");
    }
}

#[test]
fn a_waiting_request_needs_little_more_than_its_tokens() {
    // A queue of a hundred thousand short requests must not need more memory than the model.
    let mut engine = Engine::new(config()).unwrap();
    let requests: Vec<_> = (0..1000).map(|id| request(id, 32, 8)).collect();
    let before = NUM_BYTES.get();
    for request in requests {
        engine.add_request(request).unwrap();
    }
    // The list that the requests came in is gone, its tokens moved into the engine.
    let num_bytes = NUM_BYTES.get() - before + (1000 * size_of::<Request>()).cast_signed();
    assert!(num_bytes < 1000 * 1024, "{} bytes for each", num_bytes / 1000);
}
