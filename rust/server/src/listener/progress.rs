//! The progress of one connection with its request and answer: what its deadlines and its own
//! answers depend on.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Request, Response, Version, header};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::head::{self, ForeignProtocol, HeadBytes};
use crate::error::ApiError;
use crate::ledger::{Charge, Full, Ledger, Pool};
use crate::sse::{self, KEEPALIVE};

/// How long a connection may be silent between two requests, and how long a client may read none of
/// the bytes that wait for it.
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(120);
/// How long the head of a request may take from its first byte on.
pub(super) const MAX_HEAD_TIME: Duration = Duration::from_secs(30);

/// Bytes of a head that every connection may have.
const SHORT_HEAD_BYTES: usize = 4 << 10;
/// Paths that are served on a connection with a reserved descriptor.
const PROBES: [&str; 2] = ["/health", "/ready"];

/// The phases of a connection.
///
/// ```text
/// Idle ─ bytes ─► Head ─ service ─► Handling ─ response ─► Answering
///      ◄─ flushed ─ Ending ◄─ end of the body ─ Answering
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Handling,
    Answering,
    Ending,
}

/// What a connection waits for while its client sends nothing, which decides which is closed for
/// another: the first is given up first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waits {
    ForRequest,
    ForRestOfRequest,
}

/// The ways to probe whether a client that has closed its side still listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// Nothing of the answer is written: an interim response.
    Interim,
    /// The answer is written as it is generated, which probes by itself.
    ByAnswer,
    /// Its version of HTTP knows no interim responses.
    Impossible,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    version: Version,
    head: HeadBytes,
    /// The charge for a long head, here and in hyper.
    head_charge: Option<Charge>,
    /// The head did not fit into its pool.
    is_refused: bool,
    /// When the reading of a body began.
    body_since: Option<Instant>,
    /// Whether the connection ends with this answer.
    is_last: bool,
    /// Whether the answer has broken off, which its client must see at once.
    is_cut: bool,
    /// Since when the client has read nothing of the pending bytes.
    blocked_since: Option<Instant>,
    /// Whether hyper has written bytes since its last flush.
    is_dirty: bool,
    /// Whether a comment should break the next silence of an event stream.
    probe_is_due: bool,
    /// The task that waits for hyper's flush.
    waits_for_flush: Option<Waker>,
}

/// The progress of one connection. Only the connection's own task changes its state.
#[derive(Debug)]
pub(super) struct Progress {
    state: Mutex<State>,
    ledger: Arc<Ledger>,
    /// Whether it has one of the last descriptors.
    is_for_probe: bool,
    /// Closes the connection if it still waits for its client.
    give_up: Notify,
}

impl Progress {
    pub(super) fn new(ledger: Arc<Ledger>, is_for_probe: bool) -> Arc<Self> {
        let state = Mutex::new(State {
            phase: Phase::Idle,
            since: Instant::now(),
            version: Version::HTTP_11,
            head: HeadBytes::default(),
            head_charge: None,
            is_refused: false,
            body_since: None,
            is_last: false,
            is_cut: false,
            blocked_since: None,
            is_dirty: false,
            probe_is_due: false,
            waits_for_flush: None,
        });
        Arc::new(Self { state, ledger, is_for_probe, give_up: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bytes_have_come(&self, bytes: &[u8]) {
        let mut state = self.state();
        if state.phase == Phase::Idle {
            (state.phase, state.since) = (Phase::Head, Instant::now());
        }
        state.head.read(bytes);
        if state.head.len() > SHORT_HEAD_BYTES && self.charge_head(&mut state).is_err() {
            state.is_refused = true;
            self.give_up.notify_one();
        }
    }

    fn charge_head(&self, state: &mut State) -> Result<(), Full> {
        let amount = 2 * state.head.len().next_power_of_two();
        match &mut state.head_charge {
            Some(charge) => charge.resize(amount),
            None => {
                state.head_charge = Some(self.ledger.charge(Pool::Heads, 0, amount)?);
                Ok(())
            }
        }
    }

    /// Notes the arrival of a request, and refuses heads that hyper accepts in error.
    pub(super) fn request_has_come<B>(&self, request: &Request<B>) -> Result<(), ApiError> {
        let mut state = self.state();
        (state.phase, state.version) = (Phase::Handling, request.version());
        let mut checked = state.head.check(request);
        state.head_charge = None;
        if self.is_for_probe && !PROBES.iter().any(|probe| request.uri().path().ends_with(probe)) {
            checked = checked.and(Err(ApiError::Crowded));
        }
        state.is_last = self.is_for_probe || checked.is_err() || head::is_last(request);
        checked
    }

    /// Follows the body of the response to its end.
    pub(super) fn answer(self: &Arc<Self>, mut response: Response<Body>) -> Response<AnswerBody> {
        let is_last = {
            let mut state = self.state();
            state.phase = Phase::Answering;
            state.is_last
        };
        if is_last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let is_event_stream = sse::is_stream(response.headers());
        response.map(|body| AnswerBody { body, is_event_stream, error: None, progress: Arc::clone(self) })
    }

    /// Returns whether no request is being served: what hyper writes then is its own answer to a
    /// head that it cannot read.
    pub(super) fn is_between_requests(&self) -> bool {
        matches!(self.state().phase, Phase::Idle | Phase::Head)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.state().is_cut
    }

    /// Returns the client's protocol if it is a known one that is not served; only once.
    pub(super) fn take_foreign_protocol(&self) -> Option<ForeignProtocol> {
        let mut state = self.state();
        let is_between_requests = matches!(state.phase, Phase::Idle | Phase::Head);
        is_between_requests.then(|| state.head.take_foreign_protocol()).flatten()
    }

    /// Returns whether the answer to the present request is known to be the last one.
    pub(super) fn is_last(&self) -> bool {
        self.state().is_last
    }

    /// Makes the present request the last.
    pub(super) fn end_with_this_answer(&self) {
        self.state().is_last = true;
    }

    pub(super) fn is_reading_head(&self) -> bool {
        self.state().phase == Phase::Head
    }

    /// Returns what it waits for, and since when, if it waits for its client.
    pub(super) fn waits_for_client(&self) -> Option<(Waits, Instant)> {
        let state = self.state();
        match state.phase {
            Phase::Idle => Some((Waits::ForRequest, state.since)),
            Phase::Head => Some((Waits::ForRestOfRequest, state.since)),
            Phase::Handling => Some((Waits::ForRestOfRequest, state.body_since?)),
            Phase::Answering | Phase::Ending => None,
        }
    }

    /// Notes that the routes started or stopped waiting for a body.
    pub(super) fn waits_for_body(&self, waits: bool) {
        let mut state = self.state();
        state.body_since = waits.then(|| state.body_since.unwrap_or_else(Instant::now));
    }

    pub(super) fn give_up(&self) {
        self.give_up.notify_one();
    }

    /// Ready once the connection is to be closed. A request that is complete meanwhile saves it.
    pub(super) async fn given_up(&self) {
        loop {
            self.give_up.notified().await;
            if self.state().is_refused || self.waits_for_client().is_some() {
                return;
            }
        }
    }

    pub(super) fn wrote(&self) {
        self.state().is_dirty = true;
    }

    pub(super) fn socket_is_full(&self, is_full: bool) {
        let mut state = self.state();
        state.blocked_since = is_full.then(|| state.blocked_since.unwrap_or_else(Instant::now));
    }

    pub(super) fn flushed(&self) {
        let mut state = self.state();
        state.is_dirty = false;
        if let Some(waker) = state.waits_for_flush.take() {
            waker.wake();
        }
        if state.phase == Phase::Ending {
            (state.phase, state.since) = (Phase::Idle, Instant::now());
        }
    }

    /// Returns when the client's time is up; never while the client waits for the server.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = self.state();
        let limit = match state.phase {
            Phase::Idle => Some(state.since + MAX_SILENCE),
            Phase::Head => Some(state.since + MAX_HEAD_TIME),
            Phase::Handling | Phase::Answering | Phase::Ending => None,
        };
        let stall = state.blocked_since.map(|since| since + MAX_SILENCE);
        limit.into_iter().chain(stall).min()
    }

    /// Returns the probe to use now; an event stream is probed by a comment once it is silent.
    pub(super) fn next_probe(&self) -> Probe {
        let mut state = self.state();
        match state.phase {
            Phase::Handling if state.version < Version::HTTP_11 => Probe::Impossible,
            Phase::Handling if !state.is_dirty => Probe::Interim,
            _ => {
                state.probe_is_due = true;
                Probe::ByAnswer
            }
        }
    }

    /// Ready once hyper has written all that it was given.
    fn poll_flushed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if !state.is_dirty {
            return Poll::Ready(());
        }
        state.waits_for_flush = Some(cx.waker().clone());
        Poll::Pending
    }

    fn take_due_probe(&self) -> bool {
        mem::take(&mut self.state().probe_is_due)
    }
}

/// The body of a response on its way to hyper, which drops it at its end.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: Body,
    is_event_stream: bool,
    /// Why the body breaks off, if it does.
    error: Option<axum::Error>,
    progress: Arc<Progress>,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.error.is_none() {
            let polled = Pin::new(&mut self.body).poll_frame(cx);
            if polled.is_pending() && self.is_event_stream && self.progress.take_due_probe() {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(KEEPALIVE)))));
            }
            let Poll::Ready(Some(Err(error))) = polled else { return polled };
            self.error = Some(error);
        }
        // Hyper drops unwritten bytes, so a slow reader would miss the event with the reason.
        ready!(self.progress.poll_flushed(cx));
        self.progress.state().is_cut = true;
        Poll::Ready(self.error.take().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.progress.state().phase = Phase::Ending;
    }
}
