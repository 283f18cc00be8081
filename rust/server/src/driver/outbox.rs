//! What the engine thread leaves for one request, and the handle that takes it out.

use std::mem;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use streamcore_engine::{RequestId, TokenLogprobs};

use super::{Driver, lock};
use crate::metrics::Outcome;

/// Why no more tokens come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The model drew a stop token, which counts as generated.
    Stop {
        /// The token.
        token_id: u32,
    },
    /// `max_tokens` or the context is used up.
    Length,
    /// The runner died or the server went away.
    Failed(EndError),
}

/// Why a request ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndError {
    /// The server is going away and the deadline has passed.
    ShuttingDown,
    /// The runner failed.
    Runner(String),
}

/// A generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// How likely the model found it, if the request asks for that.
    pub logprobs: Option<Box<TokenLogprobs>>,
}

/// Tokens and the end of one request. Never holds more than the request's `max_tokens`.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Nothing is handed over before the end.
    deliver_at_end: bool,
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    prompt_logprobs: Vec<TokenLogprobs>,
    tokens: Vec<Token>,
    end: Option<End>,
    reader: Option<Waker>,
}

impl Outbox {
    pub(super) fn new(deliver_at_end: bool) -> Self {
        Self { deliver_at_end, contents: Mutex::default() }
    }

    /// Adds a token; hands back the reader if it must be woken, which is once however many tokens follow.
    pub(super) fn push(&self, token: Token) -> Option<Waker> {
        let mut contents = lock(&self.contents);
        contents.tokens.push(token);
        if self.deliver_at_end { None } else { contents.reader.take() }
    }

    /// Wakes nobody: the first token follows.
    pub(super) fn push_prompt_logprobs(&self, logprobs: Vec<TokenLogprobs>) {
        lock(&self.contents).prompt_logprobs.extend(logprobs);
    }

    /// Nothing comes after this.
    pub(super) fn end(&self, end: End) -> Option<Waker> {
        let mut contents = lock(&self.contents);
        contents.end = Some(end);
        contents.reader.take()
    }

    fn poll(&self, cx: &mut Context<'_>, tokens: &mut Vec<Token>) -> Poll<Option<End>> {
        let mut contents = lock(&self.contents);
        let is_due = contents.end.is_some() || !(self.deliver_at_end || contents.tokens.is_empty());
        if !is_due {
            contents.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if tokens.is_empty() {
            mem::swap(tokens, &mut contents.tokens);
        } else {
            tokens.append(&mut contents.tokens);
        }
        Poll::Ready(contents.end.take())
    }
}

/// The tokens of one request as they are generated. Dropping it before the end aborts the request.
#[derive(Debug)]
pub struct TokenStream {
    driver: Arc<Driver>,
    id: RequestId,
    outbox: Arc<Outbox>,
    is_over: bool,
}

impl TokenStream {
    pub(super) fn new(driver: Arc<Driver>, id: RequestId, outbox: Arc<Outbox>) -> Self {
        Self { driver, id, outbox, is_over: false }
    }

    /// Appends what has been generated since the last call, and hands over the end with the last of it. Must not be polled
    /// after the end.
    pub fn poll(&mut self, cx: &mut Context<'_>, tokens: &mut Vec<Token>) -> Poll<Option<End>> {
        debug_assert!(!self.is_over, "polled after the end");
        let end = std::task::ready!(self.outbox.poll(cx, tokens));
        self.is_over = end.is_some();
        Poll::Ready(end)
    }

    /// Takes what is known of the prompt's log-probabilities: those of consecutive tokens from the second on. All are there when the
    /// first token is.
    pub fn take_prompt_logprobs(&mut self) -> Vec<TokenLogprobs> {
        mem::take(&mut lock(&self.outbox.contents).prompt_logprobs)
    }

    /// Ends the request because its text is complete: a stop string was found. Counts as a success.
    pub fn stop(&mut self) {
        self.abort(Outcome::Stop);
    }

    fn abort(&mut self, counts_as: Outcome) {
        if !mem::replace(&mut self.is_over, true) {
            self.driver.abort(self.id, counts_as);
        }
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        self.abort(Outcome::Abort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand whole answers at once would otherwise wake their readers a thousand times a step, for nothing.
    #[test]
    fn the_reader_of_a_whole_answer_is_woken_once() {
        let (outbox, mut cx) = (Outbox::new(true), Context::from_waker(Waker::noop()));
        let mut tokens = Vec::new();
        for id in [1, 2, 3] {
            assert!(outbox.poll(&mut cx, &mut tokens).is_pending());
            assert!(outbox.push(Token { id, logprobs: None }).is_none());
        }
        assert!(outbox.poll(&mut cx, &mut tokens).is_pending() && tokens.is_empty());
        assert!(outbox.end(End::Length).is_some());
        assert_eq!(outbox.poll(&mut cx, &mut tokens), Poll::Ready(Some(End::Length)));
        assert_eq!(tokens.iter().map(|token| token.id).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
