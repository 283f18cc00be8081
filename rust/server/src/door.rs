//! The second door: requests that another program's server has read, such as uvicorn's, answered by
//! the same routes.
//!
//! ```text
//!  the caller's event loop           our threads
//!  Door::open ─────────────────────► answer: Router
//!  take ◄─ descriptor ◄─ Doorbell ◄─ Part::BodyWanted, Head, Data …
//!  feed, resume, close ────────────► Exchange
//! ```
//!
//! Nothing here blocks or calls back: a ready part goes into the list of its [`Doorbell`], whose
//! descriptor the caller's event loop watches. Nothing piles up: the next part of an answer is made
//! when the caller requests it, so a slow reader's text merges as behind a socket, and the next
//! piece of a body is requested when the routes read it.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri, header, response};
use bytes::Bytes;
use futures_util::future::{AbortHandle, abortable};
use futures_util::stream::poll_fn;
use http_body_util::BodyExt;
use tokio::sync::{Notify, mpsc};

use crate::error::ApiError;
use crate::middleware;

/// A part of an exchange, for its caller.
#[derive(Debug)]
pub enum Part {
    /// The routes read the body: hand over the next piece with [`Exchange::feed`].
    BodyWanted,
    /// Status and headers.
    Head(response::Parts),
    /// A piece of the answer's body.
    Data {
        /// The bytes, which may be none.
        data: Bytes,
        /// Nothing comes after this.
        is_last: bool,
    },
    /// The answer is incomplete: cut the connection, so that the client sees that.
    Lost,
}

/// Wakes one event loop for any number of exchanges, through one descriptor.
#[derive(Debug)]
pub struct Doorbell {
    ready: Mutex<Vec<(u64, Part)>>,
    descriptor: File,
}

impl Doorbell {
    /// Creates a bell that writes eight bytes to this descriptor, an eventfd or the end of a
    /// non-blocking pipe, whenever its list becomes non-empty.
    #[must_use]
    pub fn new(descriptor: File) -> Self {
        Self { ready: Mutex::default(), descriptor }
    }

    /// Returns the ready parts, each with its exchange's number. Call it after reading the
    /// descriptor.
    #[must_use]
    pub fn take(&self) -> Vec<(u64, Part)> {
        mem::take(&mut *lock(&self.ready))
    }

    fn ring(&self, exchange: u64, part: Part) {
        let was_quiet = {
            let mut ready = lock(&self.ready);
            ready.push((exchange, part));
            ready.len() == 1
        };
        if was_quiet && let Err(error) = (&self.descriptor).write(&1_u64.to_ne_bytes()) {
            // A full pipe is readable already, and a closed loop reads nothing.
            tracing::debug!(%error, "a doorbell was not rung");
        }
    }
}

/// The prefix that the application is mounted under, as clients write it, such as `/llm`. It
/// belongs to requests that came through this door and have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(pub String);

/// The head of a request.
#[derive(Debug)]
pub struct RequestHead<'a> {
    /// `GET`, `POST` …
    pub method: &'a [u8],
    /// The prefix under which the application is mounted; may be empty.
    pub prefix: &'a str,
    /// Path and query as they were sent, without the prefix.
    pub target: &'a [u8],
    /// Names and values.
    pub headers: Vec<(&'a [u8], &'a [u8])>,
}

impl RequestHead<'_> {
    /// Writes the head into a request, as far as it is valid.
    fn fill(&self, request: &mut Request<Body>) -> Result<(), ApiError> {
        let invalid = |what: &str, error: &dyn std::fmt::Display| ApiError::Invalid {
            code: "invalid_request",
            param: None,
            message: format!("{what} of the request cannot be read: {error}"),
        };
        *request.method_mut() = Method::from_bytes(self.method).map_err(|e| invalid("method", &e))?;
        *request.uri_mut() = Uri::try_from(self.target).map_err(|e| invalid("path", &e))?;
        for (name, value) in &self.headers {
            let name = header::HeaderName::from_bytes(name).map_err(|e| invalid("a header name", &e))?;
            let value = HeaderValue::from_bytes(value).map_err(|e| invalid("a header", &e))?;
            request.headers_mut().append(name, value);
        }
        if !self.prefix.is_empty() {
            request.extensions_mut().insert(Prefix(self.prefix.to_owned()));
        }
        Ok(())
    }
}

/// One request and its answer, as the caller sees it. No method waits. Dropping it is
/// [`Exchange::close`].
#[derive(Debug)]
pub struct Exchange {
    demand: Arc<Notify>,
    body: mpsc::Sender<(Bytes, bool)>,
    task: AbortHandle,
}

impl Exchange {
    /// Opens an exchange whose parts come by `bell` under `number`; the caller must run the future.
    pub fn open(
        router: Router,
        head: &RequestHead<'_>,
        bell: &Arc<Doorbell>,
        number: u64,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        // Pieces come only on request, so one place is enough.
        let (body, pieces) = mpsc::channel(1);
        let demand = Arc::new(Notify::new());
        let mut request = middleware::unread(body_of(pieces, Arc::clone(bell), number));
        let checked = head.fill(&mut request);
        let reply = Reply { bell: Arc::clone(bell), number, is_over: false };
        let (answered, task) = abortable(answer(router, request, checked, Arc::clone(&demand), reply));
        let exchange = Self { demand, body, task };
        (exchange, async move {
            // Closing an exchange does not wait for its end.
            let _ = answered.await;
        })
    }

    /// Requests the next part of the answer, which is made only then.
    pub fn resume(&self) {
        self.demand.notify_one();
    }

    /// Hands over the piece of the body that [`Part::BodyWanted`] asked for. The first piece may
    /// come unrequested; any other is then dropped.
    pub fn feed(&self, piece: Bytes, is_last: bool) {
        let _ = self.body.try_send((piece, is_last));
    }

    /// Closes the exchange and aborts what still runs: the client has left, or has everything.
    pub fn close(&self) {
        self.task.abort();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.close();
    }
}

/// The way back to the caller. Its drop reports an early end: a panic, an abort or the server's
/// end.
#[derive(Debug)]
struct Reply {
    bell: Arc<Doorbell>,
    number: u64,
    is_over: bool,
}

impl Reply {
    fn send(&mut self, part: Part) {
        self.is_over = matches!(part, Part::Data { is_last: true, .. });
        self.bell.ring(self.number, part);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_over {
            self.bell.ring(self.number, Part::Lost);
        }
    }
}

async fn answer(
    router: Router,
    request: Request<Body>,
    checked: Result<(), ApiError>,
    demand: Arc<Notify>,
    mut reply: Reply,
) {
    let (mut head, mut body) = middleware::answer(router, request, checked).await.into_parts();
    // The connection is the caller's.
    head.headers.remove(header::CONNECTION);
    if head.status == StatusCode::NO_CONTENT {
        // HTTP forbids a length where there can be no body. The first door's hyper takes it away.
        head.headers.remove(header::CONTENT_LENGTH);
    } else if let Some(len) = body.size_hint().exact() {
        head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(len));
    }
    demand.notified().await;
    reply.send(Part::Head(head));
    while !reply.is_over {
        demand.notified().await;
        let (data, is_last) = match body.frame().await {
            Some(Ok(frame)) => (frame.into_data().unwrap_or_default(), body.is_end_stream()),
            Some(Err(_)) => return,
            None => (Bytes::new(), true),
        };
        reply.send(Part::Data { data, is_last });
    }
}

/// Returns a body that requests its pieces one by one, as the routes read it.
fn body_of(mut pieces: mpsc::Receiver<(Bytes, bool)>, bell: Arc<Doorbell>, number: u64) -> Body {
    let (mut is_wanted, mut is_over) = (false, false);
    Body::from_stream(poll_fn(move |cx| {
        if is_over {
            return Poll::Ready(None);
        }
        let polled = pieces.poll_recv(cx);
        if polled.is_pending() && !mem::replace(&mut is_wanted, true) {
            bell.ring(number, Part::BodyWanted);
        }
        polled.map(|received| {
            let (piece, is_last) = received?;
            (is_wanted, is_over) = (false, is_last);
            Some(Ok::<_, Infallible>(piece))
        })
    }))
}

/// Locks, also after a panic elsewhere: what these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
