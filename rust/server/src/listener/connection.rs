//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::closing;
use super::head::MAX_HEAD_BYTES;
use super::own_answers::last_answer;
use super::progress::{MAX_HEAD_TIME, Probe, Progress};
use super::socket::{Socket, closed_by_client, refused_by_client};
use crate::error::ApiError;
use crate::middleware;

/// Silence after which the system asks whether the client's machine is still there.
const PROBE_AFTER: Duration = Duration::from_secs(60);
/// How long bytes are still taken from a client that has had its last answer.
const LINGER: Duration = Duration::from_secs(2);
/// Pauses between two questions to a client that has closed its side.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(15);
/// May be sent any number of times before an answer, asked for or not; every client skips it.
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why a connection ends.
enum Ended {
    /// Hyper is done with it.
    Served,
    /// The client does not listen any more.
    Left,
    /// The client took too long.
    Overdue,
    /// Another client needs its descriptor more.
    GivenUp,
}

/// Serves one connection. When the client leaves, the future of its request is dropped, and with it the request.
pub(super) async fn serve(
    stream: TcpStream,
    progress: Arc<Progress>,
    router: Router,
    is_closing: watch::Receiver<bool>,
) {
    if let Err(error) = set_options(&stream) {
        tracing::debug!(%error, "a socket refused its options");
    }
    let stream = Arc::new(stream);
    let socket = Socket::new(Arc::clone(&stream), Arc::clone(&progress), router.clone());
    // In this order: what the one learns is for those after it.
    let ended = tokio::select! {
        biased;
        () = client_has_left(&stream, &progress) => Ended::Left,
        () = run_hyper(socket, &router, &progress, is_closing.clone()) => Ended::Served,
        () = client_is_overdue(&progress) => Ended::Overdue,
        () = progress.given_up() => Ended::GivenUp,
    };
    match ended {
        Ended::Left => return tracing::debug!("a client has left before its answer"),
        Ended::Overdue if progress.is_reading_head() => {
            let answer = last_answer(router, ApiError::HeadTimeout(MAX_HEAD_TIME.as_secs())).await;
            // The system takes this much at once, or the client is beyond help.
            let _ = stream.try_write(&answer);
            let _ = SockRef::from(&*stream).shutdown(std::net::Shutdown::Write);
        }
        Ended::Overdue => return tracing::debug!("a client has been silent for too long"),
        Ended::GivenUp => return tracing::debug!("an idle connection was closed for another client"),
        Ended::Served if progress.is_cut() => return,
        Ended::Served => {}
    }
    linger(&stream, &progress, is_closing).await;
}

fn set_options(socket: &TcpStream) -> io::Result<()> {
    // Tokens are small: without this each waits for the acknowledgement of the one before.
    socket.set_nodelay(true)?;
    // A client whose machine is gone says nothing; one that waits for a whole answer would hold its blocks to the end.
    SockRef::from(socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER))
}

async fn run_hyper(
    socket: Socket,
    router: &Router,
    progress: &Arc<Progress>,
    mut is_closing: watch::Receiver<bool>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let checked = progress.request_has_come(&request);
        let router = router.clone();
        async move {
            let response = middleware::answer(router, request.map(Body::new), checked).await;
            Ok::<_, Infallible>(progress.answer(response))
        }
    });
    let connection = http1::Builder::new()
        // Where the end of a client's side can be seen without reading, it need not be taken for the end of the client.
        .half_close(cfg!(target_os = "linux"))
        // Also the most that waits for a slow reader.
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing(&mut is_closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Ready once the client does not listen any more. One that has closed its own side may have left, or may only have said that its
/// request is complete: the difference shows when something is written to it.
async fn client_has_left(stream: &TcpStream, progress: &Progress) {
    closed_by_client(stream).await;
    let mut pause = FIRST_PAUSE;
    loop {
        match progress.next_probe() {
            Probe::Impossible => return,
            // As little as this is either taken whole or, by a client that reads nothing, not at all.
            Probe::Interim => {
                let _ = stream.try_write(INTERIM);
            }
            Probe::ByAnswer => {}
        }
        if timeout(pause, refused_by_client(stream)).await.is_ok() {
            return;
        }
        pause = LAST_PAUSE.min(pause * 2);
    }
}

/// Ready once the client's deadline has passed. The deadline moves only when hyper reads or writes, which happens in the same task
/// and before this is polled, so there is nothing to be woken by but time.
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

/// Takes what the client is still sending. To close a socket on unread bytes resets the connection, and then the system at the other
/// side throws away the answer that says what was wrong.
async fn linger(stream: &TcpStream, progress: &Progress, mut is_closing: watch::Receiver<bool>) {
    let mut scratch = [0; 4096];
    let drained = async {
        while stream.readable().await.is_ok() {
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
