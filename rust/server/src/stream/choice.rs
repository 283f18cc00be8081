//! One choice: tokens in, text out, until a stop.

use std::task::{Context, Poll, ready};

use crate::driver::{End, EndError, Token, TokenStream};
use crate::openai::finish::{Finish, FinishReason, StopReason};
use crate::text::{Detokenizer, StopStrings};

/// One sequence on its way to the client. Dropping it aborts the request.
#[derive(Debug)]
pub struct Choice {
    tokens: TokenStream,
    detokenizer: Detokenizer,
    stop_strings: StopStrings,
    /// The client's own stops, to say which one matched.
    stop: Vec<String>,
    stop_token_ids: Vec<u32>,
    num_tokens: usize,
    /// Scratch space, kept for its capacity.
    fresh_tokens: Vec<Token>,
    fresh_text: String,
}

impl Choice {
    /// A choice that reads this request's tokens.
    #[must_use]
    pub fn new(
        tokens: TokenStream,
        detokenizer: Detokenizer,
        stop: Vec<String>,
        stop_token_ids: Vec<u32>,
    ) -> Self {
        Self {
            tokens,
            detokenizer,
            stop_strings: StopStrings::new(stop.clone()),
            stop,
            stop_token_ids,
            num_tokens: 0,
            fresh_tokens: Vec::new(),
            fresh_text: String::new(),
        }
    }

    /// Tokens generated so far, a final stop token included.
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// Appends the text that has become certain since the last call; ready when at least one token or the end has come. Must not
    /// be polled after the end.
    pub fn poll_text(
        &mut self,
        cx: &mut Context<'_>,
        text: &mut String,
    ) -> Poll<Option<Result<Finish, EndError>>> {
        let end = ready!(self.tokens.poll(cx, &mut self.fresh_tokens));
        let mut tokens = std::mem::take(&mut self.fresh_tokens);
        // One token at a time, so that the count and the text at a stop string do not depend on how many came together.
        let matched = tokens.drain(..).find_map(|token| self.push(token.id, text));
        self.fresh_tokens = tokens;
        let end = match matched {
            Some(finish) => {
                self.tokens.stop();
                Some(Ok(finish))
            }
            None => end.map(|end| self.end(end, text)),
        };
        Poll::Ready(end)
    }

    fn push(&mut self, token: u32, text: &mut String) -> Option<Finish> {
        self.num_tokens += 1;
        self.fresh_text.clear();
        self.detokenizer.push(token, &mut self.fresh_text);
        self.match_stop_strings(text)
    }

    fn match_stop_strings(&mut self, text: &mut String) -> Option<Finish> {
        let matched = self.stop_strings.push(&self.fresh_text, text)?;
        let stop_reason = Some(StopReason::Text(self.stop[matched].clone()));
        Some(Finish { finish_reason: FinishReason::Stop, stop_reason })
    }

    fn end(&mut self, end: End, text: &mut String) -> Result<Finish, EndError> {
        let finish = match end {
            End::Failed(error) => return Err(error),
            End::Length => Finish { finish_reason: FinishReason::Length, stop_reason: None },
            End::Stop { token_id } => {
                self.num_tokens += 1;
                let is_clients = self.stop_token_ids.contains(&token_id);
                let stop_reason = is_clients.then_some(StopReason::Token(token_id));
                Finish { finish_reason: FinishReason::Stop, stop_reason }
            }
        };
        // What an unfinished character leaves can still complete a stop string.
        self.fresh_text.clear();
        self.detokenizer.finish(&mut self.fresh_text);
        if let Some(matched) = self.match_stop_strings(text) {
            return Ok(matched);
        }
        self.stop_strings.finish(text);
        Ok(finish)
    }
}
