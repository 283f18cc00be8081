//! From the engine's tokens to the client's text: events, deltas, chunks.

mod choice;
mod chunk_stream;
mod cut;

use std::future::poll_fn;

use futures_util::future::try_join_all;

pub use self::choice::Choice;
pub use self::chunk_stream::{ChunkStream, keepalive_interval};
pub use self::cut::{Cut, CutStream};
use crate::driver::EndError;
use crate::error::ApiError;
use crate::openai::finish::Finish;
use crate::openai::usage::Usage;

/// Most bytes of text in one event. JSON makes up to six bytes of one, and an event must stay under 64 KiB.
const MAX_PIECE_BYTES: usize = 8 << 10;

/// What every chunk of a stream, or the whole answer, says about itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `chatcmpl-…` or `cmpl-…`
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The served name.
    pub model: String,
}

/// Writes the events of one API.
pub trait Chunks {
    /// What comes before the first text of a choice.
    fn opening(&self, index: usize, frames: &mut Vec<u8>);
    /// One delta.
    fn text(&self, index: usize, text: &str, frames: &mut Vec<u8>);
    /// The end of a choice.
    fn finish(&self, index: usize, finish: &Finish, frames: &mut Vec<u8>);
    /// The usage of all choices, if the client asked for it.
    fn usage(&self, usage: Usage, frames: &mut Vec<u8>);
}

/// One whole choice.
#[derive(Debug)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// How it ended.
    pub finish: Finish,
}

/// Waits for the ends of all choices.
///
/// # Errors
/// 503, if one of them failed; the others are then aborted.
pub async fn collect(choices: &mut [Choice]) -> Result<Vec<Answer>, ApiError> {
    try_join_all(choices.iter_mut().map(collect_one)).await.map_err(ApiError::from)
}

/// The usage of choices that have ended.
#[must_use]
pub fn usage_of(num_prompt_tokens: usize, choices: &[Choice]) -> Usage {
    Usage::new(num_prompt_tokens, choices.iter().map(Choice::num_tokens).sum())
}

async fn collect_one(choice: &mut Choice) -> Result<Answer, EndError> {
    let mut text = String::new();
    loop {
        if let Some(end) = poll_fn(|cx| choice.poll_text(cx, &mut text)).await {
            return end.map(|finish| Answer { text, finish });
        }
    }
}

/// Cuts a text into pieces that each fit into one event.
pub fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let longest = text.len().min(MAX_PIECE_BYTES);
        let end = (0..=longest).rev().find(|end| text.is_char_boundary(*end))?;
        let (piece, rest) = text.split_at(end);
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A piece that is cut inside a character is not text; one that is too long breaks clients with 64 KiB line buffers.
    #[test]
    fn pieces_are_short_and_whole() {
        let text = "€".repeat(MAX_PIECE_BYTES);
        assert!(pieces(&text).all(|piece| (1..=MAX_PIECE_BYTES).contains(&piece.len())));
        assert_eq!(pieces(&text).collect::<String>(), text);
        assert_eq!(pieces("").count(), 0);
    }
}
