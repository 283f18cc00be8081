//! Stored responses stay within their limits.

use std::time::{Duration, Instant};

use streamcore_server::openai::responses::Status;
use streamcore_server::stored::{NewResponse, Recording, ResponseStore, StoreLimits};

fn new(id: usize, num_bytes: usize) -> NewResponse {
    NewResponse {
        id: format!("resp_{id}"),
        owner: 1,
        previous: None,
        input: vec![b' '; num_bytes],
        keeps_events: true,
        is_background: false,
    }
}

fn limits(max_responses: usize, max_bytes: usize) -> StoreLimits {
    StoreLimits { max_responses, max_bytes, max_age: Duration::from_secs(60) }
}

fn end(recording: &Recording, body: usize) {
    recording.set(Status::Completed, &vec![b'x'; body]);
    recording.end();
}

/// A server that runs for months would otherwise fill its memory with what its clients have
/// forgotten.
#[test]
fn a_hundred_thousand_responses_take_no_more_than_the_bounds() {
    let (max_responses, max_bytes) = (500, 4 << 20);
    let store = ResponseStore::new(limits(max_responses, max_bytes));
    let now = Instant::now();
    let (mut random, mut running) = (1_u64, std::collections::VecDeque::new());
    for id in 0..100_000 {
        random = random * 48_271 % 0x7fff_ffff;
        let size = random as usize % if id % 100 == 0 { 1 << 20 } else { 2000 };
        running.extend(store.open(new(id, size / 4), now));
        for recording in &running {
            recording.add(&vec![b'e'; size / 8]);
        }
        if running.len() > 20 {
            end(&running.pop_front().unwrap(), size / 4);
        }
        if id % 1000 == 0 {
            store.delete(&format!("resp_{}", id.saturating_sub(7)), 1);
        }
        assert!(store.len() <= max_responses && store.num_bytes() <= max_bytes, "{id}");
    }
    assert!(store.len() > 50, "{}", store.len());
    running.iter().for_each(|recording| end(recording, 1));
    for id in 0..100_000 {
        store.delete(&format!("resp_{id}"), 1);
    }
    assert_eq!((store.len(), store.num_bytes()), (0, 0), "what is forgotten gives all of it back");
}

/// The response that a conversation goes on from would be the first to go.
#[test]
fn what_was_asked_for_last_stays_the_longest() {
    let store = ResponseStore::new(limits(2, 1 << 20));
    let now = Instant::now();
    for id in 0..2 {
        end(&store.open(new(id, 1), now).unwrap(), 1);
    }
    assert!(store.find("resp_0", 1, now).is_some());
    end(&store.open(new(2, 1), now).unwrap(), 1);
    assert!(store.find("resp_1", 1, now).is_none());
    assert!(store.find("resp_0", 1, now).is_some());
    assert!(store.find("resp_0", 2, now).is_none(), "it belongs to another key");
    let later = now + Duration::from_secs(61);
    assert!(store.find("resp_0", 1, later).is_none(), "a day is over");
    assert_eq!((store.len(), store.num_bytes()), (0, 0));
}

/// A response that still runs and is forgotten can never be fetched, however long its client waits.
#[test]
fn what_runs_is_not_given_up() {
    let store = ResponseStore::new(limits(2, 1 << 20));
    let now = Instant::now();
    let running = [store.open(new(0, 1), now).unwrap(), store.open(new(1, 1), now).unwrap()];
    assert!(store.open(new(2, 1), now).is_none());
    end(&running[0], 1);
    assert!(store.open(new(2, 1), now).is_some());
    assert!(store.find("resp_1", 1, now).is_some());
    assert!(store.open(new(3, 2 << 20), now).is_none(), "one that is longer than all may be");
}
