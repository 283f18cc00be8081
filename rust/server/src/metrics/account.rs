//! What one HTTP request has cost, for the line that the log has about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

tokio::task_local! {
    /// The account of the request that this task answers. The driver writes into it without anybody in between having to carry it.
    static CURRENT: Arc<Account>;
}

/// Tokens in and out, over all choices.
#[derive(Debug, Default)]
pub struct Account {
    prompt_tokens: AtomicUsize,
    output_tokens: AtomicUsize,
}

impl Account {
    /// Runs a future that answers a request, with its account at hand.
    pub async fn scope<F: Future>(self: Arc<Self>, answering: F) -> F::Output {
        CURRENT.scope(self, answering).await
    }

    /// The account of the request that this task answers, or one that nobody reads.
    #[must_use]
    pub fn current() -> Arc<Self> {
        CURRENT.try_with(Arc::clone).unwrap_or_default()
    }

    /// A prompt was accepted.
    pub fn add_prompt(&self, num_tokens: usize) {
        self.prompt_tokens.fetch_add(num_tokens, Relaxed);
    }

    /// Tokens were handed over.
    pub fn add_output(&self, num_tokens: usize) {
        self.output_tokens.fetch_add(num_tokens, Relaxed);
    }

    /// Tokens of all prompts; none before they were accepted.
    #[must_use]
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens.load(Relaxed)
    }

    /// Tokens that were handed over.
    #[must_use]
    pub fn output_tokens(&self) -> usize {
        self.output_tokens.load(Relaxed)
    }
}
