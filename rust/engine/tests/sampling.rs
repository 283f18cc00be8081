//! Sampling parameters and log-probabilities of requests on their way through the steps.
#![allow(clippy::unwrap_used)]

mod common;

use common::model::{expected_logprobs, expected_output};
use common::story::Story;
use common::{config, request};
use streamcore_engine::{
    EngineConfig, EngineError, FinishReason, MAX_LOGIT_BIAS, MAX_STOP_TOKEN_IDS, Request, RequestId,
    SamplingParams, Scores,
};

/// Returns a request for every detail.
fn curious(id: u64, prompt_len: usize, max_tokens: usize) -> Request {
    Request { logprobs: Some(3), prompt_logprobs: Some(2), ..request(id, prompt_len, max_tokens) }
}

/// Returns a request whose answer depends on its counts.
fn penalised(id: u64, prompt_len: usize, max_tokens: usize) -> Request {
    let mut request = request(id, prompt_len, max_tokens);
    request.sampling.repetition_penalty = 1.5;
    request
}

fn assert_told(story: &Story, request: &Request) {
    let id = request.id.0;
    let (of_prompt, of_output) = expected_logprobs(request, &story.tokens(id), story.end(id));
    assert_eq!((story.prompt_logprobs(id).concat(), story.logprobs(id)), (of_prompt, of_output));
    story.assert_served(request);
}

#[test]
fn a_prompt_in_chunks_is_told_piece_by_piece_beside_others() {
    // An evaluation harness sums these up: one missing, doubled or shifted by one is a wrong score
    // for the model.
    for depth in [1, 2] {
        let limits = EngineConfig { max_num_batched_tokens: 8, max_steps_in_flight: depth, ..config() };
        let mut story = Story::new(limits);
        let (long, plain, short) = (curious(1, 20, 3), request(2, 6, 9), curious(3, 1, 2));
        for request in [&long, &plain, &short] {
            story.add(request);
        }
        story.run_to_end();
        let pieces = story.prompt_logprobs(1);
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 3], "19 of 20 follow another");
        assert!(pieces.concat().iter().all(|told| told.top.len() == 2));
        assert_told(&story, &long);
        assert_told(&story, &plain);
        assert_told(&story, &short);
        assert!(story.prompt_logprobs(2).is_empty() && story.logprobs(2).is_empty(), "it did not ask");
        assert!(story.prompt_logprobs(3).is_empty(), "nothing is before its only prompt token");
        story.assert_empty();
    }
}

#[test]
fn a_stop_token_is_told_like_any_other() {
    // Where the stop is part of the answer, a client would find one token more than
    // log-probabilities, and line them up wrongly.
    let tokens = expected_output(&curious(1, 6, 9)).0;
    let mut story = Story::new(config());
    let stopped = Request { stop_token_ids: vec![tokens[4]], ..curious(1, 6, 9) };
    story.add(&stopped);
    story.run_to_end();
    assert_told(&story, &stopped);
    let num_told = story.tokens(1).len() + 1;
    assert_eq!(
        (story.end(1), story.logprobs(1).len()),
        (Some(FinishReason::Stop { token_id: tokens[4] }), num_told)
    );
}

#[test]
fn a_preempted_request_is_told_nothing_twice_and_counted_anew() {
    // Under memory pressure clients would see tokens punished for another's words, and prompts that
    // are reported again.
    for depth in [1, 2] {
        let mut story = Story::new(EngineConfig { num_blocks: 5, max_steps_in_flight: depth, ..config() });
        let older = Request { prompt_logprobs: Some(0), ..penalised(1, 6, 10) };
        let younger = Request { logprobs: Some(1), prompt_logprobs: Some(20), ..penalised(2, 6, 10) };
        story.add(&older);
        story.add(&younger);
        story.run_to_end();
        assert!(story.engine.stats().preemptions > 0);
        assert_told(&story, &older);
        assert_told(&story, &younger);
        story.assert_empty();
    }
}

#[test]
fn a_preemption_in_the_middle_of_a_prompt_goes_on_where_it_was() {
    // The second half of the prompt would be told at the positions of the first.
    let limits = EngineConfig { num_blocks: 8, max_num_batched_tokens: 3, ..config() };
    let mut story = Story::new(limits);
    let (older, younger) = (request(1, 4, 12), curious(2, 20, 2));
    story.add(&older);
    story.step();
    story.step();
    story.add(&younger);
    story.step();
    assert_eq!(story.prompt_logprobs(2).len(), 1);
    story.run_to_end();
    assert!(story.engine.stats().preemptions > 0);
    assert_told(&story, &older);
    assert_told(&story, &younger);
}

#[test]
fn an_aborted_request_is_told_nothing_more() {
    // What comes after the last event reaches a request without a holder, or the next one of that
    // name.
    let limits = EngineConfig { max_num_batched_tokens: 8, max_steps_in_flight: 2, ..config() };
    let mut story = Story::new(limits);
    let (leaves, stays) = (curious(1, 30, 5), curious(2, 3, 3));
    story.add(&leaves);
    story.add(&stays);
    story.launch().unwrap();
    story.launch().unwrap();
    story.complete();
    assert!(story.engine.abort(RequestId(1)));
    story.run_to_end();
    assert_eq!(story.prompt_logprobs(1).concat().len(), 8);
    assert_eq!((story.end(1), story.tokens(1)), (Some(FinishReason::Abort), vec![]));
    assert_told(&story, &stays);
    story.assert_empty();
}

#[test]
fn no_stop_token_is_drawn_before_the_minimum() {
    // A client that asks for at least ten tokens would get an empty answer.
    for depth in [1, 2] {
        let mut story = Story::new(EngineConfig { max_steps_in_flight: depth, ..config() });
        let first = expected_output(&request(1, 4, 1)).0[0];
        let stop_token_ids = (0..50).filter(|token| token % 2 == first % 2).collect();
        let request = Request { min_tokens: 5, stop_token_ids, ..request(1, 4, 30) };
        story.add(&request);
        story.run_to_end();
        story.assert_served(&request);
        assert!(story.tokens(1).len() >= 5);
        assert!(matches!(story.end(1), Some(FinishReason::Stop { .. })), "later it may stop");
    }
}

#[test]
fn what_no_column_holds_is_refused_by_name() {
    // A plan would be written past the end of its columns.
    let mut story = Story::new(config());
    let sampling = |len| SamplingParams { logit_bias: vec![(1, 1.0); len], ..SamplingParams::greedy() };
    let limits = (MAX_LOGIT_BIAS, MAX_STOP_TOKEN_IDS);
    let full = Request {
        sampling: sampling(limits.0),
        min_tokens: 2,
        stop_token_ids: (100..100 + limits.1 as u32).collect(),
        ..request(1, 4, 2)
    };
    let mut refused = |request: Request| story.engine.add_request(request).unwrap_err().to_string();
    let too_long = Request { sampling: sampling(301), ..full.clone() };
    assert_eq!(refused(too_long), "`logit_bias` has 301 entries, limit is 300");
    let too_long = Request { stop_token_ids: vec![1; 257], ..full.clone() };
    assert_eq!(refused(too_long), "`stop_token_ids` has 257 entries, limit is 256");
    let too_many = Request { prompt_logprobs: Some(21), ..full.clone() };
    assert_eq!(refused(too_many), "`prompt_logprobs` is 21, limit is 20");
    for id in 1..=config().max_num_seqs as u64 {
        story.add(&Request { id: RequestId(id), ..full.clone() });
    }
    story.run_to_end();
    story.assert_served(&full);
}

#[test]
fn numbers_that_no_runner_can_work_with_are_refused() {
    // One NaN in a row of logits is an answer of garbage, and on a GPU an assertion that ends every
    // request.
    let mut story = Story::new(config());
    let mut refused = |change: fn(&mut SamplingParams)| {
        let mut request = request(1, 4, 2);
        change(&mut request.sampling);
        story.engine.add_request(request).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|sampling| sampling.temperature = -1.0),
        "`temperature` is -1, it must be a number that is not negative"
    );
    assert!(refused(|sampling| sampling.temperature = f32::NAN).starts_with("`temperature` is NaN"));
    assert!(refused(|sampling| sampling.temperature = f32::INFINITY).starts_with("`temperature` is inf"));
    assert!(refused(|sampling| sampling.top_p = 1.5).starts_with("`top_p` is 1.5, it must be from 0 to 1"));
    assert!(refused(|sampling| sampling.min_p = f32::NAN).starts_with("`min_p` is NaN"));
    assert!(refused(|sampling| sampling.repetition_penalty = 0.0).starts_with("`repetition_penalty` is 0"));
    assert!(refused(|sampling| sampling.presence_penalty = f32::NAN).starts_with("`presence_penalty` is"));
    assert!(refused(|sampling| sampling.frequency_penalty = f32::INFINITY).starts_with("`frequency_pen"));
    assert!(refused(|sampling| sampling.logit_bias = vec![(1, f32::NAN)]).starts_with("`logit_bias` is NaN"));
    let mut forbidding = request(1, 4, 2);
    forbidding.sampling.logit_bias = vec![(1, f32::NEG_INFINITY)];
    assert_eq!(story.engine.add_request(forbidding), Ok(()));
}

#[test]
fn scores_that_do_not_fit_the_plan_are_refused() {
    // Log-probabilities of one token told for another are worse than none.
    let mut story = Story::new(config());
    story.add(&curious(1, 4, 1));
    let plan = story.launch().unwrap();
    assert_eq!((plan.num_scored_samples, plan.num_scored_tokens, plan.max_top_logprobs), (1, 3, 3));
    assert_eq!(
        story.engine.complete(plan.id, &[7], Scores::default()),
        Err(EngineError::WrongScoreCount { step: plan.id, expected: 4, given: 0 })
    );
    let ragged = Scores::new(&[-1.0; 4], &[1; 9], &[-1.0; 9]).unwrap_err();
    assert_eq!(ragged.to_string(), "4 log-probabilities were given with 9 likely tokens and 9 of theirs");
    assert!(Scores::new(&[], &[1], &[-1.0]).is_err() && Scores::new(&[-1.0], &[1], &[]).is_err());
    story.complete();
    assert_told(&story, &curious(1, 4, 1));
}

#[test]
fn a_small_vocabulary_has_fewer_likely_tokens_than_were_asked_for() {
    // A panic here ends every request of the server.
    let mut story = Story::new(config());
    story.add(&Request { logprobs: Some(20), ..request(1, 4, 1) });
    let plan = story.launch().unwrap();
    story.engine.complete(plan.id, &[1], Scores::new(&[-0.5], &[1, 0], &[-0.5, -1.0]).unwrap()).unwrap();
    story.engine.drain_events(&mut story.events);
    assert_eq!(story.logprobs(1)[0].top, [(1, -0.5), (0, -1.0)]);
}
