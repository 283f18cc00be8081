//! A stage for server tests: the real engine, a byte-level tokenizer, and a runner that plays a
//! script.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test file uses a part of it"
)]

pub mod contract;
pub mod door;
pub mod model;
pub mod parts;
mod requests;
pub mod response_events;
pub mod scores;
pub mod sockets;
pub mod transcript;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt;
use streamcore_engine::{EngineConfig, OwnedStepBuffers, StepId, StepPlan};
use streamcore_parsers::Detected;
use streamcore_server::driver::{Driver, DriverLimits, NextStep};
use streamcore_server::routes::router;
use streamcore_server::text::{TextModel, Tokenizer};
use streamcore_server::{Access, App, Naming};
use tokio::task::unconstrained;
use tower::ServiceExt;

use self::model::{END_TOKEN, VOCAB_SIZE, text_model};
pub use self::requests::{ask, get, post};
use self::scores::OwnedScores;
#[allow(unused_imports, reason = "each test file uses a part of them")]
pub use self::transcript::{Transcript, transcript_of, without_time};

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
        capture_sizes: vec![],
        target_itl: None,
        min_prefill_share: 0,
        num_mask_words: 0,
    }
}

pub fn limits() -> DriverLimits {
    DriverLimits { max_waiting_requests: 16, max_waiting_tokens: 1 << 20, ..DriverLimits::default() }
}

pub fn naming() -> Naming {
    let served_model_names = vec!["toy".to_owned(), "org/toy".to_owned()];
    Naming { served_model_names, version: "1.2.3".to_owned(), created: 42, ..Naming::default() }
}

/// Between the scripts of one answer's choices.
pub const NEXT_CHOICE: &str = "\u{1e}";

/// Plays the engine thread's part: the n-th token of an answer is the n-th of its script, then the
/// end token.
pub struct Runner {
    pub driver: Arc<Driver>,
    /// That of each choice; with fewer scripts than choices they begin anew.
    scripts: Vec<Vec<u32>>,
    /// The runner dies in place of the step after this many.
    pub fails_after: Option<usize>,
    num_steps: usize,
    buffers: OwnedStepBuffers,
    /// Steps that the device is still busy with, and what they will have sampled.
    in_flight: VecDeque<(StepId, Vec<i32>, OwnedScores)>,
    /// All prompts of one test have the same length; the first sample tells it.
    prompt_len: Option<usize>,
    /// Draws any token that may be drawn in the place of a script.
    pub dice: Option<Dice>,
}

/// The generator of Lehmer.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0 * 48_271 % 0x7fff_ffff;
        self.0 as usize % limit
    }
}

impl Runner {
    pub fn new(driver: Arc<Driver>, script: &[u8]) -> Self {
        let buffers = OwnedStepBuffers::new(driver.config());
        let scripts = script.split(|byte| NEXT_CHOICE.as_bytes() == [*byte]).map(model::tokens_of).collect();
        let (in_flight, prompt_len) = (VecDeque::new(), None);
        let num_steps = 0;
        Self { driver, scripts, fails_after: None, num_steps, buffers, in_flight, prompt_len, dice: None }
    }

    /// Asks for a step, and completes the oldest one once as many are in flight as may be, or
    /// nothing can be planned before.
    pub fn step(&mut self, timeout: Duration) -> NextStep {
        let is_asked = self.num_steps > 0 || self.driver.stats().num_waiting > 0;
        if is_asked && self.fails_after == Some(self.num_steps) {
            self.driver.fail("the device is lost");
        }
        let next = self.driver.next_step(&mut self.buffers.borrow(), timeout);
        if let NextStep::Plan(plan) = next {
            let mut draw = |sample| self.draw(&plan, sample).unwrap_or_else(|| self.sample(sample));
            let sampled: Vec<_> = (0..plan.num_samples).map(&mut draw).collect();
            let scores = OwnedScores::new(&plan, &self.buffers, &sampled);
            self.in_flight.push_back((plan.id, sampled, scores));
            self.num_steps += 1;
        }
        let is_full = self.in_flight.len() == self.driver.config().max_steps_in_flight;
        if (is_full || next == NextStep::Idle)
            && let Some((id, sampled, scores)) = self.in_flight.pop_front()
        {
            self.driver.complete_step(id, &sampled, scores.borrow()).unwrap();
        }
        next
    }

    /// Any token that the mask of a sample allows; any at all if it has none.
    fn draw(&mut self, plan: &StepPlan, sample: usize) -> Option<i32> {
        let dice = self.dice.as_mut()?;
        let masked = &self.buffers.masked_samples[..plan.num_masked_samples];
        let num_words = self.driver.config().num_mask_words;
        let allowed: Vec<i32> = match masked.iter().position(|masked| *masked as usize == sample) {
            None => (0..=END_TOKEN.cast_signed()).collect(),
            Some(row) => {
                let words = &self.buffers.mask_words[row * num_words..(row + 1) * num_words];
                let is_set = |token: &i32| words[*token as usize / 32] >> (*token % 32) & 1 == 1;
                (0..num_words as i32 * 32).filter(is_set).collect()
            }
        };
        Some(allowed[dice.below(allowed.len())])
    }

    fn sample(&mut self, sample: usize) -> i32 {
        let token = usize::try_from(self.buffers.logits_indices[sample]).unwrap();
        let context_len = usize::try_from(self.buffers.positions[token]).unwrap() + 1;
        let prompt_len = *self.prompt_len.get_or_insert(context_len);
        let row = usize::try_from(self.buffers.sample_rows[sample]).unwrap();
        let script = &self.scripts[row % self.scripts.len()];
        // Prompts differ in length only if no test reads the text.
        let token = script.get(context_len.saturating_sub(prompt_len)).copied().unwrap_or(END_TOKEN);
        i32::try_from(token).unwrap()
    }
}

/// A router and its runner, in one thread: nothing happens but what the test asks for. All that is
/// played on it is played through the second door as well, on a stage of its own, and must be the
/// same.
pub struct Stage {
    pub app: Arc<App>,
    pub router: Router,
    pub runner: Runner,
    second: Option<Box<Stage>>,
}

impl Stage {
    pub fn new(script: impl AsRef<[u8]>) -> Self {
        Self::with_config(script, engine_config(), limits())
    }

    pub fn with_config(script: impl AsRef<[u8]>, config: EngineConfig, limits: DriverLimits) -> Self {
        Self::with_app(script.as_ref(), text_model(), config, limits, &Access::default(), VOCAB_SIZE)
    }

    pub fn with_tokenizer(script: impl AsRef<[u8]>, tokenizer: Tokenizer) -> Self {
        let text = TextModel { tokenizer, ..text_model() };
        Self::with_app(script.as_ref(), text, engine_config(), limits(), &Access::default(), VOCAB_SIZE)
    }

    pub fn with_template(script: impl AsRef<[u8]>, template: &str) -> Self {
        let text = model::text_model_with(template);
        Self::with_app(script.as_ref(), text, engine_config(), limits(), &Access::default(), VOCAB_SIZE)
    }

    /// Returns a model that writes calls and reasoning in these formats, and says these tokens;
    /// those of each choice.
    pub fn with_parsers(
        text: &TextModel,
        config: EngineConfig,
        parsers: Detected,
        scripts: &[Vec<u32>],
    ) -> Self {
        let text = TextModel { formats: parsers, ..text.clone() };
        let stage = Self::with_app(b"", text, config, limits(), &Access::default(), VOCAB_SIZE);
        stage.each(|stage| stage.runner.scripts = scripts.to_vec())
    }

    pub fn with_keys(api_keys: &[&str]) -> Self {
        let api_keys = api_keys.iter().map(|&key| key.to_owned()).collect();
        Self::with_access(&Access { api_keys, ..Access::default() })
    }

    pub fn with_origins(allowed_origins: &[&str]) -> Self {
        let allowed_origins = allowed_origins.iter().map(|&origin| origin.to_owned()).collect();
        Self::with_access(&Access { allowed_origins, api_keys: vec!["key".to_owned()], ..Access::default() })
    }

    pub fn with_access(access: &Access) -> Self {
        Self::with_app(b"", text_model(), engine_config(), limits(), access, VOCAB_SIZE)
    }

    pub fn with_vocab_size(vocab_size: usize) -> Self {
        Self::with_app(b"", text_model(), engine_config(), limits(), &Access::default(), vocab_size)
    }

    fn with_app(
        script: &[u8],
        text: TextModel,
        config: EngineConfig,
        limits: DriverLimits,
        access: &Access,
        vocab_size: usize,
    ) -> Self {
        let second = Self::single(script, text.clone(), config.clone(), limits, access, vocab_size);
        let first = Self::single(script, text, config, limits, access, vocab_size);
        Self { second: Some(Box::new(second)), ..first }
    }

    fn single(
        script: &[u8],
        text: TextModel,
        config: EngineConfig,
        limits: DriverLimits,
        access: &Access,
        vocab_size: usize,
    ) -> Self {
        let driver = Arc::new(Driver::new(config, limits).unwrap());
        let app = App::new(Arc::clone(&driver), text, naming(), access.clone(), vocab_size, None);
        let runner = Runner::new(driver, script);
        Self { router: router(Arc::clone(&app)), app, runner, second: None }
    }

    /// Returns the same for the stage of the second door.
    pub fn each(mut self, change: impl Fn(&mut Self)) -> Self {
        change(&mut self);
        self.second.iter_mut().for_each(|second| change(second));
        self
    }

    /// Answers that need no step.
    pub async fn answer(&self, request: Request<Body>) -> (Response<()>, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
    }

    /// Sends a request and reads its answer, running `steps_per_read` steps whenever there is
    /// nothing to read.
    pub fn play(&mut self, request: Request<Body>, steps_per_read: usize) -> Transcript {
        self.play_cut(request, &[steps_per_read])
    }

    /// Returns the same with another number of steps each time; the last one holds from then on.
    pub fn play_cut(&mut self, request: Request<Body>, cuts: &[usize]) -> Transcript {
        let (request, copy) = door::twice(request);
        let transcript = self.play_routed(request, cuts);
        if let Some(second) = &mut self.second {
            let (router, mut steps) = (second.router.clone(), steps_of(cuts));
            let other = door::play(router, copy, || second.run(steps.next().unwrap()));
            // The connection is not the second door's to speak of.
            let expected = transcript.golden().replace("\nconnection: close\n", "\n");
            assert_eq!(expected, other.golden(), "the doors differ");
        }
        transcript
    }

    /// Returns the same through the first door alone.
    pub fn play_routed(&mut self, request: Request<Body>, cuts: &[usize]) -> Transcript {
        let mut steps = steps_of(cuts);
        // A test polls more often within one poll of its own than tokio lets a task do.
        let mut response = pin!(unconstrained(self.router.clone().oneshot(request)));
        let response = loop {
            if let Poll::Ready(response) = poll_once(response.as_mut()) {
                break response.unwrap();
            }
            self.run(steps.next().unwrap());
        };
        let (head, mut body) = response.into_parts();
        let mut writes = Vec::new();
        loop {
            match poll_once(pin!(body.frame())) {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.into_data().unwrap();
                    writes.push(String::from_utf8(bytes.to_vec()).unwrap());
                }
                Poll::Ready(end) => {
                    return Transcript {
                        head: Response::from_parts(head, ()),
                        writes,
                        is_cut: end.is_some(),
                    };
                }
                Poll::Pending => self.run(steps.next().unwrap()),
            }
        }
    }

    /// Reads this many writes, or not even the head if there are none to come, and leaves.
    pub fn leave(&mut self, request: Request<Body>, num_writes: usize) {
        let mut response = Box::pin(self.router.clone().oneshot(request));
        let mut polls = 0..=num_writes;
        let response = loop {
            match poll_once(response.as_mut()) {
                Poll::Ready(response) => break response.unwrap(),
                Poll::Pending if polls.next().is_none() => return,
                Poll::Pending => self.run(1),
            }
        };
        let mut body = response.into_body();
        let mut num_read = 0;
        while num_read < num_writes {
            match poll_once(pin!(body.frame())) {
                Poll::Ready(frame) => num_read += usize::from(frame.unwrap().is_ok()),
                Poll::Pending => self.run(1),
            }
        }
    }

    pub fn run(&mut self, num_steps: usize) {
        for _ in 0..num_steps {
            self.runner.step(Duration::ZERO);
        }
    }

    /// Returns whether everything that requests held has come back.
    pub fn is_clean(&self) -> bool {
        let stats = self.runner.driver.stats();
        (stats.num_running, stats.num_waiting, stats.num_free_blocks) == (0, 0, stats.num_blocks)
    }
}

/// Returns how many steps are run each time that there is nothing to read. An answer that has not
/// come after very many never does.
fn steps_of(cuts: &[usize]) -> impl Iterator<Item = usize> {
    const PATIENCE: usize = 100_000;
    cuts.iter().copied().chain(std::iter::repeat_n(cuts[cuts.len() - 1], PATIENCE))
}

/// Polls a future once, with a waker that wakes nothing.
pub fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
