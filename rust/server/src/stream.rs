//! From the engine's tokens to the client's text: events, deltas, chunks.

mod call_id;
mod choice;
mod chunk_stream;
mod delta;
mod echo;
pub mod finish;
mod output;
mod part;
mod reading;
pub mod usage;

use std::future::poll_fn;

use futures_util::future::try_join_all;

pub use self::choice::{Choice, ChoicePlan};
pub use self::chunk_stream::{ChunkStream, keepalive_interval};
pub use self::delta::{Delta, Scored, ShownToken, token_ids};
pub use self::echo::Echo;
use self::finish::Finish;
pub use self::output::Output;
pub use self::part::{CallHead, CallId, Part, PartKind, Said};
pub use self::reading::Reading;
use self::usage::Usage;
use crate::driver::EndError;
use crate::error::ApiError;
use crate::sse::KEEPALIVE;

/// The identity in every chunk of a stream, or in the whole answer.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `chatcmpl-…` or `cmpl-…`
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The served name.
    pub model: String,
}

/// Writes the events of one API. `usage` counts the tokens so far.
pub trait Chunks {
    /// Returns whether every event reports the usage so far.
    fn tells_usage(&self) -> bool;
    /// Returns whether events report details of tokens.
    fn tells_tokens(&self) -> bool;
    /// Writes events before anything has been generated, if any.
    fn begin(&mut self, _frames: &mut Vec<u8>) {}
    /// Returns the keep-alive of the stream.
    fn keepalive(&self) -> &'static [u8] {
        KEEPALIVE
    }
    /// Writes the event before the first text of a choice.
    fn opening(&mut self, index: usize, usage: Option<Usage>, frames: &mut Vec<u8>);
    /// Writes a piece of text, and its tokens if they are reported.
    fn text(
        &mut self,
        index: usize,
        text: &str,
        tokens: &[ShownToken],
        usage: Option<Usage>,
        frames: &mut Vec<u8>,
    );
    /// Writes a piece of a parsed answer other than content. An API without parsed answers has
    /// none.
    fn said(
        &mut self,
        index: usize,
        said: Said<'_>,
        tokens: &[ShownToken],
        usage: Option<Usage>,
        frames: &mut Vec<u8>,
    );
    /// Writes the end of a choice, with tokens that have no text.
    fn finish(
        &mut self,
        index: usize,
        finish: &Finish,
        tail: &[ShownToken],
        usage: Option<Usage>,
        frames: &mut Vec<u8>,
    );
    /// Writes the events behind the ends of all choices.
    fn end(&mut self, usage: Usage, frames: &mut Vec<u8>);
    /// Writes why the answer breaks off. Returns whether every client can tell that from success:
    /// if not, the connection is cut instead of ending the body.
    fn fail(&mut self, error: &ApiError, usage: Usage, frames: &mut Vec<u8>) -> bool;
}

/// One whole choice.
#[derive(Debug)]
pub struct Answer {
    /// Its text and its tokens.
    pub delta: Delta,
    /// How it ended.
    pub finish: Finish,
}

/// The part of a whole answer about a prompt.
#[derive(Debug, Default)]
pub struct ToldPrompt {
    /// Its tokens, if requested.
    pub token_ids: Option<Vec<u32>>,
    /// Their log-probabilities, if requested.
    pub logprobs: Option<Vec<Scored>>,
}

/// Waits for the ends of all choices.
///
/// # Errors
/// The error of the first choice that fails; the others are then aborted.
pub async fn collect(choices: &mut [Choice]) -> Result<Vec<Answer>, ApiError> {
    try_join_all(choices.iter_mut().map(collect_one)).await.map_err(ApiError::from)
}

/// Returns the final usage of these choices.
#[must_use]
pub fn usage_of(choices: &[Choice]) -> Usage {
    usage_with(choices, choices.iter().map(Told::all_of))
}

/// Generated tokens that a choice has reported.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    num_tokens: usize,
    /// Those among them whose text is reasoning.
    num_reasoning_tokens: usize,
}

impl Told {
    fn all_of(choice: &Choice) -> Self {
        let num_reasoning_tokens = choice.num_reasoning_tokens().unwrap_or_default();
        Self { num_tokens: choice.num_tokens(), num_reasoning_tokens }
    }
}

/// Returns the usage of these choices up to the reported tokens. A prompt counts once, however many
/// choices it has.
fn usage_with(choices: &[Choice], told: impl Iterator<Item = Told>) -> Usage {
    let sum = |count: fn(&Choice) -> usize| choices.iter().map(count).sum();
    let told = told.fold(Told::default(), |all, told| Told {
        num_tokens: all.num_tokens + told.num_tokens,
        num_reasoning_tokens: all.num_reasoning_tokens + told.num_reasoning_tokens,
    });
    let has_reasoning = choices.iter().any(|choice| choice.num_reasoning_tokens().is_some());
    let num_reasoning_tokens = has_reasoning.then_some(told.num_reasoning_tokens);
    Usage::new(
        sum(Choice::num_prompt_tokens),
        told.num_tokens,
        sum(Choice::num_cached_tokens),
        num_reasoning_tokens,
    )
}

async fn collect_one(choice: &mut Choice) -> Result<Answer, EndError> {
    let mut delta = Delta::default();
    loop {
        if let Some(end) = poll_fn(|cx| choice.poll_delta(cx, &mut delta)).await {
            return end.map(|finish| Answer { delta, finish });
        }
    }
}
