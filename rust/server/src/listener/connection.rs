//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::closing;
use super::head::MAX_HEAD_BYTES;
use super::own_answers::{last_answer, to_foreign};
use super::progress::{AnswerBody, MAX_HEAD_TIME, Probe, Progress, Waits};
use super::socket::Socket;
use super::transport::{Transport, Wire, closed_by_client, refused_by_client};
use super::unread_body::lend;
use crate::error::ApiError;
use crate::middleware;

/// How long to read from a client that has had its last answer.
const LINGER: Duration = Duration::from_secs(2);
/// Pauses between two probes of a client that has closed its side.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(15);
/// The interim response, allowed any number of times before an answer; every client skips it.
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// Why a connection ends.
enum Ended {
    /// Hyper has finished the connection.
    Served,
    /// The client does not listen any more.
    Left,
    /// The client took too long.
    Overdue,
    /// Another client needs its descriptor more.
    GivenUp,
}

/// A connection that was accepted.
pub(super) struct Connection {
    pub(super) stream: Arc<Transport>,
    pub(super) progress: Arc<Progress>,
    pub(super) router: Router,
    pub(super) is_closing: watch::Receiver<bool>,
}

impl Connection {
    /// Serves the connection. When the client leaves, the future of its request is dropped, and
    /// with it the request.
    pub(super) async fn serve(mut self, tls: Option<Arc<ServerConfig>>) {
        if let Err(error) = self.stream.set_options() {
            tracing::debug!(%error, "a socket refused its options");
        }
        let wire = Wire::new(&self.stream, &self.progress);
        let has_had_last_answer = match tls {
            None => self.answer_requests(wire, false).await,
            Some(config) => match self.shake_hands(config, wire).await {
                Some(stream) => self.answer_requests(stream, true).await,
                None => return,
            },
        };
        if has_had_last_answer {
            linger(&self.stream, &self.progress, self.is_closing).await;
        }
    }

    /// Performs the TLS handshake; `None` if the client speaks no TLS, or takes longer than a head
    /// may.
    async fn shake_hands(&mut self, config: Arc<ServerConfig>, mut wire: Wire) -> Option<TlsStream<Wire>> {
        let shaken = async {
            if self.stream.first_byte().await.is_some_and(|byte| byte != TLS_HANDSHAKE) {
                let error = ApiError::protocol(
                    "this is no TLS, which the server speaks on this port: use `https://`",
                );
                let answer = last_answer(self.router.clone(), error).await;
                say_last(&mut wire, &answer).await;
                linger(&self.stream, &self.progress, self.is_closing.clone()).await;
                return None;
            }
            let shaken = TlsAcceptor::from(config).accept(wire).await;
            shaken.inspect_err(|error| tracing::debug!(%error, "a client could not agree on TLS")).ok()
        };
        let mut is_closing = self.is_closing.clone();
        tokio::select! {
            shaken = timeout(MAX_HEAD_TIME, shaken) => shaken.ok().flatten(),
            () = self.progress.given_up() => None,
            () = closing(&mut is_closing) => None,
        }
    }

    /// Answers request after request. Returns whether the client has had its last answer, and may
    /// still be sending.
    async fn answer_requests<S>(&mut self, stream: S, is_secret: bool) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (progress, router) = (&self.progress, &self.router);
        let service = service_fn(|request: Request<Incoming>| {
            let checked = progress.request_has_come(&request);
            let (request, rest) = lend(request, progress);
            let router = router.clone();
            async move {
                let response = middleware::answer(router, request, checked).await;
                if !progress.is_last() && !rest.take().await {
                    progress.end_with_this_answer();
                }
                Ok::<_, Infallible>(progress.answer(response))
            }
        });
        let socket = Socket::new(stream, Arc::clone(progress), router.clone());
        let mut connection = http1::Builder::new()
            // If a client's half-close is visible without reading, it need not count as the
            // client's end.
            .half_close(cfg!(target_os = "linux"))
            // Also the maximum that waits for a slow reader.
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(socket), service);
        // `biased`: a client that has left must be noticed before its request is served or timed
        // out.
        let ended = tokio::select! {
            biased;
            () = client_has_left(&self.stream, progress, is_secret) => Ended::Left,
            () = run_hyper(&mut connection, &mut self.is_closing) => Ended::Served,
            () = client_is_overdue(progress) => Ended::Overdue,
            () = progress.given_up() => Ended::GivenUp,
        };
        let stream = connection.into_parts().io.into_inner().into_stream();
        self.end(&ended, stream).await
    }

    /// Writes a last answer, if one is due. Returns whether the client has had its last answer.
    async fn end<S: AsyncRead + AsyncWrite + Unpin>(&self, ended: &Ended, mut stream: S) -> bool {
        let (progress, router) = (&self.progress, self.router.clone());
        let answer = match ended {
            Ended::Overdue if progress.is_reading_head() => {
                last_answer(router, ApiError::HeadTimeout(MAX_HEAD_TIME.as_secs())).await
            }
            Ended::Served if progress.is_cut() => return false,
            Ended::Served => match progress.take_foreign_protocol() {
                Some(protocol) => to_foreign(router, protocol),
                None => return true,
            },
            Ended::Left => {
                tracing::debug!("a client has left before its answer");
                return false;
            }
            Ended::Overdue => {
                tracing::debug!("a client has been silent for too long");
                return false;
            }
            Ended::GivenUp => {
                tracing::debug!("a connection was closed for another client");
                if progress.waits_for_client().is_none_or(|(waits, _)| waits != Waits::ForRequest) {
                    say_last(&mut stream, &last_answer(router, ApiError::Crowded).await).await;
                }
                // Its descriptor is needed now.
                return false;
            }
        };
        say_last(&mut stream, &answer).await;
        true
    }
}

/// Runs hyper until the connection ends, by itself or on request.
async fn run_hyper<S, H>(
    connection: &mut http1::Connection<TokioIo<Socket<S>>, H>,
    is_closing: &mut watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    H: HttpService<Incoming, ResBody = AnswerBody, Error = Infallible>,
{
    let ended = tokio::select! {
        ended = &mut *connection => ended,
        () = closing(is_closing) => {
            Pin::new(&mut *connection).graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Writes an answer that nothing follows. The system takes this much at once, or the client cannot
/// be reached.
async fn say_last<S: AsyncWrite + Unpin>(stream: &mut S, answer: &Bytes) {
    let said = async {
        stream.write_all(answer).await?;
        stream.shutdown().await
    };
    if !matches!(timeout(LINGER, said).await, Ok(Ok(()))) {
        tracing::debug!("a client has not taken its last answer");
    }
}

/// Ready once the client no longer listens. A client that has closed its own side may have left, or
/// only have completed its request: a write shows the difference. Nothing can be inserted between
/// TLS records, but TLS clients do not close one side alone.
async fn client_has_left(stream: &Transport, progress: &Progress, is_secret: bool) {
    closed_by_client(stream).await;
    let mut pause = FIRST_PAUSE;
    loop {
        match progress.next_probe() {
            Probe::Impossible => return,
            Probe::Interim if is_secret => return,
            // As little as this is either taken whole or, by a client that reads nothing, not at
            // all. A Unix domain socket reports at once that its client has gone.
            Probe::Interim => match stream.try_write(INTERIM) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return,
                _ => {}
            },
            Probe::ByAnswer => {}
        }
        if timeout(pause, refused_by_client(stream)).await.is_ok() {
            return;
        }
        pause = LAST_PAUSE.min(pause * 2);
    }
}

/// Ready once the client's deadline has passed. The deadline moves only when hyper reads or writes,
/// which happens in the same task and before this is polled, so only time can wake this.
async fn client_is_overdue(progress: &Progress) {
    let mut timer = pin!(sleep(Duration::ZERO));
    poll_fn(|cx| {
        let Some(deadline) = progress.deadline() else { return std::task::Poll::Pending };
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    })
    .await;
}

/// Reads what the client is still sending. Closing a socket with unread bytes resets the
/// connection, and the client's system then discards the answer with the error.
async fn linger(stream: &Transport, progress: &Progress, mut is_closing: watch::Receiver<bool>) {
    let mut scratch = [0; 4096];
    let drained = async {
        while stream.ready(Interest::READABLE).await.is_ok() {
            match stream.try_read(&mut scratch) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    };
    tokio::select! {
        () = drained => {}
        () = sleep_until(Instant::now() + LINGER) => {}
        () = progress.given_up() => {}
        () = closing(&mut is_closing) => {}
    }
}
