//! One choice: tokens in, text out, until a stop.

use std::mem;
use std::task::{Context, Poll, ready};

use streamcore_engine::TokenLogprobs;
use streamcore_parsers::Setup;

use super::delta::{Delta, Scored};
use super::echo::{Echo, tell_text};
use super::output::Output;
use super::reading::Reading;
use crate::asked::Stops;
use crate::driver::{End, EndError, Token, TokenStream};
use crate::script::Assigned;
use crate::stream::finish::{Finish, FinishReason};
use crate::text::{Detokenizer, Tokenizer};

/// The plan of a choice: its reported details and its end.
#[derive(Debug, Clone)]
pub struct ChoicePlan {
    /// Prompt tokens that this choice is billed for: all for the first choice of a prompt, else 0.
    pub num_prompt_tokens: usize,
    /// Where its text ends.
    pub stops: Stops,
    /// Number of likely tokens reported with each token of an echoed prompt.
    pub num_top: Option<u32>,
    /// Whether its tokens are reported.
    pub tells_tokens: bool,
    /// What it begins with.
    pub echo: Option<Echo>,
    /// Nothing is generated.
    pub is_empty: bool,
    /// The setup of the parser of calls and reasoning, if there is one.
    pub setup: Option<Setup>,
    /// Whether its reasoning is shown.
    pub shows_reasoning: bool,
    /// The ids of its calls in order, as far as they are known beforehand.
    pub call_ids: Vec<Option<String>>,
}

/// One sequence on its way to the client. Dropping it aborts the request.
#[derive(Debug)]
pub struct Choice {
    tokens: TokenStream,
    num_prompt_tokens: usize,
    output: Output,
    /// Parses the released output, if there is a parser.
    reading: Option<Box<Reading>>,
    echo: Option<Echo>,
    num_top: u32,
    is_empty: bool,
    /// A fresh detokenizer, for the prompt.
    detokenizer: Detokenizer,
    prompt_logprobs: Vec<TokenLogprobs>,
    /// Generated tokens that are not processed yet.
    fresh_tokens: Vec<Token>,
    end: Option<End>,
    /// Has its answer played, if a script says it. Behind `tokens`, whose drop ends the request
    /// first.
    _script: Option<Assigned>,
}

impl Choice {
    /// Creates a choice for the tokens of a request with this prompt. Its text is the addition to
    /// the prompt's.
    #[must_use]
    pub fn new(
        tokens: TokenStream,
        tokenizer: &Tokenizer,
        skip_special_tokens: bool,
        prompt: &[u32],
        plan: ChoicePlan,
    ) -> Self {
        let detokenizer = tokenizer.detokenizer(skip_special_tokens);
        let ChoicePlan { setup, tells_tokens, shows_reasoning, call_ids, .. } = plan;
        let reading = setup.map(|setup| {
            Reading::new(setup, tokenizer, tells_tokens, shows_reasoning).with_call_ids(call_ids)
        });
        let mut behind_prompt = detokenizer.clone().behind(prompt);
        if let Some(reading) = &reading {
            behind_prompt = behind_prompt.with_markers(reading.markers());
        }
        Self {
            tokens,
            num_prompt_tokens: plan.num_prompt_tokens,
            // A parser needs the tokens.
            output: Output::new(behind_prompt, plan.stops, tells_tokens || reading.is_some()),
            reading: reading.map(Box::new),
            echo: plan.echo,
            num_top: plan.num_top.unwrap_or(0),
            is_empty: plan.is_empty,
            detokenizer,
            prompt_logprobs: Vec::new(),
            fresh_tokens: Vec::new(),
            end: None,
            _script: None,
        }
    }

    /// The same choice, whose answer a script says.
    #[must_use]
    pub fn with_script(self, script: Option<Assigned>) -> Self {
        Self { _script: script, ..self }
    }

    /// Tokens of the prompt, if this choice pays for it.
    #[must_use]
    pub fn num_prompt_tokens(&self) -> usize {
        self.num_prompt_tokens
    }

    /// Returns how many of these were cached, known from the first token on.
    #[must_use]
    pub fn num_cached_tokens(&self) -> usize {
        if self.num_prompt_tokens == 0 { 0 } else { self.tokens.num_cached_tokens() }
    }

    /// Returns the number of tokens generated so far, a final stop token included.
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.output.num_tokens()
    }

    /// Returns the reasoning tokens among them, if reasoning is parsed.
    #[must_use]
    pub fn num_reasoning_tokens(&self) -> Option<usize> {
        self.reading.as_ref()?.num_reasoning_tokens()
    }

    /// Returns the log-probabilities of a prompt's tokens, and of this many of the likeliest, once
    /// the first token has come. The first token of a prompt has none.
    #[must_use]
    pub fn score_prompt(&self, prompt: &[u32], num_top: u32) -> Vec<Scored> {
        super::output::score_prompt(&self.detokenizer, prompt, &self.prompt_logprobs, num_top as usize)
    }

    /// Appends what has become certain since the last call; ready when at least one token or the
    /// end has come. Must not be polled after the end.
    pub fn poll_delta(
        &mut self,
        cx: &mut Context<'_>,
        delta: &mut Delta,
    ) -> Poll<Option<Result<Finish, EndError>>> {
        if self.fresh_tokens.is_empty() && self.end.is_none() {
            self.end = ready!(self.tokens.poll(cx, &mut self.fresh_tokens));
            self.prompt_logprobs.append(&mut self.tokens.take_prompt_logprobs());
        }
        // A runner that dies with undelivered first tokens has begun to answer: the output must not
        // depend on how many came with the failure.
        let has_begun = !(self.fresh_tokens.is_empty() && matches!(self.end, Some(End::Failed(_))));
        if has_begun && let Some(echo) = self.echo.take() {
            self.tell_prompt(echo, delta);
            return Poll::Ready(None);
        }
        Poll::Ready(match self.reading.take() {
            None => self.take_tokens(delta),
            Some(mut reading) => {
                let end = self.read_tokens(&mut reading, delta);
                self.reading = Some(reading);
                end
            }
        })
    }

    /// Takes tokens and parses them.
    fn read_tokens(&mut self, reading: &mut Reading, delta: &mut Delta) -> Option<Result<Finish, EndError>> {
        let stop = match &self.end {
            Some(End::Stop(token)) if self.output.hides_stop_token() => Some(token.id),
            _ => None,
        };
        let end = self.take_tokens(&mut reading.raw);
        reading.read(delta);
        end.map(|end| end.map(|finish| reading.finish(finish, stop, delta)))
    }

    fn tell_prompt(&mut self, echo: Echo, delta: &mut Delta) {
        match echo {
            Echo::Text(text) => delta.text.push_str(&text),
            Echo::Scored(prompt) => {
                let scores = self.score_prompt(&prompt, self.num_top);
                super::output::tell_prompt(self.detokenizer.clone(), scores, delta);
            }
            Echo::ScoredText { text, tokens } => {
                let (prompt, ranges): (Vec<_>, Vec<_>) = tokens.into_iter().unzip();
                tell_text(&text, &ranges, self.score_prompt(&prompt, self.num_top), delta);
            }
        }
        self.output.begin_behind(delta.text.chars().count());
    }

    fn take_tokens(&mut self, delta: &mut Delta) -> Option<Result<Finish, EndError>> {
        let mut tokens = mem::take(&mut self.fresh_tokens);
        let matched = if self.is_empty {
            Some(self.output.end(Finish { finish_reason: FinishReason::Length, stop_reason: None }, delta))
        } else {
            // One token at a time, so that the count and the text at a stop string do not depend on
            // how many came together.
            tokens.drain(..).find_map(|token| self.output.push(token, delta))
        };
        tokens.clear();
        self.fresh_tokens = tokens;
        match (matched, self.end.take()) {
            (_, Some(End::Failed(error))) if self.is_empty => Some(Err(error)),
            (Some(finish), _) => {
                self.tokens.stop();
                Some(Ok(finish))
            }
            (None, end) => end.map(|end| self.finish(end, delta)),
        }
    }

    fn finish(&mut self, end: End, delta: &mut Delta) -> Result<Finish, EndError> {
        match end {
            End::Failed(error) => Err(error),
            End::Stop(token) => Ok(self.output.stop_at(token, delta)),
            End::Length => {
                let finish = Finish { finish_reason: FinishReason::Length, stop_reason: None };
                Ok(self.output.end(finish, delta))
            }
        }
    }
}
