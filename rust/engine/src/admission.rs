//! The bound of the waiting queue, in requests and in tokens. Counters only: the server reserves a place before it answers 200.

/// Why a request may not wait. Both are load: the same request may be taken a moment later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// As many requests wait as may.
    #[error("{waiting} requests are waiting, limit is {limit}")]
    TooManyRequests {
        /// Requests that wait.
        waiting: usize,
        /// Most requests that may wait.
        limit: usize,
    },
    /// As many tokens wait as may.
    #[error("{waiting} prompt tokens are waiting and {num_tokens} more were sent, limit is {limit}")]
    TooManyTokens {
        /// Tokens that wait.
        waiting: usize,
        /// Tokens of the refused request.
        num_tokens: usize,
        /// Most tokens that may wait.
        limit: usize,
    },
}

/// Counts the requests that are accepted and not yet scheduled, and their tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    max_requests: usize,
    max_tokens: usize,
    num_requests: usize,
    num_tokens: usize,
}

impl Admission {
    /// An empty queue with these bounds.
    #[must_use]
    pub fn new(max_requests: usize, max_tokens: usize) -> Self {
        Self { max_requests, max_tokens, num_requests: 0, num_tokens: 0 }
    }

    /// Takes a place for a request of this many tokens. An empty queue takes a request of any length (if it takes requests at
    /// all): one that is longer than the bound would otherwise be told to try again for ever.
    ///
    /// # Errors
    /// [`Refusal`] if the queue is full; nothing is reserved then.
    pub fn reserve(&mut self, num_tokens: usize) -> Result<(), Refusal> {
        if self.num_requests >= self.max_requests {
            return Err(Refusal::TooManyRequests { waiting: self.num_requests, limit: self.max_requests });
        }
        let waiting = self.num_tokens;
        if waiting > 0 && waiting.saturating_add(num_tokens) > self.max_tokens {
            return Err(Refusal::TooManyTokens { waiting, num_tokens, limit: self.max_tokens });
        }
        self.num_requests += 1;
        self.num_tokens = waiting.saturating_add(num_tokens);
        Ok(())
    }

    /// Gives a place back: the request was scheduled, or ended before that. Called once per reservation, with its tokens.
    pub fn release(&mut self, num_tokens: usize) {
        debug_assert!(
            self.num_requests > 0 && self.num_tokens >= num_tokens,
            "released more than was reserved"
        );
        self.num_requests = self.num_requests.saturating_sub(1);
        self.num_tokens = self.num_tokens.saturating_sub(num_tokens);
    }

    /// Requests that wait.
    #[must_use]
    pub fn num_requests(&self) -> usize {
        self.num_requests
    }

    /// Their tokens.
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.num_tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_by_requests_and_by_tokens() {
        // Without both bounds, many small or a few huge prompts fill the memory while clients wait for minutes.
        let mut queue = Admission::new(2, 100);
        assert_eq!(queue.reserve(60), Ok(()));
        let refusal = Refusal::TooManyTokens { waiting: 60, num_tokens: 41, limit: 100 };
        assert_eq!(queue.reserve(41), Err(refusal));
        assert_eq!(queue.reserve(40), Ok(()));
        assert_eq!(queue.reserve(1), Err(Refusal::TooManyRequests { waiting: 2, limit: 2 }));
        queue.release(60);
        assert_eq!(queue.reserve(1), Ok(()));
        assert_eq!((queue.num_requests(), queue.num_tokens()), (2, 41));
    }

    #[test]
    fn a_prompt_longer_than_the_bound_is_taken_by_an_empty_queue() {
        // Otherwise a valid request gets 429 for ever, and a client that obeys `Retry-After` never stops.
        let mut queue = Admission::new(8, 100);
        assert_eq!(queue.reserve(500), Ok(()));
        assert!(queue.reserve(1).is_err());
        queue.release(500);
        assert_eq!(queue.reserve(1), Ok(()));
    }

    #[test]
    fn a_refusal_says_the_values_and_the_limit() {
        // The message is what an operator reads in the client's log.
        let refusal = Refusal::TooManyTokens { waiting: 60, num_tokens: 41, limit: 100 };
        assert_eq!(refusal.to_string(), "60 prompt tokens are waiting and 41 more were sent, limit is 100");
    }
}
