//! The socket under hyper: it tells how far things are, and answers in OpenAI's shape where hyper would not.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::own_answers;
use super::progress::Progress;

/// Hyper's handle on a socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    progress: Arc<Progress>,
    router: Router,
    /// What is left of an answer that is written in the place of hyper's.
    own_answer: Option<Bytes>,
}

impl Socket {
    pub(super) fn new(stream: Arc<TcpStream>, progress: Arc<Progress>, router: Router) -> Self {
        Self { stream, progress, router, own_answer: None }
    }

    /// Writes our answer in the place of hyper's, of which it then takes every byte.
    fn poll_write_own(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let (stream, router) = (Arc::clone(&self.stream), self.router.clone());
        let hypers = || parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<_>>();
        let own = self.own_answer.get_or_insert_with(|| own_answers::in_place_of(router, &hypers()));
        while own.has_remaining() {
            let num_bytes = ready!(poll_write(&stream, cx, &[IoSlice::new(own)]))?;
            own.advance(num_bytes);
        }
        self.own_answer = None;
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }
}

/// Ready once the client has closed its side, whatever it has sent before that nobody has read yet.
#[cfg(target_os = "linux")]
pub(super) async fn closed_by_client(stream: &TcpStream) {
    // Bytes that wait to be read make a socket readable, so that would be ready at once. Urgent data were not registered for,
    // which leaves of this interest only the end of the other side.
    let _ = stream.ready(Interest::PRIORITY).await;
}

/// Other systems tell it only to those who read: hyper notices it between messages.
#[cfg(not(target_os = "linux"))]
pub(super) async fn closed_by_client(_: &TcpStream) {
    std::future::pending().await
}

/// Ready once the client's system has said that nobody listens there any more.
pub(super) async fn refused_by_client(stream: &TcpStream) {
    let _ = stream.ready(Interest::ERROR).await;
}

fn poll_write(stream: &TcpStream, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_write_vectored(parts) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => return Poll::Ready(written),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Ok(num_bytes) => {
                    buffer.advance(num_bytes);
                    if num_bytes > 0 {
                        let filled = buffer.filled();
                        self.progress.bytes_have_come(&filled[filled.len() - num_bytes..]);
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = if self.progress.is_between_requests() {
            self.poll_write_own(cx, parts)
        } else {
            poll_write(&self.stream, cx, parts)
        };
        self.progress.wrote(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.progress.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.stream).shutdown(Shutdown::Write))
    }
}
