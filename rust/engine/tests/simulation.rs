//! A seeded simulation: random limits, arrivals, aborts and interleavings, on a device that
//! remembers every slot.
//!
//! `SEEDS=10000 cargo test -p streamcore-engine --test simulation` runs more; `SEED=42` replays
//! one.
#![allow(clippy::unwrap_used)]

mod common;

use common::world::{Coverage, simulate};

/// Things that a simulation worth its name reaches.
const RARE: [&str; 22] = [
    "preemptions",
    "cached tokens",
    "cached answers",
    "chunks",
    "stops",
    "logits that were not finite",
    "tokens thrown away",
    "aborts while waiting",
    "aborts while running",
    "aborts in flight",
    "prompts told in pieces",
    "deadlines while waiting",
    "deadlines while running",
    "deadlines in flight",
    "chunks cut beside decodes",
    "penalised samples",
    "counts after a preemption",
    "forbidden stops",
    "padding",
    "blocks told later",
    "masked samples",
    "forced tokens",
];

fn run_all(depth: usize) {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    if let Some(seed) = number("SEED") {
        simulate(seed, depth);
        return;
    }
    let mut total = Coverage::new();
    let num_seeds = number("SEEDS").unwrap_or(4000);
    for (what, times) in (0..num_seeds).flat_map(|seed| simulate(seed, depth)) {
        *total.entry(what).or_default() += times;
    }
    if num_seeds >= 100 {
        let is_reached = |what: &str| total.get(what).is_some_and(|times| *times >= 20);
        assert!(RARE.into_iter().all(is_reached), "the simulation hardly reaches some code: {total:?}");
        assert_eq!(is_reached("device tokens"), depth == 2, "{total:?}");
        assert_eq!(is_reached("tokens held back"), depth == 1, "{total:?}");
    }
}

#[test]
fn with_one_step_in_flight_every_request_gets_its_own_tokens() {
    // A wrong slot, an early free or a lost abort mixes two conversations, or leaves a client
    // waiting for ever.
    run_all(1);
}

#[test]
fn with_two_steps_in_flight_every_request_gets_the_same_tokens() {
    // The fast path on a GPU would answer differently from the CPU, and differently under load.
    run_all(2);
}
