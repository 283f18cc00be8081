//! The request that a route leaves in the inbox.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use streamcore_engine::{Request, RequestId};

use super::{Constraint, Delivery};

/// A client's request, in tokens.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// The engine's request, under an id that [`Driver::new_id`](super::Driver::new_id) has given.
    pub request: Request,
    /// How its tokens are handed over.
    pub delivery: Delivery,
    /// How long its client waits for the end; nothing is computed for it afterwards.
    pub patience: Option<Duration>,
    /// Bytes of what is known of its tokens that are kept until its answer is written, at most.
    pub kept_bytes: usize,
    /// The constraint on the answer, shared with no other request.
    pub constraint: Option<Arc<Mutex<Constraint>>>,
}

impl NewRequest {
    /// Creates a greedy request without stop tokens. Start from it and change what matters: fields
    /// may be added.
    #[must_use]
    pub fn new(prompt: Vec<u32>, max_tokens: usize) -> Self {
        Request::new(RequestId::default(), prompt, max_tokens).into()
    }
}

impl From<Request> for NewRequest {
    fn from(request: Request) -> Self {
        Self { request, delivery: Delivery::Merged, patience: None, kept_bytes: 0, constraint: None }
    }
}
