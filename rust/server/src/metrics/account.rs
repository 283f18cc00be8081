//! The account of one HTTP request, for its line in the log.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crate::error::Blame;

tokio::task_local! {
    /// The account of this task's request. Task-local, so that no code between must pass it to the
    /// driver.
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

    /// Returns the account of this task's request, or a new one outside any request.
    #[must_use]
    pub fn current() -> Arc<Self> {
        CURRENT.try_with(Arc::clone).unwrap_or_default()
    }

    /// Sets the number of the request's API key.
    pub fn set_key(&self, key: u32) {
        self.key.store(key, Relaxed);
    }

    /// Returns the number of its API key, counted from 1; 0 before it is known, and where there are
    /// none.
    #[must_use]
    pub fn key(&self) -> u32 {
        self.key.load(Relaxed)
    }

    /// Adds an accepted prompt.
    pub fn add_prompt(&self, num_tokens: usize) {
        self.prompt_tokens.fetch_add(num_tokens, Relaxed);
    }

    /// Adds delivered tokens.
    pub fn add_output(&self, num_tokens: usize) {
        self.output_tokens.fetch_add(num_tokens, Relaxed);
    }

    /// Records a refusal, or why the answer breaks off; the first reason counts.
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

    /// Returns the delivered tokens.
    #[must_use]
    pub fn output_tokens(&self) -> usize {
        self.output_tokens.load(Relaxed)
    }
}
