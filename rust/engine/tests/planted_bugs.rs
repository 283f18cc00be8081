//! The simulation, put to the test itself.
#![allow(clippy::unwrap_used)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use common::world::simulate;
use streamcore_engine::planted::{Bug, plant};

const BUGS: [Bug; 14] = [
    Bug::EarlyEviction,
    Bug::OffByOneSlot,
    Bug::DoubleFree,
    Bug::StaleHit,
    Bug::UnfencedFree,
    Bug::LostAbort,
    Bug::Starvation,
    Bug::BudgetOverrun,
    Bug::WrongSalt,
    Bug::LeakedBlock,
    Bug::UntoldBlock,
    Bug::LateDeadline,
    Bug::LongChunk,
    Bug::EarlyMask,
];

/// Returns how many seeds it takes until one of them fails.
fn num_seeds_until_found(bug: Option<Bug>, num_seeds: u64) -> Option<u64> {
    plant(bug);
    let fails = |seed| {
        [1, 2].into_iter().any(|depth| catch_unwind(AssertUnwindSafe(|| simulate(seed, depth))).is_err())
    };
    let found = (0..num_seeds).find(|seed| fails(*seed));
    plant(None);
    found
}

#[test]
fn the_simulation_finds_every_bug_that_is_planted() {
    // A simulation that also passes over a broken engine proves nothing about a whole one.
    let hook = take_hook();
    set_hook(Box::new(|_| ())); // Panics are what is hoped for; their backtraces are not.
    let found = BUGS.map(|bug| (bug, num_seeds_until_found(Some(bug), 200)));
    set_hook(hook);
    let missed: Vec<_> = found.iter().filter(|(_, seed)| seed.is_none()).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert_eq!(num_seeds_until_found(None, 50), None, "the engine itself is whole");
}
