//! The body of a streamed answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep};

use super::{Choice, Chunks, Delta, Said, ShownToken, Told, usage_of, usage_with};
use crate::cut::{Cut, CutStream};
use crate::driver::EndError;
use crate::error::{ApiError, Blame};
use crate::metrics::Account;
use crate::patience::read_timeout;
use crate::stream::usage::Usage;

/// Silence after which a keep-alive comment is sent.
const MAX_SILENCE: Duration = Duration::from_secs(15);

/// Minimum interval of comments, however short a client's timeout is.
const MIN_SILENCE: Duration = Duration::from_millis(100);

/// Bytes after which no more events are made at once.
const MAX_WRITE_BYTES: usize = 64 << 10;

/// Returns the interval of keep-alive comments: well below the client's timeout.
#[must_use]
pub fn keepalive_interval(headers: &HeaderMap) -> Duration {
    let third = read_timeout(headers).map(|timeout| timeout / 3);
    third.map_or(MAX_SILENCE, |third| third.clamp(MIN_SILENCE, MAX_SILENCE))
}

/// Events as they become due. Each item is one whole event or several; it is made when the socket
/// takes it, so what a slow reader has not taken yet merges. Dropping it aborts the requests.
#[derive(Debug)]
pub struct ChunkStream<C> {
    chunks: C,
    choices: Vec<Choice>,
    ended: Vec<bool>,
    /// The reported tokens of each choice, if every event counts them.
    told: Vec<Told>,
    /// Why a choice has failed.
    failed: Option<EndError>,
    state: State,
    silence: Silence,
    delta: Delta,
    /// The request's account, which records why the answer breaks off.
    account: Arc<Account>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is written.
    New,
    /// Nothing has been generated yet.
    Waiting,
    /// The openings are written.
    Open,
    /// The stream has ended.
    Over,
    /// The written bytes are sent, then the connection breaks off.
    Cut(CutStream),
}

impl<C: Chunks + Unpin> ChunkStream<C> {
    /// Creates a stream of these choices.
    #[must_use]
    pub fn new(chunks: C, choices: Vec<Choice>, max_silence: Duration) -> Self {
        Self {
            chunks,
            ended: vec![false; choices.len()],
            told: vec![Told::default(); choices.len()],
            choices,
            failed: None,
            state: State::New,
            silence: Silence::new(max_silence),
            delta: Delta::default(),
            account: Account::current(),
        }
    }

    /// Writes all due events. The text of the other choices comes before the error of one.
    fn write_due(&mut self, cx: &mut Context<'_>, frames: &mut Vec<u8>) {
        for index in 0..self.choices.len() {
            match self.write_choice(index, cx, frames) {
                Ok(()) => {}
                Err(EndError::Cut) => return self.cut(),
                Err(error) => {
                    self.ended[index] = true;
                    self.failed.get_or_insert(error);
                }
            }
        }
        if frames.len() >= MAX_WRITE_BYTES {
            // Some choices may have more.
            return;
        }
        if let Some(error) = self.failed.take() {
            return self.write_error(&ApiError::from(error), frames);
        }
        if self.ended.iter().all(|ended| *ended) {
            self.chunks.end(usage_of(&self.choices), frames);
            self.state = State::Over;
        }
    }

    /// Polls a choice until it has nothing more, so that its waker is registered, or until there is
    /// enough for one write: then this is called again without being woken.
    fn write_choice(
        &mut self,
        index: usize,
        cx: &mut Context<'_>,
        frames: &mut Vec<u8>,
    ) -> Result<(), EndError> {
        while !self.ended[index] && frames.len() < MAX_WRITE_BYTES {
            self.delta.clear();
            let Poll::Ready(end) = self.choices[index].poll_delta(cx, &mut self.delta) else { break };
            let failed_at_once = matches!(end, Some(Err(_))) && self.choices[index].num_tokens() == 0;
            if self.state == State::Waiting && !failed_at_once {
                let usage = self.usage();
                (0..self.choices.len()).for_each(|index| self.chunks.opening(index, usage, frames));
                self.state = State::Open;
            }
            self.write_text(index, frames);
            if let Some(finish) = end.transpose()? {
                self.told[index] = Told::all_of(&self.choices[index]);
                let usage = self.usage();
                self.chunks.finish(index, &finish, &self.delta.tail, usage, frames);
                self.ended[index] = true;
            }
        }
        Ok(())
    }

    fn write_text(&mut self, index: usize, frames: &mut Vec<u8>) {
        // Taken out, since each event updates the counts.
        let delta = std::mem::take(&mut self.delta);
        delta.said().for_each(|(said, tokens)| self.write_piece(index, said, tokens, frames));
        self.delta = delta;
    }

    fn write_piece(&mut self, index: usize, said: Said<'_>, tokens: &[ShownToken], frames: &mut Vec<u8>) {
        let told = &mut self.told[index];
        told.num_tokens += tokens.iter().filter(|token| !token.is_prompt).count();
        told.num_reasoning_tokens += tokens.iter().filter(|token| token.is_reasoning).count();
        match said {
            // Tokens without text, which are only counted.
            Said::Content("") if !self.chunks.tells_tokens() => {}
            Said::Content(text) => {
                let usage = self.usage();
                self.chunks.text(index, text, tokens, usage, frames);
            }
            said => {
                let usage = self.usage();
                self.chunks.said(index, said, tokens, usage, frames);
            }
        }
    }

    /// Returns the usage up to the reported tokens, if every event has it.
    fn usage(&self) -> Option<Usage> {
        let usage = || usage_with(&self.choices, self.told.iter().copied());
        self.chunks.tells_usage().then(usage)
    }

    fn cut(&mut self) {
        self.choices.clear();
        self.state = State::Cut(CutStream::default());
    }

    fn write_error(&mut self, error: &ApiError, frames: &mut Vec<u8>) {
        self.account.set_blame(Blame::of(error));
        if self.chunks.fail(error, usage_of(&self.choices), frames) {
            self.choices.clear();
            self.state = State::Over;
        } else {
            self.cut();
        }
    }
}

impl<C: Chunks + Unpin> Stream for ChunkStream<C> {
    type Item = Result<Bytes, Cut>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.state {
            State::Over => return Poll::Ready(None),
            State::Cut(cut) => return Pin::new(cut).poll_next(cx),
            State::New | State::Waiting | State::Open => {}
        }
        let mut frames = Vec::new();
        if self.state == State::New {
            self.chunks.begin(&mut frames);
            self.state = State::Waiting;
        }
        self.write_due(cx, &mut frames);
        if frames.is_empty()
            && let State::Cut(cut) = &mut self.state
        {
            return Pin::new(cut).poll_next(cx);
        }
        if !frames.is_empty() {
            self.silence.broken();
            return Poll::Ready(Some(Ok(frames.into())));
        }
        let keepalive = self.chunks.keepalive();
        self.silence.poll(cx).map(|()| Some(Ok(Bytes::from_static(keepalive))))
    }
}

/// Detects a silence. The timer is moved only when it fires, so an event costs one reading of the
/// clock.
#[derive(Debug)]
struct Silence {
    max_silence: Duration,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    fn new(max_silence: Duration) -> Self {
        Self { max_silence, since: Instant::now(), timer: Box::pin(sleep(max_silence)) }
    }

    fn broken(&mut self) {
        self.since = Instant::now();
    }

    /// Ready when the silence has lasted too long; it then begins anew.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = self.since + self.max_silence;
            let is_due = due <= Instant::now();
            if is_due {
                self.broken();
            }
            let next = self.since + self.max_silence;
            self.timer.as_mut().reset(next);
            if is_due {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
