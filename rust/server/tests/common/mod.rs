//! A stage for server tests: the real engine, a byte-level tokenizer, and a runner that plays a script.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod door;
pub mod model;
pub mod scores;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt;
use streamcore_engine::{EngineConfig, OwnedStepBuffers, StepId};
use streamcore_server::driver::{Driver, DriverLimits, NextStep};
use streamcore_server::routes::router;
use streamcore_server::{Access, App, Naming};
use tower::ServiceExt;

use self::model::{END_TOKEN, VOCAB_SIZE, text_model};
use self::scores::OwnedScores;

/// Small, but with room for every conversation here.
pub fn engine_config() -> EngineConfig {
    EngineConfig {
        block_size: 4,
        num_blocks: 64,
        max_num_batched_tokens: 64,
        max_num_seqs: 8,
        max_model_len: 128,
        max_steps_in_flight: 1,
        enable_prefix_caching: true,
    }
}

pub fn limits() -> DriverLimits {
    DriverLimits { max_waiting_requests: 16, max_waiting_tokens: 1 << 20 }
}

pub fn naming() -> Naming {
    let served_model_names = vec!["toy".to_owned(), "org/toy".to_owned()];
    Naming { served_model_names, version: "1.2.3".to_owned(), created: 42 }
}

/// Plays the engine thread's part: the n-th token of every answer is the n-th of the script, then the end token.
pub struct Runner {
    pub driver: Arc<Driver>,
    pub script: Vec<u32>,
    buffers: OwnedStepBuffers,
    /// Steps that the device is still busy with, and what they will have sampled.
    in_flight: VecDeque<(StepId, Vec<i32>, OwnedScores)>,
    /// All prompts of one test have the same length; the first sample tells it.
    prompt_len: Option<usize>,
}

impl Runner {
    pub fn new(driver: Arc<Driver>, script: &[u8]) -> Self {
        let buffers = OwnedStepBuffers::new(driver.config());
        let script = script.iter().map(|byte| u32::from(*byte)).collect();
        Self { driver, script, buffers, in_flight: VecDeque::new(), prompt_len: None }
    }

    /// Asks for a step, and completes the oldest one once as many are in flight as may be, or nothing can be planned before.
    pub fn step(&mut self, timeout: Duration) -> NextStep {
        let next = self.driver.next_step(&mut self.buffers.borrow(), timeout);
        if let NextStep::Plan(plan) = next {
            let sampled: Vec<_> = (0..plan.num_samples).map(|sample| self.sample(sample)).collect();
            let scores = OwnedScores::new(&plan, &self.buffers, &sampled);
            self.in_flight.push_back((plan.id, sampled, scores));
        }
        let is_full = self.in_flight.len() == self.driver.config().max_steps_in_flight;
        if (is_full || next == NextStep::Idle)
            && let Some((id, sampled, scores)) = self.in_flight.pop_front()
        {
            self.driver.complete_step(id, &sampled, scores.borrow()).unwrap();
        }
        next
    }

    fn sample(&mut self, sample: usize) -> i32 {
        let token = usize::try_from(self.buffers.logits_indices[sample]).unwrap();
        let context_len = usize::try_from(self.buffers.positions[token]).unwrap() + 1;
        let prompt_len = *self.prompt_len.get_or_insert(context_len);
        let token = self.script.get(context_len - prompt_len).copied().unwrap_or(END_TOKEN);
        i32::try_from(token).unwrap()
    }
}

/// A router and its runner, in one thread: nothing happens but what the test asks for. All that is played on it is played through
/// the second door as well, on a stage of its own, and must be the same.
pub struct Stage {
    pub app: Arc<App>,
    pub router: Router,
    pub runner: Runner,
    second: Option<Box<Stage>>,
}

impl Stage {
    pub fn new(script: &str) -> Self {
        Self::with_config(script, engine_config(), limits())
    }

    pub fn with_config(script: &str, config: EngineConfig, limits: DriverLimits) -> Self {
        Self::with_app(script, config, limits, &Access::default(), VOCAB_SIZE)
    }

    pub fn with_keys(api_keys: &[&str]) -> Self {
        let api_keys = api_keys.iter().map(|&key| key.to_owned()).collect();
        Self::with_access(&Access { api_keys, ..Access::default() })
    }

    pub fn with_origins(allowed_origins: &[&str]) -> Self {
        let allowed_origins = allowed_origins.iter().map(|&origin| origin.to_owned()).collect();
        Self::with_access(&Access { allowed_origins, api_keys: vec!["key".to_owned()] })
    }

    fn with_access(access: &Access) -> Self {
        Self::with_app("", engine_config(), limits(), access, VOCAB_SIZE)
    }

    pub fn with_vocab_size(vocab_size: usize) -> Self {
        Self::with_app("", engine_config(), limits(), &Access::default(), vocab_size)
    }

    fn with_app(
        script: &str,
        config: EngineConfig,
        limits: DriverLimits,
        access: &Access,
        vocab_size: usize,
    ) -> Self {
        let second = Self::single(script, config.clone(), limits, access, vocab_size);
        Self { second: Some(Box::new(second)), ..Self::single(script, config, limits, access, vocab_size) }
    }

    fn single(
        script: &str,
        config: EngineConfig,
        limits: DriverLimits,
        access: &Access,
        vocab_size: usize,
    ) -> Self {
        let driver = Arc::new(Driver::new(config, limits).unwrap());
        let app = App::new(Arc::clone(&driver), text_model(), naming(), access.clone(), vocab_size, None);
        let runner = Runner::new(driver, script.as_bytes());
        Self { router: router(Arc::clone(&app)), app, runner, second: None }
    }

    /// Answers that need no step.
    pub async fn answer(&self, request: Request<Body>) -> (Response<()>, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
    }

    /// Sends a request and reads its answer, running `steps_per_read` steps whenever there is nothing to read.
    pub fn play(&mut self, request: Request<Body>, steps_per_read: usize) -> Transcript {
        let (request, copy) = door::twice(request);
        let transcript = self.play_once(request, steps_per_read);
        if let Some(second) = &mut self.second {
            let router = second.router.clone();
            let other = door::play(router, copy, || second.run(steps_per_read));
            assert_eq!(transcript.golden(), other.golden(), "the doors differ");
        }
        transcript
    }

    fn play_once(&mut self, request: Request<Body>, steps_per_read: usize) -> Transcript {
        let mut response = pin!(self.router.clone().oneshot(request));
        let response = loop {
            if let Poll::Ready(response) = poll_once(response.as_mut()) {
                break response.unwrap();
            }
            self.run(steps_per_read);
        };
        let (head, mut body) = response.into_parts();
        let mut writes = Vec::new();
        loop {
            match poll_once(pin!(body.frame())) {
                Poll::Ready(Some(frame)) => {
                    let bytes = frame.unwrap().into_data().unwrap();
                    writes.push(String::from_utf8(bytes.to_vec()).unwrap());
                }
                Poll::Ready(None) => break,
                Poll::Pending => self.run(steps_per_read),
            }
        }
        Transcript { head: Response::from_parts(head, ()), writes }
    }

    pub fn run(&mut self, num_steps: usize) {
        for _ in 0..num_steps {
            self.runner.step(Duration::ZERO);
        }
    }

    /// Whether everything that requests held has come back.
    pub fn is_clean(&self) -> bool {
        let stats = self.runner.driver.stats();
        (stats.num_running, stats.num_waiting, stats.num_free_blocks) == (0, 0, stats.num_blocks)
    }
}

/// Polls a future once, with a waker that nobody listens to.
pub fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Reads a response to its end.
pub async fn transcript_of(response: Response<Body>) -> Transcript {
    let (head, mut body) = response.into_parts();
    let mut writes = Vec::new();
    while let Some(frame) = body.frame().await {
        writes.push(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap());
    }
    Transcript { head: Response::from_parts(head, ()), writes }
}

/// Everything that went over the wire.
pub struct Transcript {
    pub head: Response<()>,
    pub writes: Vec<String>,
}

impl Transcript {
    /// For a snapshot: the writes apart from each other, without what changes from run to run.
    pub fn golden(&self) -> String {
        let mut lines = vec![self.head.status().to_string()];
        let mut headers: Vec<_> = self
            .head
            .headers()
            .iter()
            .filter(|(name, _)| *name != "openai-processing-ms")
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        headers.sort();
        lines.extend(headers);
        for write in &self.writes {
            lines.push("--- write".to_owned());
            lines.push(without_time(write));
        }
        lines.join("\n")
    }

    pub fn body(&self) -> String {
        without_time(&self.writes.concat())
    }

    /// The JSON of every event but `[DONE]`.
    pub fn events(&self) -> Vec<serde_json::Value> {
        let body = self.writes.concat();
        let data = body.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    /// What a client makes of the stream: text, finish and stop reasons of a choice, and the usage.
    pub fn outcome(&self, choice: usize) -> String {
        let events = self.events();
        let of_choice: Vec<_> = events
            .iter()
            .filter_map(|event| event["choices"].as_array()?.iter().find(|entry| entry["index"] == choice))
            .collect();
        let text: String = of_choice
            .iter()
            .filter_map(|entry| entry["delta"]["content"].as_str().or(entry["text"].as_str()))
            .collect();
        let last = of_choice.last().unwrap();
        let usage = &events.last().unwrap()["usage"];
        format!("{text:?} {} {} {usage}", last["finish_reason"], last["stop_reason"])
    }
}

fn without_time(text: &str) -> String {
    let mut parts = text.split("\"created\":");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        out.push_str("\"created\":0");
        out.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    }
    out
}

/// A `POST` with a JSON body and a name of its own.
pub fn post(path: &str, body: impl Into<PostBody>) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/json")
        .header("x-request-id", "t1")
        .body(Body::from(body.into().0))
        .unwrap()
}

/// JSON, or what is sent in its place.
pub struct PostBody(String);

impl From<serde_json::Value> for PostBody {
    fn from(body: serde_json::Value) -> Self {
        Self(body.to_string())
    }
}

impl From<&str> for PostBody {
    fn from(body: &str) -> Self {
        Self(body.to_owned())
    }
}

pub fn get(path: &str) -> Request<Body> {
    Request::get(path).header("x-request-id", "t1").body(Body::empty()).unwrap()
}
