//! Compiles the constraints of answers: grammars for the model's vocabulary, and budgets of
//! thoughts.

use std::sync::{Arc, Mutex};

use streamcore_grammar::{Compiled, GrammarCache, GrammarError, Vocabulary};
use streamcore_parsers::Setup;

use super::{AskedGrammar, Generation};
use crate::app::App;
use crate::driver::{Constraint, NewRequest, Thought};
use crate::error::ApiError;

const BUDGET: &str = "thinking_token_budget";

impl Generation {
    /// Returns whether the answers have a constraint.
    #[must_use]
    pub fn is_held_to_something(&self) -> bool {
        self.grammar.is_some() || self.options.thinking_token_budget.is_some()
    }

    /// Compiles the constraints. Takes milliseconds, or seconds if the vocabulary has not been
    /// indexed.
    ///
    /// # Errors
    /// 400 if one cannot be enforced, or the model has no token that ends an answer.
    pub fn constrain(mut self, app: &App) -> Result<Self, ApiError> {
        let compiled = self.grammar.take().map(|asked| compile(app, asked)).transpose()?;
        let limit = self.thought_limit(app)?;
        // A script's answer is fixed.
        if app.script.is_some() || (compiled.is_none() && limit.is_none()) {
            return Ok(self);
        }
        let (compiled, field) = compiled.unzip();
        let field = field.as_deref().unwrap_or(BUDGET);
        let prompts: Vec<&[u32]> = self.prompt_of_choices().map(|prompt| &prompt.tokens[..]).collect();
        let constraint = |(new, prompt): (&NewRequest, &[u32])| {
            let matcher = compiled.as_ref().map(|compiled| compiled.matcher());
            let thought = limit.as_ref().map(|limit| limit.thought(app, prompt));
            Constraint::new(matcher, thought, app.num_logits().div_ceil(32), &new.request)
                .map_err(|error| ApiError::invalid("invalid_value", field, format!("`{field}`: {error}")))
        };
        let constraints: Result<Vec<_>, _> = self.requests.iter().zip(prompts).map(constraint).collect();
        for (new, constraint) in self.requests.iter_mut().zip(constraints?) {
            new.constraint = Some(Arc::new(Mutex::new(constraint)));
        }
        Ok(self)
    }

    /// Returns the budget of thoughts, if there is one.
    fn thought_limit(&self, app: &App) -> Result<Option<ThoughtLimit>, ApiError> {
        let Some(budget) = self.options.thinking_token_budget else { return Ok(None) };
        let known = self.setup.as_ref().and_then(|setup| Some((setup, setup.reasoning?)));
        let Some((setup, reasoning)) = known else {
            let message = format!(
                "`{BUDGET}` is not supported with this model, its reasoning format is unknown: set `--reasoning-parser`"
            );
            return Err(ApiError::invalid("unsupported_parameter", BUDGET, message));
        };
        let tokenize = |text: &str| app.text.tokenizer.encode(text, false).map_err(|_| ApiError::Internal);
        // gpt-oss may call behind the first ending, and must answer behind the second.
        let endings = [tokenize(reasoning.syntax().end)?, tokenize(reasoning.end_text())?];
        Ok(Some(ThoughtLimit { setup: setup.clone(), budget, endings }))
    }
}

/// The budget of a thought, and the tokens that close it.
struct ThoughtLimit {
    setup: Setup,
    budget: usize,
    endings: [Vec<u32>; 2],
}

impl ThoughtLimit {
    fn thought(&self, app: &App, prompt: &[u32]) -> Thought {
        Thought::new(self.setup.clone(), &app.text.tokenizer, prompt, self.budget, &self.endings)
    }
}

/// Compiles a grammar for the vocabulary; returns the field that required it too.
fn compile(app: &App, asked: AskedGrammar) -> Result<(Arc<Compiled>, String), ApiError> {
    let AskedGrammar { grammar, loose, field, beside_calls } = asked;
    let cache = app.grammars(&field)?;
    let compiled = match (cache.compile(&grammar), loose) {
        (Err(GrammarError::Unsupported { .. } | GrammarError::Compile(_)), Some(loose)) => {
            cache.compile(&loose)
        }
        (compiled, _) => compiled,
    };
    let compiled = compiled.map_err(|error| {
        // Of two fields the calls' is to blame if the other one can be enforced without them.
        let calls = beside_calls.filter(|(alone, _)| cache.compile(alone).is_ok()).map(|(_, field)| field);
        ApiError::of_grammar(&error, calls.as_deref().unwrap_or(&field))
    })?;
    Ok((compiled, field))
}

impl App {
    /// Indexes the vocabulary once, which takes seconds if it is large.
    pub fn index_vocabulary(&self) {
        self.grammars.get_or_init(|| {
            let num_logits = self.num_logits();
            let end_ids = &self.text.generation.eos_token_ids;
            let end_ids: Vec<u32> =
                end_ids.iter().copied().filter(|id| (*id as usize) < num_logits).collect();
            if end_ids.is_empty() && self.script.is_none() {
                return Err("the model has no token that ends an answer".to_owned());
            }
            let tokens = self.text.tokenizer.grammar_tokens(self.vocab_size);
            let vocabulary =
                Vocabulary::new(tokens, &end_ids, num_logits).map_err(|error| error.to_string())?;
            Ok(GrammarCache::new(Arc::new(vocabulary)))
        });
    }

    /// Returns the number of bits in a mask.
    fn num_logits(&self) -> usize {
        let num_words = self.driver.config().num_mask_words;
        if num_words > 0 { num_words * 32 } else { self.vocab_size }
    }

    /// Returns the compiler of grammars; the first call may wait for the vocabulary's index.
    fn grammars(&self, field: &str) -> Result<&GrammarCache, ApiError> {
        self.index_vocabulary();
        match self.grammars.get() {
            Some(Ok(cache)) => Ok(cache),
            Some(Err(reason)) => {
                let message = format!("`{field}` is not supported with this model: {reason}");
                Err(ApiError::invalid("unsupported_parameter", field, message))
            }
            None => Err(ApiError::Internal),
        }
    }
}
