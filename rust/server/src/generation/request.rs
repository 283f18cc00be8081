//! A checked request in the engine's terms.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use streamcore_engine::{GivenParameters, Request, RequestId, SamplingParams};
use streamcore_parsers::Setup;

use super::prompt::{check_tokens, truncate};
use super::{AskedGrammar, Prompt, lengths, random};
use crate::app::App;
use crate::asked::{Options, Sampling};
use crate::driver::{Delivery, NewRequest};
use crate::error::ApiError;
use crate::patience::patience;
use crate::script::cue::{Cue, Scene};
use crate::script::{Script, ScriptedAnswer};
use crate::stream::keepalive_interval;

/// A request that can be queued.
#[derive(Debug)]
pub struct Generation {
    /// The request's options.
    pub options: Options,
    /// The prompts, one after the other, each with `n` choices.
    pub prompts: Vec<Prompt>,
    /// The setup of the answers' parser, unless they are plain text.
    pub setup: Option<Setup>,
    /// The grammar of the answers, until it is compiled.
    pub grammar: Option<AskedGrammar>,
    /// The engine's requests without prompts, which are copied on submission.
    pub(super) requests: Vec<NewRequest>,
    /// The scripted answers, by request; empty without a script.
    pub(super) answers: Vec<Arc<ScriptedAnswer>>,
}

impl Generation {
    /// Checks a request against the model. Without `max_tokens`, generates up to
    /// `default_max_tokens` within the context.
    ///
    /// # Errors
    /// 400 if a prompt is empty, exceeds the context or has a token that the model does not know;
    /// if it exceeds what can be queued or kept; or the script's error.
    pub fn new(
        app: &App,
        options: Options,
        mut prompts: Vec<Prompt>,
        default_max_tokens: usize,
    ) -> Result<Self, ApiError> {
        let mut requests = Vec::with_capacity(prompts.len() * options.n);
        let mut answers = Vec::new();
        for prompt in &mut prompts {
            truncate(app, &options, &mut prompt.tokens, default_max_tokens);
            check_tokens(app, prompt)?;
            let max_tokens = lengths::max_tokens(app.driver.config(), &options, prompt, default_max_tokens)?;
            let request = new_request(app, &options, max_tokens);
            let seed = options.sampling.seed.unwrap_or_else(random);
            let num_others = requests.len();
            requests.extend((0..options.n).map(|nth| with_seed(&request, seed.wrapping_add(nth as u64))));
            if let (Some(script), Some(cue)) = (&app.script, &prompt.cue) {
                answers.extend(choose_answers(script, &options, cue, &mut requests[num_others..])?);
            }
        }
        let mut generation = Self { options, prompts, setup: None, grammar: None, requests, answers };
        generation.set_kept_bytes();
        generation.check_queue(app)?;
        generation.check_scores(app)?;
        Ok(generation)
    }

    /// Returns the interval of keep-alive comments; none for a script that hangs.
    #[must_use]
    pub fn max_silence(&self, headers: &HeaderMap) -> Duration {
        if self.answers.iter().any(|answer| answer.hangs()) {
            Duration::MAX
        } else {
            keepalive_interval(headers)
        }
    }

    /// Returns how long the client waits for a whole answer, if it sends that. A stream shows that
    /// it lives, and a script keeps its own time.
    #[must_use]
    pub fn patience(&self, headers: &HeaderMap) -> Option<Duration> {
        if self.options.stream || !self.answers.is_empty() { None } else { patience(headers) }
    }
}

/// The answer that the script has for each choice of a prompt. Its tokens come one by one, and no
/// more of them than it has.
fn choose_answers(
    script: &Script,
    options: &Options,
    cue: &Cue,
    requests: &mut [NewRequest],
) -> Result<Vec<Arc<ScriptedAnswer>>, ApiError> {
    let scene = Scene { cue, model: &options.model, stream: options.stream };
    let choose = |new: &mut NewRequest| {
        let answer = script.reply(&scene)?;
        new.request.max_tokens = new.request.max_tokens.min(answer.max_tokens());
        if new.delivery == Delivery::Merged {
            new.delivery = Delivery::TokenByToken;
        }
        Ok(Arc::clone(answer))
    };
    requests.iter_mut().map(choose).collect()
}

/// Makes the request that the choices of all prompts share.
fn new_request(app: &App, options: &Options, max_tokens: usize) -> NewRequest {
    let mut stop_token_ids = options.stops.token_ids.clone();
    if !options.stops.ignore_eos {
        stop_token_ids.extend_from_slice(&app.text.generation.eos_token_ids);
    }
    let details = &options.details;
    let request = Request {
        min_tokens: options.stops.min_tokens,
        stop_token_ids,
        sampling: sampling_params(app, &options.sampling),
        logprobs: details.logprobs,
        prompt_logprobs: details.prompt_logprobs.max(details.logprobs.filter(|_| options.echo)),
        ..Request::new(RequestId::default(), Vec::new(), max_tokens)
    };
    // A whole answer is of no use before its end, unless it may end at a stop string.
    let is_whole = !options.stream && options.stops.texts.is_empty();
    let delivery = if is_whole { Delivery::AtEnd } else { Delivery::Merged };
    NewRequest { delivery, ..NewRequest::from(request) }
}

fn sampling_params(app: &App, asked: &Sampling) -> SamplingParams {
    // Without parameters from client or model, tokens are drawn by their probabilities.
    let neither = GivenParameters { temperature: Some(1.0), ..GivenParameters::default() };
    let numbers = asked.numbers.or(app.text.generation.sampling).or(neither);
    SamplingParams { logit_bias: asked.logit_bias.clone(), ..SamplingParams::from(numbers) }
}

fn with_seed(new: &NewRequest, seed: u64) -> NewRequest {
    let mut new = new.clone();
    new.request.sampling.seed = seed;
    new
}
