//! The stored responses that a new request may use.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::{Owner, ResponseStore, StoredResponse};
use crate::error::ApiError;
use crate::openai::responses::Kept;
use crate::text::may_read;

/// Most bytes that a request may be together with what it goes on from: what a body may have.
const MAX_CONVERSATION_BYTES: usize = 16 << 20;
const FIELD: &str = "previous_response_id";

/// What is kept for one client, for one of its requests.
#[derive(Debug)]
pub struct KeptFor<'a> {
    store: &'a Arc<ResponseStore>,
    owner: Owner,
    now: Instant,
    /// Of the request, and of all that it has looked at.
    num_bytes: Cell<usize>,
    /// Responses that it has looked at: a request may name an item of one as often as it likes.
    read: RefCell<HashMap<String, Rc<Turn>>>,
}

/// Input and output of a response.
type Turn = Vec<Value>;

impl<'a> KeptFor<'a> {
    /// What this client may look at now, with a request of this many bytes.
    #[must_use]
    pub fn new(store: &'a Arc<ResponseStore>, owner: Owner, now: Instant, num_bytes: usize) -> Self {
        Self { store, owner, now, num_bytes: Cell::new(num_bytes), read: RefCell::default() }
    }

    fn find(&self, id: &str) -> Option<Arc<StoredResponse>> {
        self.store.find(id, self.owner, self.now)
    }

    fn read(&self, response: &StoredResponse, field: &str) -> Result<Rc<Turn>, ApiError> {
        if let Some(turn) = self.read.borrow().get(response.id()) {
            return Ok(Rc::clone(turn));
        }
        let body = response.body();
        let num_bytes = self.num_bytes.get() + response.input().len() + body.len();
        self.num_bytes.set(num_bytes);
        if num_bytes > MAX_CONVERSATION_BYTES {
            let message = format!(
                "the request has more than {MAX_CONVERSATION_BYTES} bytes with what `{field}` adds to it, which is the limit"
            );
            return Err(ApiError::invalid("invalid_value", field, message));
        }
        if !may_read(num_bytes) {
            // It begins again, where there is time for it.
            return Err(ApiError::Internal);
        }
        let mut turn = list(response.input());
        turn.extend(output(&body));
        let turn = Rc::new(turn);
        self.read.borrow_mut().insert(response.id().to_owned(), Rc::clone(&turn));
        Ok(turn)
    }
}

impl Kept for KeptFor<'_> {
    fn conversation(&self, id: &str) -> Result<Vec<Value>, ApiError> {
        let mut turns = Vec::new();
        let mut next = Some(id.to_owned());
        while let Some(id) = next {
            let response = self.find(&id).ok_or_else(|| not_found(&id))?;
            if !response.is_over() {
                let message = format!("`{FIELD}` is `{id}`, which has not ended");
                return Err(ApiError::invalid("invalid_value", FIELD, message));
            }
            turns.push(self.read(&response, FIELD)?);
            next = response.previous().map(str::to_owned);
        }
        Ok(turns.iter().rev().flat_map(|turn| turn.iter().cloned()).collect())
    }

    /// Ids of items are made of the id of their response.
    fn item(&self, id: &str) -> Result<Option<Value>, ApiError> {
        let response = id.split('_').nth(1).and_then(|name| self.find(&format!("resp_{name}")));
        let Some(response) = response else { return Ok(None) };
        let turn = self.read(&response, "input")?;
        Ok(turn.iter().find(|item| item["id"] == id).cloned())
    }
}

fn list(json: &[u8]) -> Vec<Value> {
    serde_json::from_slice(json).unwrap_or_default()
}

fn output(body: &[u8]) -> Vec<Value> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(mut response)) => match response.remove("output") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn not_found(id: &str) -> ApiError {
    let id: String = id.chars().take(64).collect();
    let message = format!("`{FIELD}` is `{id}`, which is not among the stored responses");
    ApiError::invalid("previous_response_not_found", FIELD, message)
}
