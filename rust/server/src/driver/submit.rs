//! The side of the HTTP threads: places, requests, aborts.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use streamcore_engine::RequestId;

use super::{Driver, NewRequest, Refusal, TokenStream, lock};
use crate::ledger::{Charge, Full, Pool};
use crate::metrics::{Account, Outcome};

impl Driver {
    /// Takes `amount` from a pool, for the API key of the current task's request.
    ///
    /// # Errors
    /// [`Refusal::Full`] if the pool has no room.
    pub fn charge(&self, pool: Pool, amount: usize) -> Result<Charge, Refusal> {
        let charged = self.ledger.charge(pool, Account::current().key(), amount);
        charged.map_err(|full| self.refuse(full))
    }

    /// Counts a refusal for lack of room and estimates when to retry.
    pub fn refuse(&self, full: Full) -> Refusal {
        let refusal = lock(&self.inbox).refuse(full);
        self.metrics.count_refusal(refusal.reason());
        refusal
    }

    /// Queues a request. Its place is reserved at once, so an accepted request is never refused
    /// later.
    ///
    /// # Errors
    /// [`Refusal`] if the queue is full, or the server takes no requests.
    pub fn submit(self: &Arc<Self>, mut request: NewRequest) -> Result<TokenStream, Refusal> {
        request.request.id = self.new_id();
        let mut streams = self.submit_all(vec![request])?;
        Ok(streams.pop().expect("one request has one stream"))
    }

    /// Returns a new, unique id for a request.
    #[must_use]
    pub fn new_id(&self) -> RequestId {
        RequestId(self.next_id.fetch_add(1, Relaxed))
    }

    /// Queues all requests, each under an id of [`Driver::new_id`], or refuses all; the streams are
    /// in the order of `requests`.
    ///
    /// # Errors
    /// [`Refusal`] if the queue lacks room for all, or the server takes no requests.
    pub fn submit_all(self: &Arc<Self>, requests: Vec<NewRequest>) -> Result<Vec<TokenStream>, Refusal> {
        let num_tokens = requests.iter().map(|new| new.request.prompt.len()).sum();
        let submitted = lock(&self.inbox).submit_all(requests, Instant::now());
        match submitted {
            Ok(queued) => {
                self.work.notify_one();
                self.metrics.prompt_tokens.fetch_add(num_tokens as u64, Relaxed);
                let account = Account::current();
                account.add_prompt(num_tokens);
                let stream =
                    |(id, outbox)| TokenStream::new(Arc::clone(self), id, outbox, Arc::clone(&account));
                Ok(queued.into_iter().map(stream).collect())
            }
            Err(refusal) => {
                self.metrics.count_refusal(refusal.reason());
                Err(refusal)
            }
        }
    }

    pub(super) fn abort(&self, id: RequestId, counts_as: Outcome) {
        lock(&self.inbox).abort(id, counts_as);
        self.work.notify_one();
    }
}
