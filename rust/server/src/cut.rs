//! A connection that breaks off in the middle of an answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;

/// Breaks a connection off: a body that fails is not ended, so the client sees that it is
/// incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer breaks off here")]
pub struct Cut;

/// A body that fails once the bytes before it are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CutStream {
    is_due: bool,
}

impl Stream for CutStream {
    type Item = Result<Bytes, Cut>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_due {
            return Poll::Ready(Some(Err(Cut)));
        }
        // The writer flushes a body only when the body is pending.
        self.is_due = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
