//! Short stories about blocks that several requests share, and about who comes first.
#![allow(clippy::unwrap_used)]

mod common;

use common::story::Story;
use common::{config, request};
use streamcore_engine::{EngineConfig, FinishReason, Request, RequestId, SamplingParams};

/// Another request with the same prompt.
fn again(id: u64, request: &Request) -> Request {
    Request { id: RequestId(id), ..request.clone() }
}

#[test]
fn one_prompt_asked_twice_at_once_is_computed_once() {
    // `n = 8` answers to a long prompt would take eight times as long to begin, and eight times the
    // memory.
    for depth in [1, 2] {
        let mut story = Story::new(EngineConfig { max_steps_in_flight: depth, ..config() });
        let first = request(1, 10, 6);
        let second = again(2, &first);
        story.add(&first);
        story.add(&second);
        assert_eq!(story.step(), [10, 2], "the two full blocks of the prompt are shared within the step");
        assert_eq!((story.num_cached(1), story.num_cached(2)), (0, 8));
        assert_eq!(story.num_free_blocks(), 64 - 3 - 1);
        story.run_to_end();
        story.assert_served(&first);
        story.assert_served(&second);
        story.assert_empty();
    }
}

#[test]
fn a_request_in_flight_shares_its_prompt() {
    // A client a moment later must not pay for the whole prompt because the first step is not done
    // yet.
    let mut story = Story::new(EngineConfig { max_steps_in_flight: 2, ..config() });
    let first = request(1, 12, 6);
    let second = again(2, &first);
    story.add(&first);
    story.launch().unwrap();
    story.add(&second);
    let plan = story.launch().unwrap();
    assert_eq!(plan.num_tokens, 1 + 4, "the block of the last token is computed again");
    story.run_to_end();
    story.assert_served(&first);
    story.assert_served(&second);
    story.assert_empty();
}

#[test]
fn a_conversation_goes_on_where_it_was() {
    // With every turn the client would wait for the whole conversation to be read again.
    for depth in [1, 2] {
        let mut story = Story::new(EngineConfig { max_steps_in_flight: depth, ..config() });
        let first = request(1, 6, 8);
        story.add(&first);
        story.run_to_end();
        let prompt = [first.prompt.clone(), story.tokens(1), vec![777; 3]].concat();
        let second = Request { prompt, ..request(2, 1, 5) };
        story.add(&second);
        story.run_to_end();
        assert_eq!(
            story.num_cached(2),
            12,
            "of the fourteen tokens that are the same, thirteen were computed"
        );
        story.assert_served(&second);
        let stats = story.engine.stats();
        assert_eq!((stats.prefix_cache_queries, stats.prefix_cache_hits), (6 + 17, 12));
        story.assert_empty();
    }
}

#[test]
fn another_salt_shares_nothing() {
    // One customer could find out, by the time that a prompt takes, what another one has asked.
    let mut story = Story::new(config());
    let first = request(1, 10, 2);
    story.add(&first);
    story.add(&Request { cache_salt: 7, ..again(2, &first) });
    story.add(&Request { cache_salt: 7, ..again(3, &first) });
    story.run_to_end();
    assert_eq!([1, 2, 3].map(|id| story.num_cached(id)), [0, 0, 8]);
}

#[test]
fn without_the_cache_nothing_is_shared() {
    // A benchmark of the model would measure the cache.
    let mut story = Story::new(EngineConfig { enable_prefix_caching: false, ..config() });
    let first = request(1, 10, 2);
    story.add(&first);
    story.add(&again(2, &first));
    assert_eq!(story.step(), [10, 10]);
    story.run_to_end();
    story.assert_served(&first);
}

#[test]
fn whoever_needs_the_whole_prompt_computes_it_and_leaves_it_to_others() {
    // Penalties count prompt tokens on their way through the steps, and a score of a prompt token
    // needs its logits.
    let mut story = Story::new(config());
    let mut first = request(1, 10, 2);
    story.add(&first);
    story.run_to_end();
    let changes = [
        |request: &mut Request| request.sampling.presence_penalty = 0.5,
        |request: &mut Request| request.sampling.frequency_penalty = 0.5,
        |request: &mut Request| request.sampling.repetition_penalty = 1.5,
    ];
    for (id, change) in (2..).zip(changes) {
        let mut second = again(id, &first);
        change(&mut second);
        story.add(&second);
        assert_eq!(story.step(), [10]);
        story.run_to_end();
    }
    assert_eq!(story.engine.stats().prefix_cache_queries, 10, "they did not ask");
    first = Request {
        sampling: SamplingParams { frequency_penalty: 1.0, ..SamplingParams::greedy() },
        ..request(9, 7, 2)
    };
    story.add(&first);
    story.run_to_end();
    story.add(&Request { sampling: SamplingParams::greedy(), ..again(10, &first) });
    story.run_to_end();
    assert_eq!(story.num_cached(10), 4);
}

#[test]
fn what_an_aborted_request_has_computed_is_found() {
    // A client that loses its connection and asks again would pay twice.
    let mut story = Story::new(EngineConfig { max_num_batched_tokens: 8, ..config() });
    let first = request(1, 20, 4);
    story.add(&first);
    assert_eq!(story.step(), [8]);
    assert!(story.engine.abort(RequestId(1)));
    let second = again(2, &first);
    story.add(&second);
    story.run_to_end();
    assert_eq!((story.end(1), story.num_cached(2)), (Some(FinishReason::Abort), 8));
    story.assert_served(&second);
    story.assert_empty();
}

#[test]
fn a_block_is_forgotten_when_it_is_needed_and_no_earlier() {
    // A cache that keeps what it likes makes new requests wait; one that forgets at once is none.
    let mut story = Story::new(EngineConfig { num_blocks: 6, ..config() });
    let (old, new) = (request(1, 9, 1), request(2, 17, 1));
    story.add(&old);
    story.run_to_end();
    story.add(&new); // Takes five of six blocks: the four that hold nothing, and the end of the old prompt.
    story.run_to_end();
    story.add(&again(3, &old));
    story.run_to_end();
    assert_eq!(story.num_cached(3), 4);
    story.assert_served(&new);
    story.assert_empty();
}

#[test]
fn the_lower_number_comes_first_and_is_preempted_last() {
    // A batch job in the background would stand in the way of people who wait.
    let mut story = Story::new(EngineConfig { max_num_seqs: 1, ..config() });
    for (id, priority) in [(1, 5), (2, 5), (3, -1), (4, 0)] {
        story.add(&Request { priority, ..request(id, 3, 2) });
    }
    story.run_to_end();
    assert_eq!(story.order_of_ends(), [3, 4, 1, 2]);

    let mut story = Story::new(EngineConfig { num_blocks: 5, ..config() });
    let background = Request { priority: 1, ..request(1, 6, 10) };
    let urgent = request(2, 6, 10);
    story.add(&background);
    story.step();
    story.add(&urgent);
    story.run_to_end();
    assert!(story.engine.stats().preemptions > 0);
    assert_eq!(story.order_of_ends(), [2, 1]);
    story.assert_served(&background);
    story.assert_served(&urgent);
}
