//! The request that a route leaves in the inbox.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use streamcore_engine::{Request, RequestId};

use super::Constraint;
use crate::script::ScriptedAnswer;

/// A client's request, in tokens.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// The engine's request; the driver sets its id.
    pub request: Request,
    /// Whether to deliver all tokens with the end, which spares the reader a wake-up for each.
    pub deliver_at_end: bool,
    /// How long the client waits for the end; after that nothing is computed.
    pub patience: Option<Duration>,
    /// The scripted answer that replaces the model's; its tokens are delivered one by one.
    pub answer: Option<Arc<ScriptedAnswer>>,
    /// Maximum bytes of token details kept until the answer is written.
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
        Self { request, deliver_at_end: false, patience: None, answer: None, kept_bytes: 0, constraint: None }
    }
}
