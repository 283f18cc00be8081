//! Requests whose clients have stopped waiting.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::model::expected_output;
use common::story::Story;
use common::{config, request};
use streamcore_engine::{EngineConfig, FinishReason, Request};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn until(request: Request, deadline_s: u64) -> Request {
    Request { deadline: Some(seconds(deadline_s)), ..request }
}

#[test]
fn a_request_that_waits_beyond_its_deadline_is_never_scheduled() {
    // Under overload the engine would compute answers that no client waits for, and be late for all
    // others.
    let mut story = Story::new(EngineConfig { max_num_seqs: 1, ..config() });
    let (first, second, third) = (request(1, 4, 6), until(request(2, 4, 6), 10), request(3, 4, 6));
    [&first, &second, &third].into_iter().for_each(|request| story.add(request));
    story.step();
    assert_eq!(story.engine.expire(seconds(9)), 0);
    assert_eq!(story.engine.expire(seconds(10)), 1);
    story.run_to_end();
    assert_eq!((story.tokens(2), story.end(2)), (vec![], Some(FinishReason::Deadline)));
    story.assert_served(&first);
    story.assert_served(&third);
    story.assert_empty();
}

#[test]
fn a_request_that_runs_ends_with_what_it_has() {
    // Its row and its blocks are wanted by those who still wait for an answer.
    for max_steps_in_flight in [1, 2] {
        let mut story = Story::new(EngineConfig { max_steps_in_flight, ..config() });
        let late = until(request(1, 4, 40), 5);
        story.add(&late);
        (0..6).for_each(|_| drop(story.step()));
        // With a step in flight, whose token comes too late.
        story.launch().unwrap();
        assert_eq!(story.engine.expire(seconds(5)), 1);
        assert_eq!(story.engine.stats().num_running, 0);
        story.complete();
        assert_eq!(story.tokens(1), expected_output(&late).0[..6]);
        assert_eq!(story.end(1), Some(FinishReason::Deadline));
        story.assert_empty();
    }
}

#[test]
fn a_request_that_has_ended_has_no_deadline_any_more() {
    // The deadline of an old request would end a new one that has its place.
    let mut story = Story::new(config());
    let aborted = until(request(1, 4, 9), 5);
    story.add(&aborted);
    story.add(&until(request(2, 4, 3), 5));
    story.step();
    story.engine.abort(aborted.id);
    story.run_to_end();
    story.add(&request(3, 4, 9));
    story.add(&until(request(4, 4, 9), 100));
    assert_eq!(story.engine.expire(seconds(99)), 0);
    story.run_to_end();
    assert_eq!((story.end(2), story.end(4)), (Some(FinishReason::Length), Some(FinishReason::Length)));
}

#[test]
fn an_earlier_deadline_is_no_reason_to_go_first() {
    // A client that claims to be in a hurry would overtake all others of its key, and those whose
    // streams have no deadline would starve.
    let mut story = Story::new(EngineConfig { max_num_seqs: 1, ..config() });
    let requests =
        [request(1, 4, 2), until(request(2, 4, 2), 50), until(request(3, 4, 2), 10), request(4, 4, 2)];
    requests.iter().for_each(|request| story.add(request));
    story.engine.expire(seconds(1));
    story.run_to_end();
    assert_eq!(story.order_of_ends(), [1, 2, 3, 4]);
}
