//! What is kept stays within its bounds, and no key's within another's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use streamcore_server::ledger::{Ledger, Pool};
use streamcore_server::openai::responses::{Kept, Status};
use streamcore_server::stored::{KeptFor, MAX_AGE, NewResponse, Recording, ResponseStore};
use streamcore_server::text::{Bound, bounded};

use crate::common::Dice;

fn new(id: usize, num_bytes: usize) -> NewResponse {
    of_key(1, id, num_bytes)
}

fn of_key(owner: u32, id: usize, num_bytes: usize) -> NewResponse {
    NewResponse {
        id: format!("resp_{id}"),
        owner,
        previous: None,
        input: vec![b' '; num_bytes],
        keeps_events: true,
        is_background: false,
    }
}

/// A store for this many responses and bytes of them, and its ledger.
pub(crate) fn store(max_responses: usize, max_bytes: usize) -> (Arc<Ledger>, Arc<ResponseStore>) {
    let limit = |pool| if pool == Pool::StoredResponses { max_responses } else { max_bytes };
    let ledger = Ledger::with_limits(limit);
    (Arc::clone(&ledger), ResponseStore::new(ledger))
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
    let (ledger, store) = store(max_responses, max_bytes);
    let now = Instant::now();
    let (mut dice, mut running) = (Dice(1), VecDeque::new());
    for id in 0..100_000 {
        let size = dice.below(if id % 100 == 0 { 1 << 20 } else { 2000 });
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
        assert!(store.len() <= max_responses && ledger.held(Pool::StoredBytes) <= max_bytes, "{id}");
        assert_eq!(store.len(), ledger.held(Pool::StoredResponses));
    }
    assert!(store.len() > 50, "{}", store.len());
    running.iter().for_each(|recording| end(recording, 1));
    for id in 0..100_000 {
        store.delete(&format!("resp_{id}"), 1);
    }
    drop(running);
    assert_eq!((store.len(), ledger.held(Pool::StoredBytes)), (0, 0), "what is forgotten gives it back");
}

/// The response that a conversation goes on from would be the first to go.
#[test]
fn what_was_asked_for_last_stays_the_longest() {
    let (ledger, store) = store(2, 1 << 20);
    let now = Instant::now();
    for id in 0..2 {
        end(&store.open(new(id, 1), now).unwrap(), 1);
    }
    assert!(store.find("resp_0", 1, now).is_some());
    end(&store.open(new(2, 1), now).unwrap(), 1);
    assert!(store.find("resp_1", 1, now).is_none());
    assert!(store.find("resp_0", 1, now).is_some());
    assert!(store.find("resp_0", 2, now).is_none(), "it belongs to another key");
    let later = now + MAX_AGE + Duration::from_secs(1);
    assert!(store.find("resp_0", 1, later).is_none(), "a day is over");
    assert_eq!((store.len(), ledger.held(Pool::StoredBytes)), (0, 0));
}

/// A response that still runs and is forgotten can never be fetched, however long its client waits.
#[test]
fn what_runs_is_not_given_up() {
    let (_, store) = store(2, 1 << 20);
    let now = Instant::now();
    let running = [store.open(new(0, 1), now).unwrap(), store.open(new(1, 1), now).unwrap()];
    let full = store.open(new(2, 1), now).unwrap_err();
    assert_eq!(
        full.to_string(),
        "2 responses are stored, limit is 2, and none that could make room has ended"
    );
    end(&running[0], 1);
    assert!(store.open(new(2, 1), now).is_ok());
    assert!(store.find("resp_1", 1, now).is_some());
    assert!(store.open(new(3, 2 << 20), now).is_err(), "one that is longer than all may be");
}

/// A customer that stores much would have the conversations of all others forgotten.
#[test]
fn a_key_that_fills_the_store_loses_its_own_oldest() {
    for (max_responses, max_bytes, flood_bytes) in [(16, 1 << 30, 1), (1 << 20, 16 << 10, 4000)] {
        let (ledger, store) = store(max_responses, max_bytes);
        ledger.share_among(2);
        let now = Instant::now();
        let others = [0, 1].map(|id| store.open(of_key(2, id, 500), now).unwrap());
        others.iter().for_each(|recording| end(recording, 1));
        for id in 10..200 {
            end(&store.open(of_key(1, id, flood_bytes), now).unwrap(), 1);
        }
        assert!(store.find("resp_0", 2, now).is_some() && store.find("resp_1", 2, now).is_some());
        assert!(store.find("resp_10", 1, now).is_none() && store.find("resp_199", 1, now).is_some());
        // It comes back to what the flood has taken beyond its part, one of its own after the
        // other.
        for id in 200..206 {
            end(&store.open(of_key(2, id, 500), now).unwrap(), 1);
        }
        assert!(store.find("resp_205", 2, now).is_some() && store.find("resp_199", 1, now).is_some());
    }
}

/// A key whose part is small could store nothing long for a day, beside one that has filled the
/// rest.
#[test]
fn what_a_key_has_beyond_its_part_makes_room_for_another() {
    let (ledger, store) = store(100, 100 << 10);
    ledger.share_among(2);
    let now = Instant::now();
    for id in 0..100 {
        end(&store.open(of_key(1, id, 2000), now).unwrap(), 1);
    }
    let before = ledger.held_by(Pool::StoredBytes, 1);
    assert!(before > 70 << 10, "{before}");
    end(&store.open(of_key(2, 100, 60 << 10), now).unwrap(), 1);
    let after = ledger.held_by(Pool::StoredBytes, 1);
    assert!((25 << 10..before).contains(&after), "{after}: its part is its own");
    assert!(store.open(of_key(2, 101, 80 << 10), now).is_err(), "that is within the part of the first");
    assert!(store.find("resp_100", 2, now).is_some(), "nothing is forgotten in vain");
}

/// Readers of what was deleted would hold memory that is in no account, a body's length each.
#[test]
fn what_is_forgotten_counts_until_its_last_reader_has_gone() {
    let (ledger, store) = store(9, 1 << 20);
    let now = Instant::now();
    let recording = store.open(new(0, 5000), now).unwrap();
    recording.add(&[b'e'; 3000]);
    end(&recording, 700);
    drop(recording);
    let reader = store.find("resp_0", 1, now).unwrap();
    let before = ledger.held(Pool::StoredBytes);
    assert!(store.delete("resp_0", 1));
    let after = ledger.held(Pool::StoredBytes);
    assert!((5000..before - 3700 + 1).contains(&after), "{after} of {before}");
    drop(reader);
    assert_eq!(ledger.held(Pool::StoredBytes), 0);
}

/// A body of a kilobyte could have gigabytes parsed: a long response whose items it names a
/// thousand times, and that on a thread that serves sockets.
#[test]
fn what_a_request_reads_of_the_store_is_bounded() {
    let (_, store) = store(9, 1 << 30);
    let now = Instant::now();
    for id in 0..2 {
        let item = json!([{ "id": format!("msg_{id}_0"), "role": "user", "content": "x".repeat(9 << 20) }]);
        let input = item.to_string().into_bytes();
        end(&store.open(NewResponse { input, ..new(id, 0) }, now).unwrap(), 1);
    }
    let kept = KeptFor::new(&store, 1, now, 1000);
    for _ in 0..50 {
        assert_eq!(kept.item("msg_0_0").unwrap().unwrap()["id"], "msg_0_0", "it is read once");
    }
    assert!(kept.item("msg_0_1").unwrap().is_none());
    let refused = kept.item("msg_1_0").unwrap_err().to_string();
    assert!(refused.contains("more than 16777216 bytes with what `input` adds to it"), "{refused}");
    let is_cut = |max_bytes| {
        let kept = KeptFor::new(&store, 1, now, 1000);
        let bound = Bound { max_bytes, is_brief: false };
        bounded(bound, || kept.conversation("resp_0").is_err())
    };
    assert_eq!(is_cut(64 << 10), (true, true), "it begins again where there is time");
    assert_eq!(is_cut(16 << 20), (false, false));
}
