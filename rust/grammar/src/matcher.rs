//! The state of one sequence in its grammar.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::MatchError;
use crate::vocabulary::Vocabulary;

/// The state of one sequence in its grammar.
///
/// Clones diverge, as the answers to one prompt do (`n`), and share the lexer's tables.
#[derive(Clone)]
pub struct Matcher {
    inner: llguidance::Matcher,
    vocabulary: Arc<Vocabulary>,
    /// Set if the shared lexer has reached its limits, so that the cache recompiles the grammar.
    spent: Arc<AtomicBool>,
    /// Tokens accepted, without the end.
    num_tokens: usize,
    ended: bool,
}

impl std::fmt::Debug for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matcher").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Matcher {
    pub(crate) fn new(inner: llguidance::Matcher, vocabulary: Arc<Vocabulary>) -> Self {
        Self { inner, vocabulary, spent: Arc::default(), num_tokens: 0, ended: false }
    }

    /// Returns whether a sequence of this grammar failed, after which the shared lexer may be at
    /// its limits.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// Writes which tokens may come next: bit `id % 32` of word `id / 32` is set where `id` is
    /// allowed.
    ///
    /// End ids are allowed exactly where the answer may end. After one was accepted, they are all
    /// that is allowed.
    ///
    /// # Errors
    /// The mask costs more than its budget, or no token can follow.
    ///
    /// # Panics
    /// `out` is not [`Vocabulary::num_mask_words`] long.
    pub fn mask(&mut self, out: &mut [u32]) -> Result<(), MatchError> {
        assert_eq!(out.len(), self.vocabulary.num_mask_words(), "one bit for each logit");
        out.fill(0);
        if self.is_finished() {
            self.vocabulary.allow_end(out);
            return Ok(());
        }
        let mask = self.inner.compute_mask().map_err(|error| self.failed(&error))?;
        self.vocabulary.finish_mask(mask.as_slice(), out);
        if out.iter().all(|word| *word == 0) && !self.can_end()? {
            return Err(MatchError::Failed("no token can follow".to_owned()));
        }
        Ok(())
    }

    /// Follows the token that was drawn.
    ///
    /// # Errors
    /// The token is not allowed, after which the sequence stands where it stood, or following it
    /// costs more than its budget.
    pub fn accept(&mut self, token: u32) -> Result<(), MatchError> {
        if self.vocabulary.end_ids().contains(&token) {
            if !self.can_end()? {
                return Err(MatchError::NotAllowed(token));
            }
            self.ended = true;
            return Ok(());
        }
        if self.ended || token as usize >= self.vocabulary.vocab_size() {
            return Err(MatchError::NotAllowed(token));
        }
        let indexed = self.vocabulary.indexed(token);
        let num_accepted = self.inner.try_consume_tokens(&[indexed]).map_err(|error| self.failed(&error))?;
        if num_accepted == 0 {
            return Err(MatchError::NotAllowed(token));
        }
        self.num_tokens += 1;
        Ok(())
    }

    /// Returns whether the answer may end here.
    ///
    /// # Errors
    /// The sequence failed before.
    pub fn can_end(&mut self) -> Result<bool, MatchError> {
        Ok(self.is_finished() || self.inner.is_accepting().map_err(|error| self.failed(&error))?)
    }

    /// Returns whether nothing but the end can follow.
    pub fn is_finished(&self) -> bool {
        self.ended || (self.inner.is_stopped() && !self.inner.is_error())
    }

    /// Accepts tokens while only one is allowed, at most `max`, writes the mask of the next token,
    /// and returns the accepted ones.
    ///
    /// A model can draw no other tokens, so the answer stays the same. The end is left to the
    /// model.
    ///
    /// # Errors
    /// As [`Matcher::mask`].
    ///
    /// # Panics
    /// As [`Matcher::mask`].
    pub fn fast_forward(&mut self, max: usize, out: &mut [u32]) -> Result<Vec<u32>, MatchError> {
        let mut forced = Vec::new();
        loop {
            self.mask(out)?;
            match only_token(out).filter(|token| !self.vocabulary.end_ids().contains(token)) {
                Some(token) if forced.len() < max => {
                    self.accept(token)?;
                    forced.push(token);
                }
                _ => return Ok(forced),
            }
        }
    }

    /// Takes back the last tokens that were accepted.
    ///
    /// # Errors
    /// There were fewer, or the sequence failed before.
    pub fn rollback(&mut self, num_tokens: usize) -> Result<(), MatchError> {
        let of_end = usize::from(self.ended).min(num_tokens);
        let num_back = num_tokens - of_end;
        if num_back > self.num_tokens {
            return Err(MatchError::Failed(format!(
                "{num_back} tokens cannot be taken back of {}",
                self.num_tokens
            )));
        }
        self.inner.rollback(num_back).map_err(|error| self.failed(&error))?;
        self.num_tokens -= num_back;
        self.ended &= of_end == 0;
        Ok(())
    }

    fn failed(&self, error: &impl ToString) -> MatchError {
        self.spent.store(true, Ordering::Relaxed);
        MatchError::Failed(first_line(&error.to_string()))
    }
}

/// Returns the token of a mask that allows one.
fn only_token(mask: &[u32]) -> Option<u32> {
    let mut words = mask.iter().enumerate().filter(|(_, word)| **word != 0);
    let (index, word) = words.next()?;
    let alone = word.is_power_of_two() && words.next().is_none();
    alone.then(|| index as u32 * 32 + word.trailing_zeros())
}

/// Returns what of a message of llguidance is for the client: the rest is its state.
pub(crate) fn first_line(message: &str) -> String {
    let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown error");
    line.trim().trim_end_matches('.').chars().take(200).collect()
}
