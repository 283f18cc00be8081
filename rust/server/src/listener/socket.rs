//! Hyper's socket: records progress, and replaces hyper's own answers by ones of OpenAI's shape.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::own_answers;
use super::progress::Progress;

/// Hyper's handle on the bytes of HTTP: those of a socket, or of TLS over one.
#[derive(Debug)]
pub(super) struct Socket<S> {
    stream: S,
    progress: Arc<Progress>,
    router: Router,
    /// The rest of an answer that replaces hyper's.
    own_answer: Option<Bytes>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>, router: Router) -> Self {
        Self { stream, progress, router, own_answer: None }
    }

    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    /// Writes our answer instead of hyper's, whose bytes are discarded.
    fn poll_write_own(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let (progress, router) = (&self.progress, &self.router);
        let hypers = || parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<_>>();
        let own = self.own_answer.get_or_insert_with(|| {
            let protocol = progress.take_foreign_protocol();
            protocol.map_or_else(
                || own_answers::in_place_of(router.clone(), &hypers()),
                |protocol| own_answers::to_foreign(router.clone(), protocol),
            )
        });
        while own.has_remaining() {
            let num_bytes = ready!(Pin::new(&mut self.stream).poll_write(cx, own))?;
            own.advance(num_bytes);
        }
        self.own_answer = None;
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let num_filled = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = &buffer.filled()[num_filled..];
        if !read.is_empty() {
            self.progress.bytes_have_come(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.progress.wrote();
        if self.progress.is_between_requests() {
            self.poll_write_own(cx, parts)
        } else {
            Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.progress.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
