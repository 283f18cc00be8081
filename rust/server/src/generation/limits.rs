//! Checks what a request takes of the queue and of the memory.

use super::Generation;
use crate::app::App;
use crate::driver::NewRequest;
use crate::error::ApiError;
use crate::ledger::Pool;

/// Maximum log-probabilities kept for one request until its answer is whole, some hundred bytes
/// each.
const MAX_KEPT_SCORES: usize = 4 << 20;
/// Bytes of a position whose log-probabilities are kept, and of each of these, as numbers and as
/// JSON.
const BYTES_OF_POSITION: usize = 160;
const BYTES_OF_SCORE: usize = 96;

impl Generation {
    /// Refuses what could not fit an empty queue: a 429 would have the client retry for ever.
    pub(super) fn check_queue(&self, app: &App) -> Result<(), ApiError> {
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

    /// Refuses a request whose log-probabilities would not fit in memory: prompt scores are held
    /// until the first token, those of a whole answer until its end.
    pub(super) fn check_scores(&self, app: &App) -> Result<(), ApiError> {
        let (of_prompts, of_answers) = self.num_scores();
        let count = of_prompts.saturating_add(of_answers);
        let num_bytes = self.requests.iter().map(|new| new.kept_bytes).fold(0, usize::saturating_add);
        let most_bytes = app.driver.ledger().most_of_one_key(Pool::Answers);
        if count <= MAX_KEPT_SCORES && num_bytes <= most_bytes {
            return Ok(());
        }
        let is_prompt = self.options.details.prompt_logprobs.is_some() && of_prompts >= of_answers;
        let param = if is_prompt { "prompt_logprobs" } else { "logprobs" };
        let beyond = match count <= MAX_KEPT_SCORES {
            true => format!("of up to {num_bytes} bytes, limit is {most_bytes}"),
            false => format!("limit is {MAX_KEPT_SCORES}"),
        };
        let message = format!(
            "request asks for up to {count} log-probabilities, {beyond}: ask for fewer, for fewer choices or tokens"
        );
        Err(ApiError::invalid("invalid_value", param, message))
    }

    /// Sets the bytes kept for each choice until its answer is written.
    pub(super) fn set_kept_bytes(&mut self) {
        let keeps_answers = !self.options.stream;
        let lens: Vec<_> = self.prompt_of_choices().map(|prompt| prompt.tokens.len()).collect();
        for (new, prompt_len) in self.requests.iter_mut().zip(lens) {
            let bytes = |num_positions: usize, num_top: Option<u32>| {
                let of_scores = |num_top: u32| BYTES_OF_SCORE * (num_top as usize + 1) + BYTES_OF_POSITION;
                num_positions.saturating_mul(num_top.map_or(0, of_scores))
            };
            let of_answer = if keeps_answers { new.request.max_tokens } else { 0 };
            new.kept_bytes = bytes(prompt_len, new.request.prompt_logprobs)
                .saturating_add(bytes(of_answer, new.request.logprobs));
        }
    }

    /// Returns the maximum log-probabilities kept, of its prompts and of its answers.
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

    /// Estimates the bytes of a whole answer beyond its text.
    #[must_use]
    pub fn num_details_bytes(&self) -> usize {
        const BYTES_OF_SCORE: usize = 64;
        let (of_prompts, of_answers) = self.num_scores();
        of_prompts.saturating_add(of_answers).saturating_mul(BYTES_OF_SCORE)
    }
}
