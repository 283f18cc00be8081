//! One connection at a time over a real socket; the paused clock moves when every task waits.
#![allow(clippy::unwrap_used)]

mod charged_heads;
mod cuts;
mod protocols;
mod unread_bodies;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::progress::{MAX_HEAD_TIME, MAX_SILENCE};
use super::{bind, serve};
use crate::cut::CutStream;
use crate::driver::DriverLimits;
use crate::ledger::Ledger;
use crate::middleware::take_fault;
use crate::sse;

/// Reports when the request that holds it has been dropped.
struct Held(Arc<Notify>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A server with a route for each way to keep a client waiting.
struct Server {
    client: TcpStream,
    dropped: Arc<Notify>,
    /// Dropping it closes the server.
    _is_closing: watch::Sender<bool>,
}

impl Server {
    async fn start() -> Self {
        let dropped = Arc::new(Notify::new());
        let held = |dropped: &Arc<Notify>| Held(Arc::clone(dropped));
        let (whole, silent, flood) = (Arc::clone(&dropped), Arc::clone(&dropped), Arc::clone(&dropped));
        let router = Router::new()
            .route("/ok", get(|| async { "ok" }))
            .route("/refuse", post(|| async { "refused" }))
            .route("/echo", post(|body: Bytes| async { body }))
            .route(
                "/cut",
                get(|| async {
                    let first = stream::iter([Ok(Bytes::from_static(b"begun"))]);
                    Body::from_stream(first.chain(CutStream::default()))
                }),
            )
            .route(
                "/slow",
                get(|| async {
                    sleep(Duration::from_secs(5)).await;
                    "done"
                }),
            )
            .route(
                "/whole",
                get(move || {
                    let held = held(&whole);
                    async move {
                        let _held = held;
                        pending::<()>().await;
                    }
                }),
            )
            .route(
                "/silent",
                get(move || {
                    let held = held(&silent);
                    async move { sse::response(events(stream::pending(), held)) }
                }),
            )
            .route(
                "/flood",
                get(move || {
                    let held = held(&flood);
                    let kilobytes = stream::repeat(Bytes::from_static(&[b'x'; 1 << 16]));
                    async move { sse::response(events(kilobytes, held)) }
                }),
            )
            .layer(from_fn(refuse));
        let listener = bind("127.0.0.1", 0).unwrap();
        let address = listener.address().unwrap();
        let (is_closing, closing) = watch::channel(false);
        tokio::spawn(serve(
            listener.listen().unwrap(),
            router,
            Ledger::new(DriverLimits::default()),
            closing,
        ));
        Self { client: TcpStream::connect(address).await.unwrap(), dropped, _is_closing: is_closing }
    }

    async fn send(&mut self, bytes: &str) {
        self.client.write_all(bytes.as_bytes()).await.unwrap();
    }

    async fn get(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n")).await;
    }

    async fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            let mut byte = [0];
            assert_eq!(self.client.read(&mut byte).await.unwrap(), 1, "{}", String::from_utf8_lossy(&read));
            read.push(byte[0]);
        }
        String::from_utf8(read).unwrap()
    }

    async fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        self.client.read_to_end(&mut read).await.unwrap();
        String::from_utf8(read).unwrap()
    }
}

/// Refuses a request that no route may see.
async fn refuse(mut request: Request, next: Next) -> Response {
    match take_fault(&mut request) {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    }
}

fn events(bytes: impl futures_util::Stream<Item = Bytes> + Send + 'static, held: Held) -> Body {
    Body::from_stream(bytes.map(move |bytes| {
        let _held = &held;
        Ok::<_, Infallible>(bytes)
    }))
}

/// Returns the status and the error's code of a whole response.
fn error_of(response: &str) -> (u16, String) {
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\ndate: "), "{head}");
    let error = &serde_json::from_str::<Value>(body).unwrap()["error"];
    assert!(error["message"].is_string() && error["type"] == "invalid_request_error", "{error}");
    (head[9..12].parse().unwrap(), error["code"].as_str().unwrap().to_owned())
}

/// An empty 400 does not tell an SDK on the wrong port, or behind a bad proxy, what is wrong.
#[tokio::test(start_paused = true)]
async fn what_is_no_request_is_answered_in_openais_shape() {
    let long_head = format!("GET /ok HTTP/1.1\r\nhost: t\r\nx: {}", "x".repeat(65_536 - 30));
    let many_headers = format!("GET /ok HTTP/1.1\r\nhost: t\r\n{}\r\n", "a: b\r\n".repeat(100));
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: t\r\n\r\n", "x".repeat(65_535));
    for (sent, status, code) in [
        ("\u{16}\u{3}\u{1} hello\r\n\r\n", 400, "invalid_http"),
        ("GET /ok HTTP/3.7\r\nhost: t\r\n\r\n", 400, "invalid_http"),
        ("GET /ok HTTP/1.1\r\nhost : t\r\n\r\n", 400, "invalid_http"),
        ("GET /ok HTTP/1.1\r\nhost: t\r\n folded\r\n\r\n", 400, "invalid_http"),
        (
            "POST /ok HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            400,
            "invalid_http",
        ),
        ("POST /ok HTTP/1.1\r\nhost: t\r\ncontent-length: -1\r\n\r\n", 400, "invalid_http"),
        ("POST /ok HTTP/1.1\r\nhost: t\r\ntransfer-encoding: gzip\r\n\r\n", 400, "invalid_http"),
        (&long_head, 431, "head_too_large"),
        (&many_headers, 431, "head_too_large"),
        (&long_path, 431, "head_too_large"),
    ] {
        let mut server = Server::start().await;
        server.send(sent).await;
        let answer = server.read_to_end().await;
        assert_eq!(error_of(&answer), (status, code.to_owned()), "{sent:.60}");
        assert_eq!(answer.matches("HTTP/1.1 4").count(), 1, "one answer, and it is the last one: {answer}");
    }
}

/// A proxy that takes one of two lengths where this server takes the other can be made to send
/// along a request that it never saw.
#[tokio::test(start_paused = true)]
async fn a_head_that_can_be_read_in_two_ways_is_refused() {
    let (length, chunked) = ("content-length: 4\r\n", "Transfer-Encoding: chunked\r\n");
    for (fields, said) in [
        (format!("{length}{chunked}"), "`content-length` and `transfer-encoding`"),
        (format!("{chunked}{length}"), "`content-length` and `transfer-encoding`"),
        (format!("{chunked}Content-Length: x\r\n"), "`content-length` and `transfer-encoding`"),
        (format!("{length}{length}"), "2 `content-length` headers"),
        (format!("{chunked}{chunked}"), "`chunked, chunked`"),
        ("transfer-encoding: gzip, chunked\r\n".to_owned(), "`gzip, chunked`"),
        ("x: y\n".to_owned(), "without a carriage return"),
    ] {
        // Behind a good request, whose body ends in what looks like a head, and in the same packet.
        let good = "POST /refuse HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nbody\r\n\r\n\n";
        let bad = format!("POST /refuse HTTP/1.1\r\nhost: t\r\n{fields}\r\n0\r\n\r\n");
        let mut server = Server::start().await;
        server.send(&format!("{good}{good}{bad}GET /ok HTTP/1.1\r\nhost: t\r\n\r\n")).await;
        server.read_until("\r\n\r\nrefused").await;
        server.read_until("\r\n\r\nrefused").await;
        let answer = server.read_to_end().await;
        assert_eq!(error_of(&answer), (400, "invalid_http".to_owned()), "{fields}");
        assert!(answer.contains(said), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "what comes behind it is not served: {answer}");
    }
}

/// A client that does not know its body's length is served, on the connection's last request.
#[tokio::test(start_paused = true)]
async fn a_chunked_request_is_the_last_one_of_its_connection() {
    let mut server = Server::start().await;
    let chunked = "POST /echo HTTP/1.1\r\nhost: t\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    server.send(&format!("{chunked}GET /ok HTTP/1.1\r\nhost: t\r\n\r\n")).await;
    let answer = server.read_to_end().await;
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("\r\n\r\nhi"), "{answer}");
}

/// A body that never gets to its first byte must cost neither memory nor a hang.
#[tokio::test(start_paused = true)]
async fn a_body_in_mangled_chunks_is_refused() {
    let extension = format!("2;{}\r\nhi\r\n0\r\n\r\n", "x".repeat(20_000));
    for body in ["2\nhi\r\n0\r\n\r\n", "x\r\n", "2\r\nhiho", "fffffffffffffffff\r\n", &extension] {
        let mut server = Server::start().await;
        server
            .send(&format!("POST /echo HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n{body}"))
            .await;
        let answer = server.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:.20}: {answer}");
    }
}

/// After good answers, what is written there must not be taken for hyper's own answer.
#[tokio::test(start_paused = true)]
async fn a_mangled_head_after_good_requests_gets_its_own_answer() {
    let mut server = Server::start().await;
    for _ in 0..2 {
        server.get("/ok").await;
        let head = server.read_until("\r\n\r\nok").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("text/plain"), "{head}");
    }
    server.send("GET\r\n\r\n").await;
    assert_eq!(error_of(&server.read_to_end().await), (400, "invalid_http".to_owned()));
}

/// Proxies that disagree with a server on whom a request is for can be made to hand out other
/// people's answers.
#[tokio::test(start_paused = true)]
async fn a_request_names_its_host_once() {
    for hosts in ["", "host: a\r\nhost: b\r\n"] {
        let mut server = Server::start().await;
        let start = Instant::now();
        server.send(&format!("GET /ok HTTP/1.1\r\n{hosts}\r\n")).await;
        assert_eq!(error_of(&server.read_to_end().await), (400, "invalid_http".to_owned()));
        assert_eq!(start.elapsed().as_millis(), 0, "nothing more is read from there");
    }
    let mut server = Server::start().await;
    server.send("GET /ok HTTP/1.0\r\n\r\n").await;
    assert!(server.read_to_end().await.starts_with("HTTP/1.0 200"), "the old version has no such rule");
}

/// A client's own timeout would be what ends an answer that breaks off without the connection.
#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_takes_its_connection_with_it_at_once() {
    let mut server = Server::start().await;
    let start = Instant::now();
    server.get("/cut").await;
    let answer = server.read_to_end().await;
    assert!(answer.ends_with("\r\n\r\n5\r\nbegun\r\n"), "{answer}");
    assert_eq!(start.elapsed().as_millis(), 0);
}

/// A thousand sockets that send a byte a minute cost an attacker nothing and the server all its
/// descriptors.
#[tokio::test(start_paused = true)]
async fn a_head_that_drips_is_answered_with_408() {
    let mut server = Server::start().await;
    let start = Instant::now();
    server.send("GET /ok HT").await;
    sleep(MAX_HEAD_TIME / 2).await;
    server.send("TP/1.1\r\n").await;
    assert_eq!(error_of(&server.read_to_end().await), (408, "head_timeout".to_owned()));
    assert_eq!(start.elapsed().as_secs(), MAX_HEAD_TIME.as_secs());
}

/// A pool keeps idle connections for a minute or two; an earlier close loses its next request.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_its_time_and_closed_without_a_word() {
    let mut server = Server::start().await;
    sleep(MAX_SILENCE - Duration::from_secs(1)).await;
    server.get("/ok").await;
    server.read_until("\r\n\r\nok").await;
    let start = Instant::now();
    sleep(MAX_SILENCE - Duration::from_secs(1)).await;
    server.get("/ok").await;
    server.read_until("\r\n\r\nok").await;
    assert_eq!(server.read_to_end().await, "");
    assert_eq!(start.elapsed().as_secs(), 2 * MAX_SILENCE.as_secs() - 1);
}

/// A connection that waits for its answer is not idle, however long the prefill takes.
#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_us_has_all_the_time() {
    let mut server = Server::start().await;
    server.get("/silent").await;
    server.read_until("\r\n\r\n").await;
    tokio::select! {
        () = server.dropped.notified() => panic!("the request was dropped"),
        () = sleep(10 * MAX_SILENCE) => {}
    }
}

/// A reader that has stopped for good would hold its blocks until the end of a long answer.
#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_dropped_with_its_request() {
    let mut server = Server::start().await;
    SockRef::from(&server.client).set_recv_buffer_size(4096).unwrap();
    let start = Instant::now();
    server.get("/flood").await;
    server.dropped.notified().await;
    assert!(start.elapsed() >= MAX_SILENCE, "{:?}", start.elapsed());
    assert!(start.elapsed() < 2 * MAX_SILENCE, "{:?}", start.elapsed());
}

/// `nc -N` and simple scripts close their side behind the request, and still listen.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_client_that_has_only_said_that_its_request_is_complete_gets_its_answer() {
    let mut server = Server::start().await;
    server.get("/slow").await;
    server.client.shutdown().await.unwrap();
    let answer = server.read_to_end().await;
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    assert!(answer.starts_with(interim), "{answer}");
    assert!(answer.trim_start_matches(interim).starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ndone"), "{answer}");
}

/// A stream to such a client probes with a comment.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_for_a_client_that_has_closed_its_side() {
    let mut server = Server::start().await;
    server.get("/silent").await;
    server.read_until("\r\n\r\n").await;
    server.client.shutdown().await.unwrap();
    assert_eq!(server.read_until(":\n\n\r\n").await, "3\r\n:\n\n\r\n");
    tokio::select! {
        () = server.dropped.notified() => panic!("the request was dropped"),
        () = sleep(Duration::from_secs(600)) => {}
    }
}

/// The last packet of a client that has left looks like that of one that still listens.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_client_that_has_gone_is_noticed_before_anything_is_generated() {
    for (path, version) in [("/whole", "1.1"), ("/whole", "1.0"), ("/silent", "1.1")] {
        let mut server = Server::start().await;
        server.send(&format!("GET {path} HTTP/{version}\r\nhost: t\r\n\r\n")).await;
        if path == "/silent" {
            server.read_until("\r\n\r\n").await;
        }
        let start = Instant::now();
        drop(server.client);
        server.dropped.notified().await;
        assert!(start.elapsed() < Duration::from_secs(1), "{path} {version}: {:?}", start.elapsed());
    }
}

/// An early refusal of an upload must arrive: a reset at its heels would discard it. The clock is
/// the real one: megabytes wait for the system between two reads.
#[tokio::test]
async fn the_answer_to_a_body_that_nobody_reads_arrives() {
    let mut server = Server::start().await;
    server.send("POST /refuse HTTP/1.1\r\nhost: t\r\ncontent-length: 8000000\r\n\r\n").await;
    let (mut reader, mut writer) = server.client.split();
    let sending = async {
        let _ = writer.write_all(&vec![b'x'; 8_000_000]).await;
    };
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(sending, reader.read_to_end(&mut answer));
    read.unwrap();
    assert!(String::from_utf8(answer).unwrap().ends_with("\r\n\r\nrefused"));
}
