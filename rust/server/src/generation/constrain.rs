//! Grammars of requests, compiled for the model's vocabulary.

use std::sync::{Arc, Mutex};

use streamcore_grammar::{Compiled, GrammarCache, GrammarError, Vocabulary};

use super::{AskedGrammar, Generation};
use crate::app::App;
use crate::driver::Constraint;
use crate::error::ApiError;
use crate::openai::structured::refused;

impl Generation {
    /// Compiles what the answers are held to. It takes milliseconds, and seconds where the
    /// vocabulary has not been indexed yet.
    ///
    /// # Errors
    /// 400, if it cannot be enforced, or the model has no token that ends an answer.
    pub fn constrain(mut self, app: &App) -> Result<Self, ApiError> {
        let Some(AskedGrammar { grammar, loose, field }) = self.grammar.take() else { return Ok(self) };
        let cache = app.grammars(&field)?;
        let compiled = match (cache.compile(&grammar), loose) {
            (Err(GrammarError::Unsupported { .. } | GrammarError::Compile(_)), Some(loose)) => {
                cache.compile(&loose)
            }
            (compiled, _) => compiled,
        };
        let compiled = compiled.map_err(|error| refused(&error, &field))?;
        // A script says what it says.
        if app.script.is_none() {
            self.hold_to(&compiled, cache, &field)?;
        }
        Ok(self)
    }

    fn hold_to(&mut self, compiled: &Compiled, cache: &GrammarCache, field: &str) -> Result<(), ApiError> {
        let num_words = cache.vocabulary().num_mask_words();
        for new in &mut self.requests {
            let constraint = Constraint::new(compiled, num_words, &new.request)
                .map_err(|error| ApiError::invalid("invalid_value", field, format!("`{field}`: {error}")))?;
            new.constraint = Some(Arc::new(Mutex::new(constraint)));
        }
        Ok(())
    }
}

impl App {
    /// Indexes the vocabulary, which takes seconds where it is large; once.
    pub fn index_vocabulary(&self) {
        self.grammars.get_or_init(|| {
            let num_words = self.driver.config().num_mask_words;
            let num_logits = if num_words > 0 { num_words * 32 } else { self.vocab_size };
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

    /// What compiles grammars; the first call may wait until the vocabulary is indexed.
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
