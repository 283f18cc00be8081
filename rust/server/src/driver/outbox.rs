//! The outbox: what the engine thread leaves for one request, and the stream that takes it out.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use streamcore_engine::{RequestId, TokenLogprobs};

use super::{Driver, lock};
use crate::ledger::Charge;
use crate::metrics::{Account, Outcome};

/// Why no more tokens come.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The model drew this stop token, which counts as generated.
    Stop(Token),
    /// `max_tokens` or the context is used up.
    Length,
    /// The request failed.
    Failed(EndError),
}

/// Why a request ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndError {
    /// The server shut down and the deadline passed.
    ShuttingDown,
    /// The runner failed.
    Runner(String),
    /// The client reads so slowly that its backlog has reached the limit.
    SlowReader,
    /// The model computed a logit that is NaN or infinite.
    NotFinite,
    /// The grammar cannot be enforced any further: the next mask costs too much.
    Grammar(String),
    /// The client's timeout has passed.
    Deadline {
        /// Seconds that the client waited.
        waited_s: u64,
    },
    /// The runner wants the connection to break off without a word.
    Cut,
}

/// How the tokens of a request are handed to their reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// As they come; those that have come since the last time are handed over together.
    Merged,
    /// Each by itself, however many have come: what the reader makes of them does not depend on how
    /// busy the machine is.
    TokenByToken,
    /// All with the end, which spares their reader a wake-up for each.
    AtEnd,
}

/// A generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its log-probabilities, if requested.
    pub logprobs: Option<Box<TokenLogprobs>>,
}

/// Maximum tokens and log-probabilities taken at once, which bounds the memory of their events.
const MAX_TAKEN_WEIGHT: usize = 8 << 10;
/// Maximum tokens and log-probabilities that wait for a slow reader, 16 bytes each. Tokens alone
/// stay below it in any context.
const MAX_WEIGHT: usize = 1 << 18;

/// Bytes of a waiting token or log-probability.
const BYTES_OF_WEIGHT: usize = 16;
/// Waiting bytes are charged in portions of this size: nearly every stream is read sooner.
const CHARGED_BYTES: usize = 64 << 10;

/// The tokens and the end of one request: at most `max_tokens`, and in a stream at most
/// [`MAX_WEIGHT`].
#[derive(Debug)]
pub(super) struct Outbox {
    delivery: Delivery,
    /// Its client has left.
    is_abandoned: AtomicBool,
    contents: Mutex<Contents>,
}

/// The backlog of a stream has reached its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug)]
struct Contents {
    num_cached_tokens: usize,
    prompt_logprobs: Vec<TokenLogprobs>,
    /// A queue: a slow reader takes from the front.
    tokens: VecDeque<Token>,
    weight: usize,
    end: Option<End>,
    reader: Option<Waker>,
    kept: Kept,
}

/// The charge for an answer, held until its last part is dropped.
#[derive(Debug)]
struct Kept {
    charge: Charge,
    /// Bytes charged from the start.
    num_bytes: usize,
}

impl Kept {
    /// Charges the waiting tokens too; fails if there is no room.
    fn follow(&mut self, weight: usize, is_wanted_anyway: bool) -> Result<(), Full> {
        let waiting = weight * BYTES_OF_WEIGHT / CHARGED_BYTES * CHARGED_BYTES;
        let amount = waiting.max(self.num_bytes);
        if amount == self.charge.amount() {
            return Ok(());
        }
        if is_wanted_anyway {
            self.charge.record(amount);
            return Ok(());
        }
        self.charge.resize(amount).map_err(|_| Full)
    }
}

impl Contents {
    fn new(charge: Charge) -> Self {
        Self {
            num_cached_tokens: 0,
            prompt_logprobs: Vec::new(),
            tokens: VecDeque::new(),
            weight: 0,
            end: None,
            reader: None,
            kept: Kept { num_bytes: charge.amount(), charge },
        }
    }

    fn take_portion(&mut self, tokens: &mut Vec<Token>) {
        let mut weight = 0;
        let num_taken = self.tokens.iter().take_while(|token| {
            weight += weight_of(token);
            weight <= MAX_TAKEN_WEIGHT
        });
        let num_taken = num_taken.count();
        self.weight -= self.tokens.range(..num_taken).map(weight_of).sum::<usize>();
        tokens.extend(self.tokens.drain(..num_taken));
    }
}

impl Outbox {
    /// One for which this is charged already.
    pub(super) fn new(delivery: Delivery, charge: Charge) -> Self {
        Self { delivery, is_abandoned: AtomicBool::new(false), contents: Mutex::new(Contents::new(charge)) }
    }

    /// Adds a token; returns the reader if it must be woken, which is once for any number of
    /// tokens.
    pub(super) fn push(&self, token: Token) -> Result<Option<Waker>, Full> {
        let mut contents = lock(&self.contents);
        contents.weight += weight_of(&token);
        contents.tokens.push_back(token);
        let weight = contents.weight;
        contents.kept.follow(weight, self.delivery == Delivery::AtEnd)?;
        match self.delivery {
            Delivery::AtEnd => Ok(None),
            _ if weight > MAX_WEIGHT => Err(Full),
            Delivery::Merged | Delivery::TokenByToken => Ok(contents.reader.take()),
        }
    }

    /// Sets the cached tokens of the prompt. Wakes no reader: the first token follows.
    pub(super) fn set_num_cached_tokens(&self, num_cached_tokens: usize) {
        lock(&self.contents).num_cached_tokens = num_cached_tokens;
    }

    /// Adds log-probabilities of the prompt. Wakes no reader: the first token follows.
    pub(super) fn push_prompt_logprobs(&self, logprobs: Vec<TokenLogprobs>) {
        lock(&self.contents).prompt_logprobs.extend(logprobs);
    }

    /// Returns whether the client has left.
    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Relaxed)
    }

    /// Sets the end, after which nothing comes.
    pub(super) fn end(&self, end: End) -> Option<Waker> {
        let mut contents = lock(&self.contents);
        contents.end = Some(end);
        contents.reader.take()
    }

    fn poll(&self, cx: &mut Context<'_>, tokens: &mut Vec<Token>) -> Poll<Option<End>> {
        let mut contents = lock(&self.contents);
        let polled = self.take(&mut contents, cx, tokens);
        let weight = contents.weight;
        let _ = contents.kept.follow(weight, true);
        polled
    }

    fn take(
        &self,
        contents: &mut Contents,
        cx: &mut Context<'_>,
        tokens: &mut Vec<Token>,
    ) -> Poll<Option<End>> {
        let is_due =
            contents.end.is_some() || !(self.delivery == Delivery::AtEnd || contents.tokens.is_empty());
        if !is_due {
            contents.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.delivery == Delivery::TokenByToken
            && let Some(token) = contents.tokens.pop_front()
        {
            contents.weight -= weight_of(&token);
            tokens.push(token);
            let is_last = contents.tokens.is_empty();
            return Poll::Ready(contents.end.take_if(|_| is_last));
        }
        if self.delivery == Delivery::Merged && contents.weight > MAX_TAKEN_WEIGHT {
            contents.take_portion(tokens);
            return Poll::Ready(if contents.tokens.is_empty() { contents.end.take() } else { None });
        }
        contents.weight = 0;
        tokens.extend(contents.tokens.drain(..));
        Poll::Ready(contents.end.take())
    }
}

fn weight_of(token: &Token) -> usize {
    1 + token.logprobs.as_ref().map_or(0, |logprobs| 2 + logprobs.top.len())
}

/// The stream of one request's tokens. Dropping it before the end aborts the request.
#[derive(Debug)]
pub struct TokenStream {
    driver: Arc<Driver>,
    id: RequestId,
    outbox: Arc<Outbox>,
    account: Arc<Account>,
    is_over: bool,
}

impl TokenStream {
    pub(super) fn new(
        driver: Arc<Driver>,
        id: RequestId,
        outbox: Arc<Outbox>,
        account: Arc<Account>,
    ) -> Self {
        Self { driver, id, outbox, account, is_over: false }
    }

    /// Appends the tokens since the last call and returns the end with the last of them. Must not
    /// be polled after the end.
    pub fn poll(&mut self, cx: &mut Context<'_>, tokens: &mut Vec<Token>) -> Poll<Option<End>> {
        debug_assert!(!self.is_over, "polled after the end");
        let num_before = tokens.len();
        let end = std::task::ready!(self.outbox.poll(cx, tokens));
        let stop_token = usize::from(matches!(end, Some(End::Stop(_))));
        self.account.add_output(tokens.len() - num_before + stop_token);
        self.is_over = end.is_some();
        Poll::Ready(end)
    }

    /// Returns the cached tokens of the prompt, known from the first token on.
    #[must_use]
    pub fn num_cached_tokens(&self) -> usize {
        lock(&self.outbox.contents).num_cached_tokens
    }

    /// Takes the prompt's log-probabilities so far: those of consecutive tokens from the second on.
    /// All are there with the first generated token.
    pub fn take_prompt_logprobs(&mut self) -> Vec<TokenLogprobs> {
        mem::take(&mut lock(&self.outbox.contents).prompt_logprobs)
    }

    /// Ends the request as a success: a stop string completed its text.
    pub fn stop(&mut self) {
        self.abort(Outcome::Stop);
    }

    fn abort(&mut self, counts_as: Outcome) {
        if !mem::replace(&mut self.is_over, true) {
            self.outbox.is_abandoned.store(counts_as == Outcome::Abort, Relaxed);
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::driver::DriverLimits;
    use crate::ledger::{Ledger, Pool};

    fn outbox(delivery: Delivery) -> Outbox {
        let ledger = Ledger::new(DriverLimits::default());
        Outbox::new(delivery, ledger.charge(Pool::Answers, 0, 1).unwrap())
    }

    /// A thousand whole answers at once would otherwise wake their readers a thousand times a step,
    /// for nothing.
    #[test]
    fn the_reader_of_a_whole_answer_is_woken_once() {
        let (outbox, mut cx) = (outbox(Delivery::AtEnd), Context::from_waker(Waker::noop()));
        let mut tokens = Vec::new();
        for id in [1, 2, 3] {
            assert!(outbox.poll(&mut cx, &mut tokens).is_pending());
            assert!(matches!(outbox.push(Token { id, logprobs: None }), Ok(None)));
        }
        assert!(outbox.poll(&mut cx, &mut tokens).is_pending() && tokens.is_empty());
        assert!(outbox.end(End::Length).is_some());
        assert_eq!(outbox.poll(&mut cx, &mut tokens), Poll::Ready(Some(End::Length)));
        assert_eq!(tokens.iter().map(|token| token.id).collect::<Vec<_>>(), [1, 2, 3]);
    }

    /// A test of a client that counts events must not depend on how busy the machine is.
    #[test]
    fn tokens_are_handed_over_one_by_one() {
        let (outbox, mut cx) = (outbox(Delivery::TokenByToken), Context::from_waker(Waker::noop()));
        let mut tokens = Vec::new();
        for id in [1, 2] {
            assert!(outbox.push(Token { id, logprobs: None }).is_ok());
        }
        outbox.end(End::Length);
        assert_eq!(outbox.poll(&mut cx, &mut tokens), Poll::Ready(None));
        assert_eq!(tokens.len(), 1);
        assert_eq!(outbox.poll(&mut cx, &mut tokens), Poll::Ready(Some(End::Length)));
        assert_eq!(tokens.iter().map(|token| token.id).collect::<Vec<_>>(), [1, 2]);
    }

    /// A reader that falls behind must cost a fixed amount of memory, here and where its events are
    /// made.
    #[test]
    fn a_stream_is_taken_in_portions_and_full_at_its_bound() {
        let (outbox, mut cx) = (outbox(Delivery::Merged), Context::from_waker(Waker::noop()));
        let top = vec![(1, -1.0); 20];
        let token =
            || Token { id: 1, logprobs: Some(Box::new(TokenLogprobs { logprob: -1.0, top: top.clone() })) };
        while outbox.push(token()).is_ok() {}
        let num_pushed = lock(&outbox.contents).tokens.len();
        assert_eq!(num_pushed, MAX_WEIGHT / 23 + 1);
        outbox.end(End::Length);

        let (mut tokens, mut num_taken) = (Vec::new(), 0);
        let end = loop {
            let Poll::Ready(end) = outbox.poll(&mut cx, &mut tokens) else { panic!("nothing is due") };
            let weight = lock(&outbox.contents).weight;
            assert!(tokens.iter().map(weight_of).sum::<usize>() <= MAX_TAKEN_WEIGHT && weight <= MAX_WEIGHT);
            num_taken += tokens.drain(..).len();
            if end.is_some() {
                break end;
            }
        };
        assert_eq!((end, num_taken), (Some(End::Length), num_pushed));
    }
}
