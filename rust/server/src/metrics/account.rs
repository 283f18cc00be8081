//! What one HTTP request has cost, for the line that the log has about it.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crate::error::Blame;

tokio::task_local! {
    /// The account of the request that this task answers. The driver writes into it without anybody
    /// in between having to carry it.
    static CURRENT: Arc<Account>;
}

/// Tokens in and out, over all choices, and why there is no answer or only a part of one.
#[derive(Debug, Default)]
pub struct Account {
    key: AtomicU32,
    prompt_tokens: AtomicUsize,
    output_tokens: AtomicUsize,
    blame: OnceLock<Blame>,
}

impl Account {
    /// Runs a future that answers a request, with its account at hand.
    pub async fn scope<F: Future>(self: Arc<Self>, answering: F) -> F::Output {
        CURRENT.scope(self, answering).await
    }

    /// Returns the account of the request that this task answers, or one that nobody reads.
    #[must_use]
    pub fn current() -> Arc<Self> {
        CURRENT.try_with(Arc::clone).unwrap_or_default()
    }

    /// The request has the API key of this number.
    pub fn set_key(&self, key: u32) {
        self.key.store(key, Relaxed);
    }

    /// Returns the number of its API key, counted from 1; 0 before it is known, and where there are
    /// none.
    #[must_use]
    pub fn key(&self) -> u32 {
        self.key.load(Relaxed)
    }

    /// A prompt was accepted.
    pub fn add_prompt(&self, num_tokens: usize) {
        self.prompt_tokens.fetch_add(num_tokens, Relaxed);
    }

    /// Tokens were handed over.
    pub fn add_output(&self, num_tokens: usize) {
        self.output_tokens.fetch_add(num_tokens, Relaxed);
    }

    /// The request was refused, or its answer breaks off; the first reason counts.
    pub fn set_blame(&self, blame: Blame) {
        let _ = self.blame.set(blame);
    }

    /// Returns why the request was refused, if it was.
    #[must_use]
    pub fn blame(&self) -> Option<&Blame> {
        self.blame.get()
    }

    /// Returns the tokens of all prompts; none before they were accepted.
    #[must_use]
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens.load(Relaxed)
    }

    /// Returns the tokens that were handed over.
    #[must_use]
    pub fn output_tokens(&self) -> usize {
        self.output_tokens.load(Relaxed)
    }
}
