//! Handles a body whose request is answered before it was read.
//!
//! No next request can be read from a connection while the body of the last one is on it. So before
//! the head of any answer is written, what is left of a short body is taken off the connection;
//! where that cannot be done, the answer says that the connection ends with it. Either way no
//! client sends a request into a connection that will be closed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{Request, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::timeout;

use super::progress::Progress;

/// Maximum bytes and time to wait for an unwanted body.
const MAX_DRAIN_BYTES: u64 = 256 << 10;
pub(super) const MAX_DRAIN_TIME: Duration = Duration::from_secs(1);

/// Lends the body to the routes, and keeps a claim on what they leave of it.
pub(super) fn lend(request: Request<Incoming>, progress: &Arc<Progress>) -> (Request<Body>, Rest) {
    let expects_continue = request
        .headers()
        .get(header::EXPECT)
        .is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let left = Arc::default();
    let rest = Rest { left: Arc::clone(&left), expects_continue };
    let progress = Arc::clone(progress);
    let request =
        request.map(|body| Body::new(Lent { body: Some(body), is_asked_for: false, left, progress }));
    (request, rest)
}

/// The place to which the rest of a body returns, and whether any of it was requested.
type Left = Arc<Mutex<Option<(Incoming, bool)>>>;

/// A body that returns when it is dropped.
struct Lent {
    body: Option<Incoming>,
    is_asked_for: bool,
    left: Left,
    progress: Arc<Progress>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_asked_for = true;
        let polled = self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx));
        self.progress.waits_for_body(!self.is_end_stream());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.progress.waits_for_body(false);
        let left = self.body.take().map(|body| (body, self.is_asked_for));
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }
}

/// The claim on the rest that the routes leave.
pub(super) struct Rest {
    left: Left,
    expects_continue: bool,
}

impl Rest {
    /// Takes the rest of a short body off the connection. Returns `false` if it is still there, so
    /// this must be the last request.
    pub(super) async fn take(self) -> bool {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).take();
        // An answer may go on reading the body; nothing can be said before about where it will
        // stop.
        let Some((mut body, is_asked_for)) = left else { return false };
        if body.is_end_stream() {
            return true;
        }
        let is_short = body.size_hint().exact().is_some_and(|num_bytes| num_bytes <= MAX_DRAIN_BYTES);
        // A client that waits to be asked for its body sends none after a refusal. To read it would
        // be to ask.
        if !is_short || self.expects_continue && !is_asked_for {
            return false;
        }
        let drained = async {
            while let Some(frame) = body.frame().await {
                if frame.is_err() {
                    return false;
                }
            }
            true
        };
        timeout(MAX_DRAIN_TIME, drained).await.unwrap_or(false)
    }
}
