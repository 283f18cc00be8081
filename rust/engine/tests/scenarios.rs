//! Short stories, each about one thing that the scheduler does.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::expected_output;
use common::story::Story;
use common::{config, request};
use streamcore_engine::{
    EngineConfig, EngineError, EventKind, FinishReason, NO_TOKEN, NOT_FINITE, Request, RequestId, Scores,
    StepId,
};

#[test]
fn a_long_prompt_is_computed_in_chunks_between_decodes() {
    // Without chunks, one long prompt stops every other stream for as long as it takes.
    let mut story = Story::new(EngineConfig { max_num_batched_tokens: 8, ..config() });
    let (short, long) = (request(1, 3, 10), request(2, 20, 2));
    story.add(&short);
    assert_eq!(story.step(), [3]);
    story.add(&long);
    assert_eq!(story.step(), [1, 7], "the decode comes first, the prompt takes the rest of the budget");
    assert_eq!(story.step(), [1, 7]);
    assert_eq!(story.step(), [1, 6]);
    assert_eq!(story.tokens(1).len(), 4, "one token per step, all the time");
    assert_eq!(story.tokens(2).len(), 1, "the first token comes with the last chunk");
    story.run_to_end();
    story.assert_served(&short);
    story.assert_served(&long);
    story.assert_empty();
}

#[test]
fn one_max_token_is_one_step() {
    // `max_tokens: 1` is how evaluation harnesses score; a second step would double their bill.
    let mut story = Story::new(EngineConfig { max_steps_in_flight: 2, ..config() });
    let request = request(1, 5, 1);
    story.add(&request);
    assert!(story.launch().is_some());
    assert_eq!(story.launch(), None, "the token after the last is never planned");
    story.complete();
    story.assert_served(&request);
    story.assert_empty();
    assert_eq!(story.engine.stats().steps, 1);
}

#[test]
fn a_prompt_that_fills_the_context_can_be_scored() {
    // Evaluation harnesses ask for the log-probabilities of as much text as a model can read, and
    // for nothing behind it.
    for (num_blocks, depth) in [(3, 1), (3, 2)] {
        let mut story = Story::new(EngineConfig { num_blocks, max_steps_in_flight: depth, ..config() });
        let request = Request { prompt_logprobs: Some(2), logprobs: Some(1), ..request(1, 12, 0) };
        story.add(&request);
        story.run_to_end();
        story.assert_served(&request);
        story.assert_empty();
        assert_eq!(story.engine.stats().generated_tokens, 0, "what is drawn behind it does not count");
        let refused = story.engine.add_request(common::request(2, 13, 0));
        assert_eq!(refused, Err(EngineError::PoolTooSmall { prompt_len: 13, max_tokens: 0, capacity: 12 }));
    }
}

#[test]
fn a_stop_token_ends_the_output_without_being_part_of_it() {
    // The end-of-sequence token would be shown to the client as text.
    let mut request = request(1, 4, 30);
    let (tokens, _) = expected_output(&request);
    request.stop_token_ids = vec![tokens[2]];
    let first = tokens.iter().position(|token| *token == tokens[2]).unwrap();
    let mut story = Story::new(config());
    story.add(&request);
    story.run_to_end();
    assert_eq!(story.tokens(1), tokens[..first]);
    assert_eq!(story.end(1), Some(FinishReason::Stop { token_id: tokens[2] }));
    assert_eq!(story.engine.stats().generated_tokens, first as u64 + 1);
    story.assert_empty();
}

#[test]
fn a_late_stop_throws_the_next_token_away_and_fences_its_blocks() {
    // With two steps in flight, a stop is seen when the next token is on its way already: it must
    // reach no client, nor a new owner's slot.
    let mut request = request(1, 4, 30);
    request.stop_token_ids = (0..50).collect();
    let mut story = Story::new(EngineConfig { max_steps_in_flight: 2, ..config() });
    story.add(&request);
    let free = story.num_free_blocks();
    story.launch().unwrap();
    let second = story.launch().unwrap();
    assert_eq!((second.num_device_tokens, story.columns.token_ids[0]), (1, 0));
    story.complete();
    assert!(matches!(story.end(1), Some(FinishReason::Stop { .. })));
    assert_eq!(story.num_free_blocks(), free - 2, "the step in flight still writes to them");
    assert!(story.engine.has_work());
    story.complete();
    assert_eq!(story.tokens(1), Vec::<u32>::new());
    story.assert_empty();
}

#[test]
fn the_last_admitted_gives_way_and_is_served_all_the_same() {
    // The older request must not lose its place, and the younger one must not lose a token.
    for depth in [1, 2] {
        let limits = EngineConfig { num_blocks: 5, max_steps_in_flight: depth, ..config() };
        let mut story = Story::new(limits);
        let (older, younger) = (request(1, 6, 10), request(2, 6, 10));
        story.add(&older);
        story.add(&younger);
        story.run_to_end();
        story.assert_served(&older);
        story.assert_served(&younger);
        assert!(story.engine.stats().preemptions > 0);
        assert_eq!(story.order_of_ends(), [1, 2]);
        let starts = story.events.iter().filter(|event| matches!(event.kind, EventKind::Scheduled { .. }));
        assert_eq!(starts.count(), 2, "coming back is not a second start");
        story.assert_empty();
    }
}

#[test]
fn a_resumed_sequence_computes_what_was_lost_in_one_prefill() {
    // Recomputing the prompt only would continue the answer from its beginning; recomputing what is
    // still there would be for nothing.
    for (enable_prefix_caching, recomputed) in [(false, 9), (true, 1)] {
        let mut story = Story::new(EngineConfig { num_blocks: 5, enable_prefix_caching, ..config() });
        story.add(&request(1, 6, 4));
        story.add(&request(2, 6, 10));
        assert_eq!(story.step(), [6, 6]);
        assert_eq!(story.step(), [1, 1]);
        assert_eq!(story.step(), [1, 1]);
        assert_eq!(story.step(), [1], "position 8 needs a third block each, and there is one");
        assert_eq!((story.engine.stats().preemptions, story.engine.stats().num_waiting), (1, 1));
        assert_eq!(story.end(1), Some(FinishReason::Length));
        assert_eq!(story.step(), [recomputed], "of six tokens of the prompt and three of the output");
        story.run_to_end();
        story.assert_served(&request(2, 6, 10));
        story.assert_empty();
    }
}

#[test]
fn a_preempted_sequence_comes_before_those_that_never_ran() {
    // Otherwise a stream that has begun stalls behind the whole queue.
    let mut story = Story::new(EngineConfig { num_blocks: 5, ..config() });
    for id in 1..=3 {
        story.add(&request(id, 6, 10));
    }
    story.run_to_end();
    assert_eq!(story.order_of_ends(), [1, 2, 3]);
    story.assert_empty();
}

#[test]
fn a_request_may_use_the_pool_to_its_last_slot() {
    // Refusing what fits, or hanging on it, makes the advertised context a lie.
    for depth in [1, 2] {
        let mut story = Story::new(EngineConfig { num_blocks: 3, max_steps_in_flight: depth, ..config() });
        for (id, prompt_len, max_tokens) in [(1, 11, 1), (2, 1, 11), (3, 8, 4)] {
            story.add(&request(id, prompt_len, max_tokens));
        }
        let refused = story.engine.add_request(request(4, 8, 5));
        assert_eq!(refused, Err(EngineError::PoolTooSmall { prompt_len: 8, max_tokens: 5, capacity: 12 }));
        story.run_to_end();
        story.assert_served(&request(1, 11, 1));
        story.assert_served(&request(2, 1, 11));
        story.assert_served(&request(3, 8, 4));
        story.assert_empty();
    }
}

#[test]
fn a_prompt_waits_until_all_of_it_fits() {
    // Admitted with half its blocks it would be thrown out again, having computed for nothing.
    let mut story = Story::new(EngineConfig { num_blocks: 4, max_num_batched_tokens: 4, ..config() });
    story.add(&request(1, 8, 1));
    story.add(&request(2, 12, 1));
    story.add(&request(3, 1, 1));
    assert_eq!(story.step(), [4]);
    assert_eq!(story.step(), [4], "two blocks are free, the second prompt needs three");
    assert_eq!((story.end(1), story.num_free_blocks()), (Some(FinishReason::Length), 4));
    assert_eq!(story.step(), [4]);
    assert_eq!(story.num_free_blocks(), 1, "all blocks of the prompt are taken with its first chunk");
    story.run_to_end();
    assert_eq!(story.engine.stats().preemptions, 0);
    story.assert_empty();
}

#[test]
fn an_abort_in_the_queue_leaves_nothing() {
    // A client that hangs up while it waits must cost no step.
    let mut story = Story::new(EngineConfig { max_num_seqs: 1, ..config() });
    story.add(&request(1, 4, 2));
    story.add(&request(2, 4, 2));
    story.step();
    assert!(story.engine.abort(RequestId(2)));
    assert_eq!(story.engine.stats().num_waiting, 0);
    assert!(!story.engine.abort(RequestId(2)), "it is gone already");
    story.run_to_end();
    assert_eq!((story.end(2), story.tokens(2)), (Some(FinishReason::Abort), vec![]));
    story.assert_served(&request(1, 4, 2));
    story.assert_empty();
}

#[test]
fn an_abort_between_steps_frees_its_blocks_at_once() {
    // The next request must not wait for a client that has left, in the middle of a prompt or of an
    // answer.
    for num_steps in [1, 4] {
        let mut story = Story::new(EngineConfig { max_num_batched_tokens: 4, ..config() });
        story.add(&request(1, 10, 8));
        (0..num_steps).for_each(|_| drop(story.step()));
        assert!(story.engine.abort(RequestId(1)));
        story.assert_empty();
        assert_eq!(story.launch(), None);
        story.engine.drain_events(&mut story.events);
        assert_eq!(story.end(1), Some(FinishReason::Abort));
    }
}

#[test]
fn an_abort_in_flight_is_fenced_until_its_steps_are_done() {
    // A block handed on while the device still writes to it puts one client's tokens into another's
    // answer.
    let mut story = Story::new(EngineConfig { max_steps_in_flight: 2, ..config() });
    story.add(&request(1, 4, 8));
    story.launch().unwrap();
    story.launch().unwrap();
    let free = story.num_free_blocks();
    assert!(story.engine.abort(RequestId(1)));
    assert_eq!((story.engine.stats().num_running, story.num_free_blocks()), (0, free));
    story.complete();
    assert_eq!(story.num_free_blocks(), free);
    story.complete();
    assert_eq!((story.end(1), story.tokens(1)), (Some(FinishReason::Abort), vec![]));
    story.assert_empty();
}

#[test]
fn a_wrong_completion_is_refused_and_changes_nothing() {
    // Tokens of one step taken for another's would go to the wrong clients.
    let mut story = Story::new(config());
    story.add(&request(1, 4, 2));
    assert_eq!(
        story.engine.complete(StepId(0), &[], Scores::default()),
        Err(EngineError::WrongStep { given: StepId(0), expected: None })
    );
    story.launch().unwrap();
    assert_eq!(
        story.engine.complete(StepId(1), &[7], Scores::default()),
        Err(EngineError::WrongStep { given: StepId(1), expected: Some(StepId(0)) })
    );
    assert_eq!(
        story.engine.complete(StepId(0), &[7, 7], Scores::default()),
        Err(EngineError::WrongSampleCount { step: StepId(0), expected: 1, given: 2 })
    );
    assert_eq!(
        story.engine.complete(StepId(0), &[-3], Scores::default()),
        Err(EngineError::NegativeToken { step: StepId(0), token: -3 })
    );
    story.complete();
    story.run_to_end();
    story.assert_served(&request(1, 4, 2));
}

#[test]
fn a_sequence_without_a_token_waits_while_others_go_on() {
    // A slow answer must neither hold up the others nor lose or repeat a token itself.
    let mut story = Story::new(config());
    story.add(&request(1, 4, 2));
    story.add(&request(2, 4, 2));
    let plan = story.launch().unwrap();
    let sampled: Vec<_> = story.engine.sampled_requests(plan.id).collect();
    assert_eq!(sampled, [RequestId(1), RequestId(2)]);
    let result = story.device.finish_oldest().unwrap();
    story.engine.complete(result.id, &[NO_TOKEN, result.sampled[1]], Scores::default()).unwrap();
    assert_eq!(story.step(), [1, 1], "the last token of the one, the first drawn token of the other");
    story.run_to_end();
    story.assert_served(&request(1, 4, 2));
    story.assert_served(&request(2, 4, 2));
    story.assert_empty();
}

#[test]
fn no_sequence_waits_when_its_next_step_is_planned() {
    // The second step would draw a token from one that was never drawn.
    let mut story = Story::new(EngineConfig { max_steps_in_flight: 2, ..config() });
    story.add(&request(1, 4, 2));
    let plan = story.launch().unwrap();
    assert_eq!(
        story.engine.complete(plan.id, &[NO_TOKEN], Scores::default()),
        Err(EngineError::NoToken(plan.id))
    );
    story.complete();
    story.run_to_end();
    story.assert_served(&request(1, 4, 2));
}

#[test]
fn logits_that_are_not_finite_end_their_sequence_alone() {
    // A broken model would stream garbage as a success, and the next request would find its NaN in
    // the prefix cache.
    for depth in [1, 2] {
        let mut story = Story::new(EngineConfig { max_steps_in_flight: depth, ..config() });
        story.add(&request(1, 9, 6));
        story.add(&request(2, 4, 6));
        for _ in 0..depth {
            story.launch().unwrap();
        }
        let result = story.device.finish_oldest().unwrap();
        story.engine.complete(result.id, &[NOT_FINITE, result.sampled[1]], Scores::default()).unwrap();
        story.run_to_end();
        assert_eq!((story.end(1), story.tokens(1)), (Some(FinishReason::NotFinite), vec![]));
        story.assert_served(&request(2, 4, 6));
        let again = Request { id: RequestId(3), ..request(1, 9, 6) };
        story.add(&again);
        story.run_to_end();
        assert_eq!(story.num_cached(3), 0, "two full blocks of the prompt were found");
        story.assert_served(&again);
        story.assert_empty();
    }
}

#[test]
fn a_name_is_used_once_at_a_time() {
    // Two requests under one name would answer each other's clients.
    let mut story = Story::new(config());
    story.add(&request(1, 4, 2));
    assert_eq!(story.engine.add_request(request(1, 2, 2)), Err(EngineError::DuplicateRequest(RequestId(1))));
    story.run_to_end();
    story.assert_served(&request(1, 4, 2));
}
