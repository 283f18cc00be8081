//! The stored responses that a new request may use.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::{Owner, ResponseStore, StoredResponse};
use crate::error::ApiError;
use crate::openai::responses::Kept;

/// Maximum bytes of a stored conversation: the limit of a body.
const MAX_CONVERSATION_BYTES: usize = 16 << 20;
const FIELD: &str = "previous_response_id";

/// The stored responses of one client.
#[derive(Debug)]
pub struct KeptFor<'a> {
    /// The store.
    pub store: &'a Arc<ResponseStore>,
    /// The client.
    pub owner: Owner,
    /// The time of the request.
    pub now: Instant,
}

/// A response, and the body of its answer.
type WithBody = (Arc<StoredResponse>, Vec<u8>);

impl KeptFor<'_> {
    /// Returns the response of this id and all before it, from the last to the first.
    fn chain(&self, id: &str) -> Result<Vec<WithBody>, ApiError> {
        let (mut chain, mut num_bytes) = (Vec::new(), 0);
        let mut next = Some(id.to_owned());
        while let Some(id) = next {
            let response = self.store.find(&id, self.owner, self.now).ok_or_else(|| not_found(&id))?;
            if !response.is_over() {
                let message = format!("`{FIELD}` is `{id}`, which has not ended");
                return Err(ApiError::invalid("invalid_value", FIELD, message));
            }
            let body = response.body();
            num_bytes += response.input().len() + body.len();
            if num_bytes > MAX_CONVERSATION_BYTES {
                let message = format!(
                    "the conversation of `{FIELD}` has more than {MAX_CONVERSATION_BYTES} bytes, which is the limit"
                );
                return Err(ApiError::invalid("invalid_value", FIELD, message));
            }
            next = response.previous().map(str::to_owned);
            chain.push((response, body));
        }
        Ok(chain)
    }
}

impl Kept for KeptFor<'_> {
    fn conversation(&self, id: &str) -> Result<Vec<Value>, ApiError> {
        let chain = self.chain(id)?;
        let items = chain.iter().rev().flat_map(|(response, body)| {
            let mut items = list(response.input());
            items.extend(output(body));
            items
        });
        Ok(items.collect())
    }

    /// Finds an item; its id contains that of its response.
    fn item(&self, id: &str) -> Option<Value> {
        let name = id.split('_').nth(1)?;
        let response = self.store.find(&format!("resp_{name}"), self.owner, self.now)?;
        let mut items = list(response.input());
        items.extend(output(&response.body()));
        items.into_iter().find(|item| item["id"] == id)
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
