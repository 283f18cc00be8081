//! Submits a request and starts its choices.

use std::time::Duration;

use streamcore_engine::Request;

use super::{Generation, Prompt};
use crate::app::App;
use crate::driver::{NewRequest, TokenStream};
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::script::Assigned;
use crate::stream::{Choice, ChoicePlan, ToldPrompt};

impl Generation {
    /// Counts the request.
    fn count(&self, metrics: &Metrics) {
        self.prompts.iter().for_each(|_| metrics.request_params_n.observe_count(self.options.n));
        let max_tokens = self.requests.iter().map(|new| new.request.max_tokens);
        max_tokens.for_each(|max_tokens| metrics.request_params_max_tokens.observe_count(max_tokens));
    }

    /// Returns the prompt of each choice.
    pub fn prompt_of_choices(&self) -> impl Iterator<Item = &Prompt> {
        self.prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt, self.options.n))
    }

    /// Returns the prompt's details for each choice of a whole answer.
    #[must_use]
    pub fn told_prompts(&self, choices: &[Choice]) -> Vec<ToldPrompt> {
        let details = &self.options.details;
        let told = |(prompt, choice): (&Prompt, &Choice)| ToldPrompt {
            token_ids: details.token_ids.then(|| prompt.tokens.clone()),
            logprobs: details.prompt_logprobs.map(|num_top| choice.score_prompt(&prompt.tokens, num_top)),
        };
        self.prompt_of_choices().zip(choices).map(told).collect()
    }

    /// Leaves the scripted answers of named requests to the one that plays them.
    fn assign_answers(&self, app: &App, requests: &[NewRequest]) -> Vec<Assigned> {
        let Some(script) = &app.script else { return Vec::new() };
        requests
            .iter()
            .zip(&self.answers)
            .map(|(new, answer)| script.assign(new.request.id, answer))
            .collect()
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
            let id = app.driver.new_id();
            let request =
                Request { id, prompt, cache_salt, key, priority, precedence, ..new.request.clone() };
            NewRequest { request, patience, ..new.clone() }
        };
        let requests: Vec<_> = self.requests.iter().zip(self.prompt_of_choices()).map(with_prompt).collect();
        let mut assigned = self.assign_answers(app, &requests).into_iter();
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
                call_ids: self.answers.get(index).map_or_else(Vec::new, |answer| answer.call_ids().to_vec()),
            };
            let choice = Choice::new(tokens, &app.text.tokenizer, skip_special_tokens, &prompt.tokens, plan);
            choice.with_script(assigned.next())
        };
        let streams = app.driver.submit_all(requests)?;
        self.count(app.driver.metrics());
        Ok(streams.into_iter().zip(self.prompt_of_choices()).enumerate().map(start).collect())
    }
}
