//! The account of what clients hold, against a model that counts on its own: whole requests of
//! several keys, which go on, stand still and die at random. `SEED=7` replays one game,
//! `SEEDS=10000` plays more.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "it is a program of its own")]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod game;
mod gate;
mod requests;
mod shadow;
mod world;

use streamcore_server::ledger::Pool;

use self::game::{Fault, Game};
use self::world::World;

const NUM_SEEDS: u64 = 40;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("it is a number"))
}

fn play(seed: u64, fault: Option<Fault>) -> Result<Game, String> {
    World::new(seed, fault).play().map_err(|error| format!("SEED={seed}: {error}"))
}

/// A path of a request's life that gives back too little fills its pool within a day, and one that
/// charges too little bounds nothing.
#[test]
fn what_is_charged_is_what_is_held_however_requests_live_and_die() {
    let seeds = number("SEED").map_or(1..=number("SEEDS").unwrap_or(NUM_SEEDS), |seed| seed..=seed);
    let mut all = Game::default();
    for seed in seeds {
        all.add(&play(seed, None).unwrap_or_else(|error| panic!("{error}")));
    }
    if number("SEED").is_none() {
        assert!(all.is_of_everything(), "the games leave something out: {all:?}");
    }
}

/// A checker that finds nothing would pass whatever the server does.
#[test]
fn a_lease_that_is_forgotten_is_found() {
    for fault in [Fault::ForgottenRequest, Fault::ForgottenAnswer, Fault::ForgottenPiece] {
        let is_found = (1..=NUM_SEEDS).any(|seed| play(seed, Some(fault)).is_err());
        assert!(is_found, "{fault:?}");
    }
}

/// A pool that the model does not look at could be anything.
#[test]
fn each_pool_is_compared() {
    for pool in shadow::POOLS {
        let is_found = (1..=NUM_SEEDS).any(|seed| play(seed, Some(Fault::Uncounted(pool))).is_err());
        assert!(is_found, "{pool:?}");
    }
    assert_eq!(shadow::POOLS.len(), Pool::ALL.len() - 3, "heads and what is stored have games of their own");
}
