//! A socket of either kind, and its raw bytes.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::progress::Progress;

/// Silence after which the system probes the client's machine.
const PROBE_AFTER: Duration = Duration::from_secs(60);

/// The listening socket.
#[derive(Debug)]
pub(crate) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    pub(super) async fn accept(&self) -> io::Result<Transport> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Transport::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Transport::Unix(stream)),
        }
    }
}

/// An accepted socket.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls the method that both kinds of sockets have.
macro_rules! both {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport {
            Transport::Tcp($stream) => $call,
            Transport::Unix($stream) => $call,
        }
    };
}

impl Transport {
    pub(super) fn set_options(&self) -> io::Result<()> {
        let Self::Tcp(stream) = self else { return Ok(()) };
        // Tokens are small: without this each waits for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        // A client whose machine is down sends nothing; while it waits for a whole answer it would
        // hold its blocks to the end.
        SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER))
    }

    /// Returns the first byte that the client sends, which stays to be read; `None` at its end, and
    /// where it cannot be looked at.
    pub(super) async fn first_byte(&self) -> Option<u8> {
        let Self::Tcp(stream) = self else { return None };
        let mut byte = [0];
        stream.peek(&mut byte).await.is_ok_and(|num_bytes| num_bytes > 0).then_some(byte[0])
    }

    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        both!(self, stream => stream.ready(interest).await)
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        both!(self, stream => stream.try_read(buffer))
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        both!(self, stream => stream.try_write(bytes))
    }

    pub(super) fn shut_down_writing(&self) -> io::Result<()> {
        SockRef::from(self).shutdown(Shutdown::Write)
    }

    fn poll_write(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(both!(self, stream => stream.poll_write_ready(cx)))?;
            match both!(self, stream => stream.try_write_vectored(parts)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        both!(self, stream => stream.as_fd())
    }
}

/// One handle on a socket, which notes when the client takes nothing.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Arc<Transport>,
    progress: Arc<Progress>,
}

impl Wire {
    pub(super) fn new(stream: &Arc<Transport>, progress: &Arc<Progress>) -> Self {
        Self { stream: Arc::clone(stream), progress: Arc::clone(progress) }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(both!(&*self.stream, stream => stream.poll_read_ready(cx)))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Ok(num_bytes) => {
                    buffer.advance(num_bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream.poll_write(cx, parts);
        self.progress.socket_is_full(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shut_down_writing())
    }
}

/// Ready once the client has closed its side, whatever bytes of it still wait to be read.
#[cfg(target_os = "linux")]
pub(super) async fn closed_by_client(stream: &Transport) {
    // Bytes that wait to be read make a socket readable, so that would be ready at once. Urgent
    // data were not registered for, which leaves of this interest only the end of the other side.
    let _ = stream.ready(Interest::PRIORITY).await;
}

/// Never ready: other systems report it only to a read, so hyper notices it between messages.
#[cfg(not(target_os = "linux"))]
pub(super) async fn closed_by_client(_: &Transport) {
    std::future::pending().await
}

/// Ready once the client's system has said that the client does not listen any more.
pub(super) async fn refused_by_client(stream: &Transport) {
    let _ = stream.ready(Interest::ERROR).await;
}
