//! A golden transcript: what is asked, what the model says, and how the world behaves meanwhile.
#![allow(
    clippy::needless_pass_by_value,
    reason = "a table of them reads better without a sign before every body"
)]

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use streamcore_engine::EngineConfig;
use streamcore_server::driver::NewRequest;
use streamcore_server::{Driver, DriverLimits};

use crate::common::{NEXT_CHOICE, Stage, engine_config, limits};
use crate::family::Family;

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const RESPONSES: &str = "/v1/responses";
pub(crate) const COMPLETIONS: &str = "/v1/completions";

/// A request as its client writes it.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: String,
}

impl Ask {
    pub(crate) fn new(method: &'static str, path: &'static str) -> Self {
        Self { method, path, headers: vec![("x-request-id", "t1")], body: String::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn request(&self) -> Request<Body> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from(self.body.clone())).unwrap()
    }
}

pub(crate) fn get(path: &'static str) -> Ask {
    Ask::new("GET", path)
}

pub(crate) fn post(path: &'static str, body: impl ToString) -> Ask {
    Ask { body: body.to_string(), ..Ask::new("POST", path).with("content-type", "application/json") }
}

pub(crate) fn extended(mut body: Value, extra: &Value) -> Value {
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

/// Returns a chat of one message, and these fields.
pub(crate) fn chat(extra: Value) -> Ask {
    let body = json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }] });
    post(CHAT, extended(body, &extra))
}

/// Returns a completion of a short prompt, and these fields.
pub(crate) fn completion(extra: Value) -> Ask {
    post(COMPLETIONS, extended(json!({ "model": "toy", "prompt": "ab" }), &extra))
}

/// The state before the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// Two keys were configured.
    Keys,
    /// The queue, of one place, has been filled.
    FullQueue,
    /// The server was told to go.
    Drain,
    /// The runner has died.
    Failure,
}

/// One transcript.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) ask: Ask,
    pub(crate) script: &'static str,
    pub(crate) fails_after: Option<usize>,
    pub(crate) before: Before,
    /// How calls and reasoning are written; then the script is cut into pieces of a few letters.
    pub(crate) family: Option<&'static Family>,
}

pub(crate) fn case(name: &'static str, ask: Ask, script: &'static str) -> Case {
    Case { name, ask, script, fails_after: None, before: Before::Nothing, family: None }
}

impl Case {
    /// The runner dies in place of the step after this many.
    pub(crate) fn fails_after(self, num_steps: usize) -> Self {
        Self { fails_after: Some(num_steps), ..self }
    }

    pub(crate) fn after(self, before: Before) -> Self {
        Self { before, ..self }
    }

    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.ask.body).ok()
    }

    /// Returns the number of tokens of the longest choice, about.
    pub(crate) fn num_tokens(&self) -> usize {
        let choices = self.script.split(NEXT_CHOICE);
        let count =
            |script: &'static str| self.family.map_or(script.len(), |family| family.pieces(script).len());
        choices.map(count).max().unwrap_or_default()
    }

    /// Returns whether the engine takes part in the answer.
    pub(crate) fn is_generated(&self) -> bool {
        self.before == Before::Nothing
            && [CHAT, COMPLETIONS, RESPONSES].contains(&self.ask.path)
            && !self.ask.body.is_empty()
    }

    pub(crate) fn stage(&self, max_steps_in_flight: usize) -> Stage {
        let config = EngineConfig { max_steps_in_flight, ..engine_config() };
        if let Some(family) = self.family {
            let stage = family.stage(self.script, config);
            return stage.each(|stage| stage.runner.fails_after = self.fails_after);
        }
        let stage = match self.before {
            Before::Keys => Stage::with_keys(&["first", "second"]),
            Before::FullQueue => {
                let limits = DriverLimits { max_waiting_requests: 1, ..limits() };
                Stage::with_config(self.script, config, limits)
            }
            _ => Stage::with_config(self.script, config, limits()),
        };
        stage.each(|stage| {
            stage.runner.fails_after = self.fails_after;
            prepare(&stage.app.driver, self.before);
        })
    }
}

pub(crate) fn prepare(driver: &Arc<Driver>, before: Before) {
    match before {
        Before::Nothing | Before::Keys => {}
        Before::FullQueue => std::mem::forget(driver.submit(NewRequest::new(vec![97], 1)).unwrap()),
        Before::Drain => driver.drain(Duration::from_secs(600)),
        Before::Failure => driver.fail("the device is lost"),
    }
}
