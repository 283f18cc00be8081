//! From a checked request to running choices.

mod answer_grammar;
mod answer_setup;
mod arguments;
mod chat;
mod constrain;
mod instruction;
mod lengths;

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use streamcore_engine::{GivenParameters, Request, RequestId, SamplingParams};
use streamcore_parsers::Setup;

use crate::app::App;
use crate::asked::{Options, Sampling};
use crate::driver::{NewRequest, TokenStream};
use crate::error::ApiError;
use crate::ledger::Pool;
use crate::metrics::Metrics;
use crate::patience::patience;
use crate::script::Script;
use crate::script::cue::{Cue, Scene};
use crate::stream::{Choice, ChoicePlan, Echo, Identity, ToldPrompt, keepalive_interval};
use crate::text::{Conversation, EncodedConversation, PromptError, TextError, encode_within};

pub use self::answer_grammar::{AskedGrammar, Manner, chat_grammar, completion_grammar};
pub use self::answer_setup::answer_setup;
pub use self::chat::of_chat;
pub use self::instruction::instruct;

/// Most log-probabilities of one request that are kept until its answer is whole: some hundred bytes each.
const MAX_KEPT_SCORES: usize = 4 << 20;

/// A prompt, and how it is echoed.
#[derive(Debug)]
pub struct Prompt {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// The field that it came from.
    pub field: String,
    /// What each of its choices begins with.
    pub echo: Option<Echo>,
    /// What the rules of a script look at; only needed if there is a script.
    pub cue: Option<Cue>,
}

/// A request that can be queued.
#[derive(Debug)]
pub struct Generation {
    /// What was asked for.
    pub options: Options,
    /// The prompts, one after the other, each with `n` choices.
    pub prompts: Vec<Prompt>,
    /// How its answers are read, if they have more in them than text.
    pub setup: Option<Setup>,
    /// What its answers are held to, until that is compiled.
    pub grammar: Option<AskedGrammar>,
    /// What the engine is asked for, without prompts: they are copied when they are queued.
    requests: Vec<NewRequest>,
}

/// Most tokens of a prompt that is worth tokenising to its end: without a limit if the end is all that is kept.
#[must_use]
pub fn max_prompt_tokens(app: &App, options: &Options) -> Option<usize> {
    options.truncate_prompt_tokens.is_none().then(|| app.driver.config().max_seq_len())
}

/// Tokenises a text by `encode`, unless it certainly has more than `max_tokens`. `field` is the one
/// that it came from.
///
/// # Errors
/// 400, if the tokenizer cannot, or the text is too long.
pub fn encode<T>(
    app: &App,
    text: &str,
    max_tokens: Option<usize>,
    field: &str,
    encode: impl Fn(&str) -> Result<Vec<T>, TextError>,
) -> Result<Vec<T>, ApiError> {
    encode_within(text, max_tokens, encode)
        .map_err(|error| lengths::refuse_text(app.driver.config(), &error, field))
}

/// Renders and tokenises a conversation, unless it certainly has more than `max_tokens`.
///
/// # Errors
/// 400, if the model has no template, the template refuses the conversation, or it is too long.
pub fn encode_conversation(
    app: &App,
    conversation: Conversation,
    max_tokens: Option<usize>,
) -> Result<EncodedConversation, ApiError> {
    if !conversation.tools.is_empty() {
        app.tell_of_unknown_tools();
    }
    app.text.encode_conversation(conversation, max_tokens).map_err(|error| {
        let (code, param) = match &error {
            PromptError::Text(error) => {
                return lengths::refuse_text(app.driver.config(), error, "messages");
            }
            PromptError::NoTemplate => ("unsupported_parameter", "messages"),
            PromptError::NothingToContinue => ("invalid_value", "continue_final_message"),
            PromptError::Template(_) => ("invalid_value", "messages"),
        };
        ApiError::invalid(code, param, error.to_string())
    })
}

impl Generation {
    /// Checks what is asked for against the model. Without `max_tokens`, `default_max_tokens` are generated as far as the context
    /// allows.
    ///
    /// # Errors
    /// 400, if a prompt is empty, longer than the context, or has a token that the model does not know; if
    /// more is asked for than can be queued or kept; or what a script says.
    pub fn new(
        app: &App,
        options: Options,
        mut prompts: Vec<Prompt>,
        default_max_tokens: usize,
    ) -> Result<Self, ApiError> {
        let mut requests = Vec::with_capacity(prompts.len() * options.n);
        for prompt in &mut prompts {
            truncate(app, &options, &mut prompt.tokens, default_max_tokens);
            check_tokens(app, prompt)?;
            let max_tokens = lengths::max_tokens(app.driver.config(), &options, prompt, default_max_tokens)?;
            let request = new_request(app, &options, max_tokens);
            let seed = options.sampling.seed.unwrap_or_else(random);
            let num_others = requests.len();
            requests.extend((0..options.n).map(|nth| with_seed(&request, seed.wrapping_add(nth as u64))));
            if let (Some(script), Some(cue)) = (&app.script, &prompt.cue) {
                give_answers(script, &options, cue, &mut requests[num_others..])?;
            }
        }
        let generation = Self { options, prompts, setup: None, grammar: None, requests };
        generation.check_queue(app)?;
        generation.check_scores()?;
        Ok(generation)
    }

    /// What does not even fit into an empty queue would be told to try again for ever.
    fn check_queue(&self, app: &App) -> Result<(), ApiError> {
        let most = |pool| app.driver.ledger().most_of_one_key(pool);
        let (max_requests, max_tokens) = (most(Pool::Requests), most(Pool::PromptTokens));
        let num_choices = self.requests.len();
        let num_tokens: usize = self.prompt_of_choices().map(|prompt| prompt.tokens.len()).sum();
        let (param, prompts, tokens) = match self.options.n {
            1 => ("prompt", "prompts", "prompt tokens"),
            _ => ("n", "choices of all its prompts", "prompt tokens, counted for each choice"),
        };
        let refused = |what: &str, count: usize, limit: usize| {
            let message = format!("request has {count} {what}, limit is {limit}");
            Err(ApiError::invalid("invalid_value", param, message))
        };
        match num_choices {
            1 => Ok(()),
            _ if num_choices > max_requests => refused(prompts, num_choices, max_requests),
            _ if num_tokens > max_tokens => refused(tokens, num_tokens, max_tokens),
            _ => Ok(()),
        }
    }

    /// Log-probabilities of prompts wait for the first token, those of a whole answer for its end.
    fn check_scores(&self) -> Result<(), ApiError> {
        let (of_prompts, of_answers) = self.num_scores();
        let count = of_prompts.saturating_add(of_answers);
        if count <= MAX_KEPT_SCORES {
            return Ok(());
        }
        let is_prompt = self.options.details.prompt_logprobs.is_some() && of_prompts >= of_answers;
        let param = if is_prompt { "prompt_logprobs" } else { "logprobs" };
        let message = format!(
            "request asks for up to {count} log-probabilities, limit is {MAX_KEPT_SCORES}: ask for fewer, for fewer choices or tokens"
        );
        Err(ApiError::invalid("invalid_value", param, message))
    }

    /// Most log-probabilities that are kept, of its prompts and of its answers.
    fn num_scores(&self) -> (usize, usize) {
        let (mut of_prompts, mut of_answers) = (0_usize, 0_usize);
        for (NewRequest { request, .. }, prompt) in self.requests.iter().zip(self.prompt_of_choices()) {
            let num_scores = |num_top: Option<u32>| num_top.map_or(0, |num_top| num_top as usize + 1);
            of_prompts += prompt.tokens.len() * num_scores(request.prompt_logprobs);
            if !self.options.stream || self.options.details.keeps_logprobs {
                of_answers += request.max_tokens * num_scores(request.logprobs);
            }
        }
        (of_prompts, of_answers)
    }

    /// How long a whole answer can be beyond its text, about.
    #[must_use]
    pub fn num_details_bytes(&self) -> usize {
        const BYTES_OF_SCORE: usize = 64;
        let (of_prompts, of_answers) = self.num_scores();
        of_prompts.saturating_add(of_answers).saturating_mul(BYTES_OF_SCORE)
    }

    /// How long its stream may be silent. One that is scripted to hang shows no sign of life at all.
    #[must_use]
    pub fn max_silence(&self, headers: &HeaderMap) -> Duration {
        let mut answers = self.requests.iter().filter_map(|new| new.answer.as_ref());
        if answers.any(|answer| answer.hangs()) { Duration::MAX } else { keepalive_interval(headers) }
    }

    /// How long its client waits for the whole answer, if it tells. A stream shows that it lives, and a script answers when it says.
    #[must_use]
    pub fn patience(&self, headers: &HeaderMap) -> Option<Duration> {
        let is_scripted = self.requests.iter().any(|new| new.answer.is_some());
        if self.options.stream || is_scripted { None } else { patience(headers) }
    }

    /// Counts what has been asked for.
    fn count(&self, metrics: &Metrics) {
        self.prompts.iter().for_each(|_| metrics.request_params_n.observe_count(self.options.n));
        let max_tokens = self.requests.iter().map(|new| new.request.max_tokens);
        max_tokens.for_each(|max_tokens| metrics.request_params_max_tokens.observe_count(max_tokens));
    }

    /// The prompt of each choice.
    pub fn prompt_of_choices(&self) -> impl Iterator<Item = &Prompt> {
        self.prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt, self.options.n))
    }

    /// What a whole answer tells of the prompt of each choice.
    #[must_use]
    pub fn told_prompts(&self, choices: &[Choice]) -> Vec<ToldPrompt> {
        let details = &self.options.details;
        let told = |(prompt, choice): (&Prompt, &Choice)| ToldPrompt {
            token_ids: details.token_ids.then(|| prompt.tokens.clone()),
            logprobs: details.prompt_logprobs.map(|num_top| choice.score_prompt(&prompt.tokens, num_top)),
        };
        self.prompt_of_choices().zip(choices).map(told).collect()
    }

    /// Queues the requests of all choices, or none.
    ///
    /// # Errors
    /// 429 or 503.
    pub fn submit(
        &self,
        app: &App,
        cache_salt: u64,
        key: u32,
        patience: Option<Duration>,
    ) -> Result<Vec<Choice>, ApiError> {
        let asked = self.options.priority;
        let may_cross = app.access.priority_keys.contains(&key);
        let (priority, precedence) = if may_cross { (asked, 0) } else { (0, asked) };
        let with_prompt = |(new, prompt): (&NewRequest, &Prompt)| {
            let prompt = prompt.tokens.clone();
            let request = Request { prompt, cache_salt, key, priority, precedence, ..new.request.clone() };
            NewRequest { request, patience, ..new.clone() }
        };
        let requests = self.requests.iter().zip(self.prompt_of_choices()).map(with_prompt).collect();
        let start = |(index, (tokens, prompt)): (usize, (TokenStream, &Prompt))| {
            let skip_special_tokens = !self.options.details.special_tokens;
            let is_first = index % self.options.n == 0;
            let plan = ChoicePlan {
                num_prompt_tokens: if is_first { prompt.tokens.len() } else { 0 },
                stops: self.options.stops.clone(),
                num_top: self.options.details.logprobs,
                tells_tokens: self.options.details.counts_tokens(),
                echo: prompt.echo.clone(),
                is_empty: self.options.max_tokens == Some(0),
                setup: self.setup.clone(),
                shows_reasoning: !self.options.details.hides_reasoning,
                call_ids: self.requests[index]
                    .answer
                    .as_ref()
                    .map(|answer| answer.call_ids().to_vec())
                    .unwrap_or_default(),
            };
            Choice::new(tokens, &app.text.tokenizer, skip_special_tokens, &prompt.tokens, plan)
        };
        let streams = app.driver.submit_all(requests)?;
        self.count(app.driver.metrics());
        Ok(streams.into_iter().zip(self.prompt_of_choices()).enumerate().map(start).collect())
    }
}

/// Gives each choice of a prompt the answer that the script has for it.
fn give_answers(
    script: &Script,
    options: &Options,
    cue: &Cue,
    requests: &mut [NewRequest],
) -> Result<(), ApiError> {
    let scene = Scene { cue, model: &options.model, stream: options.stream };
    for new in requests {
        let answer = script.reply(&scene)?;
        new.request.max_tokens = new.request.max_tokens.min(answer.max_tokens());
        new.answer = Some(Arc::clone(answer));
    }
    Ok(())
}

/// Keeps the end of a prompt. An answer that may take all of the context gets a quarter of it.
fn truncate(app: &App, options: &Options, tokens: &mut Vec<u32>, default_max_tokens: usize) {
    let Some(most) = options.truncate_prompt_tokens else { return };
    let max_seq_len = app.driver.config().max_seq_len();
    let default = || default_max_tokens.min(max_seq_len / 4).max(1);
    let room = max_seq_len.saturating_sub(options.max_tokens.unwrap_or_else(default)).max(1);
    let num_kept = usize::try_from(most).unwrap_or(room);
    tokens.drain(..tokens.len().saturating_sub(num_kept));
}

/// The tokenizer may know tokens that the model does not.
fn check_tokens(app: &App, Prompt { tokens, field, .. }: &Prompt) -> Result<(), ApiError> {
    let Some(token) = tokens.iter().find(|token| **token as usize >= app.vocab_size) else { return Ok(()) };
    let message =
        format!("`{field}` has token id {token}, the model's vocabulary has {} tokens", app.vocab_size);
    Err(ApiError::invalid("invalid_value", field, message))
}

/// What the choices of all prompts share.
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
    let deliver_at_end = !options.stream && options.stops.texts.is_empty();
    NewRequest { deliver_at_end, ..NewRequest::from(request) }
}

fn sampling_params(app: &App, asked: &Sampling) -> SamplingParams {
    // Where neither client nor model says anything, tokens are drawn as the model finds them likely.
    let neither = GivenParameters { temperature: Some(1.0), ..GivenParameters::default() };
    let numbers = asked.numbers.or(app.text.generation.sampling).or(neither);
    SamplingParams { logit_bias: asked.logit_bias.clone(), ..SamplingParams::from(numbers) }
}

fn with_seed(new: &NewRequest, seed: u64) -> NewRequest {
    let mut new = new.clone();
    new.request.sampling.seed = seed;
    new
}

/// What the answer says about itself: the API's prefix and the request's id.
#[must_use]
pub fn identity(app: &App, prefix: &str, options: &Options, name: &str) -> Identity {
    let name = options.request_id.as_deref().unwrap_or(name);
    let (created, model) = (app.driver.unix_time_s(), options.model.clone());
    Identity { id: format!("{prefix}{name}"), created, model }
}

/// A number that nobody can guess.
#[must_use]
pub fn random() -> u64 {
    getrandom::u64().expect("the system has random numbers")
}
