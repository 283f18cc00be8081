//! The second door, as an ASGI server uses it: what it must not do to memory, to the engine, to a
//! client.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::routing::get;
use bytes::Bytes;
use common::door::{Bell, Call};
use common::model::{VOCAB_SIZE, text_model};
use common::{Runner, Stage};
use futures_util::stream;
use serde_json::json;
use streamcore_engine::EngineConfig;
use streamcore_server::door::{Exchange, Part, RequestHead};
use streamcore_server::{Access, DriverLimits, NextStep, Server, ServerConfig};

fn chat_body() -> Bytes {
    let body = json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }], "stream": true });
    body.to_string().into()
}

const CHAT: RequestHead<'_> =
    RequestHead { method: b"POST", prefix: "", target: b"/v1/chat/completions", headers: Vec::new() };

/// Returns a server without sockets.
fn start(max_num_seqs: usize) -> Server {
    let config = ServerConfig {
        naming: common::naming(),
        access: Access::default(),
        vocab_size: VOCAB_SIZE,
        engine: EngineConfig { num_blocks: 1 << 10, max_num_seqs, ..common::engine_config() },
        limits: DriverLimits { max_waiting_requests: 1 << 10, ..common::limits() },
        script: None,
    };
    Server::start(None, text_model(), config).unwrap()
}

fn post(path: &str) -> Request<()> {
    Request::post(path).body(()).unwrap()
}

/// Returns a chat whose headers have been taken.
fn open_chat(stage: &Stage) -> Call {
    let mut call = Call::open(stage.router.clone(), &post("/v1/chat/completions"));
    call.exchange.resume();
    assert!(matches!(*call.parts(), [Part::BodyWanted]));
    call.exchange.feed(chat_body(), true);
    assert!(matches!(&*call.parts(), [Part::Head(head)] if head.status == StatusCode::OK));
    call
}

fn text_of(parts: &[Part]) -> String {
    let data = parts.iter().map(|part| match part {
        Part::Data { data, .. } => data.to_vec(),
        other => panic!("{other:?}"),
    });
    String::from_utf8(data.collect::<Vec<_>>().concat()).unwrap()
}

/// A client that leaves must give back its blocks at once, in whatever phase it leaves.
#[tokio::test(start_paused = true)]
async fn closing_aborts() {
    for num_steps in [0, 1, 3] {
        let mut stage = Stage::new("Hello, world");
        let mut call = open_chat(&stage);
        stage.run(num_steps);
        call.exchange.resume();
        assert_eq!(call.parts().len(), usize::from(num_steps > 0));
        assert!(!stage.is_clean());
        call.exchange.close();
        assert!(matches!(*call.parts(), [Part::Lost]), "no client must wait for the rest");
        stage.run(1);
        assert!(stage.is_clean(), "after {num_steps} steps");
        let page = stage.runner.driver.render_metrics("toy");
        assert!(page.contains("streamcore_requests_total{finish_reason=\"abort\"} 1"), "{page}");
    }
}

/// The same for a handle that is simply forgotten, be it by a task that was cancelled.
#[tokio::test(start_paused = true)]
async fn forgetting_an_exchange_closes_it() {
    let mut stage = Stage::new("Hello, world");
    let Call { exchange, mut bell, .. } = open_chat(&stage);
    stage.run(2);
    drop(exchange);
    stage.run(1);
    assert!(stage.is_clean());
    assert!(matches!(*bell.wait(), [(7, Part::Lost)]));
}

/// A reader that does not read must cost what its text costs, not an event in memory for each
/// token.
#[tokio::test(start_paused = true)]
async fn nothing_is_made_that_was_not_asked_for() {
    let mut stage = Stage::new("a".repeat(40));
    let mut call = open_chat(&stage);
    stage.run(2);
    assert!(call.parts().is_empty(), "not even the first event");
    call.exchange.resume();
    assert_eq!(text_of(&call.parts()).matches("\"content\":\"aa\"").count(), 1);
    stage.run(30);
    for _ in 0..3 {
        assert!(call.parts().is_empty());
    }
    call.exchange.resume();
    let merged = text_of(&call.parts());
    assert_eq!(merged.matches("data: ").count(), 1, "{merged}");
    assert!(merged.contains(&"a".repeat(30)));
}

/// A body of gigabytes must be refused before it is read, and one that no route needs must not be
/// asked for.
#[tokio::test(start_paused = true)]
async fn a_body_is_wanted_only_when_it_is_read() {
    let stage = Stage::new("");
    let too_large = Request::post("/v1/completions").header("content-length", "99999999999");
    for (request, status) in [
        (too_large.body(()).unwrap(), StatusCode::PAYLOAD_TOO_LARGE),
        (post("/nowhere"), StatusCode::NOT_FOUND),
        (post("/v1/models"), StatusCode::METHOD_NOT_ALLOWED),
        (Request::get("/v1/models").body(()).unwrap(), StatusCode::OK),
    ] {
        let mut call = Call::open(stage.router.clone(), &request);
        call.exchange.resume();
        assert!(matches!(&*call.parts(), [Part::Head(head)] if head.status == status), "{request:?}");
        call.exchange.resume();
        assert!(
            matches!(*call.parts(), [Part::Data { is_last: true, .. }]),
            "one piece, and its end is known"
        );
    }
}

/// A body without a length is read piece by piece, and no further than its limit.
#[tokio::test(start_paused = true)]
async fn a_body_without_end_is_refused_at_the_limit() {
    let stage = Stage::new("");
    let mut call = Call::open(stage.router.clone(), &post("/v1/completions"));
    call.exchange.resume();
    let mut num_pieces = 0;
    loop {
        match &*call.parts() {
            [Part::BodyWanted] => call.exchange.feed(vec![b' '; 1 << 20].into(), false),
            [Part::Head(head)] => break assert_eq!(head.status, StatusCode::PAYLOAD_TOO_LARGE),
            other => panic!("{other:?}"),
        }
        num_pieces += 1;
    }
    assert_eq!(num_pieces, 17, "16 MiB, and the piece that is too much");
}

/// The connection is the caller's: over HTTP/2 an answer that speaks of it is an error of protocol.
#[tokio::test(start_paused = true)]
async fn an_answer_says_nothing_of_the_connection() {
    let stage = Stage::new("");
    stage.runner.driver.drain(Duration::from_secs(1));
    let body = r#"{"model":"toy","prompt":"a"}"#;
    let mut request = post("/v1/completions");
    let (name, value) = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.headers_mut().insert(name, value);
    let mut call = Call::open(stage.router.clone(), &request);
    call.exchange.resume();
    assert!(matches!(*call.parts(), [Part::BodyWanted]));
    call.exchange.feed(Bytes::from_static(body.as_bytes()), true);
    let parts = call.parts();
    let [Part::Head(head)] = &*parts else { panic!("{parts:?}") };
    assert_eq!(head.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(head.headers.contains_key("retry-after") && !head.headers.contains_key("connection"), "{head:?}");
}

/// An answer that breaks off must not look complete: half of its JSON would be taken for the
/// answer.
#[tokio::test]
async fn what_breaks_off_is_lost() {
    async fn panics() {
        panic!("this panic is part of a test");
    }
    async fn breaks() -> Body {
        Body::from_stream(stream::iter([Ok("half"), Err(io::Error::other("cut"))]))
    }
    let router = Router::new().route("/panics", get(panics)).route("/breaks", get(breaks));
    for (path, num_parts) in [("/panics", 0), ("/breaks", 2)] {
        let mut bell = Bell::new();
        let head = RequestHead { method: b"GET", prefix: "", target: path.as_bytes(), headers: Vec::new() };
        let (exchange, task) = Exchange::open(router.clone(), &head, &bell.bell, 3);
        let task = tokio::spawn(task);
        let mut parts = Vec::new();
        while !matches!(parts.last(), Some((3, Part::Lost))) {
            exchange.resume();
            tokio::task::yield_now().await;
            parts.extend(bell.bell.take());
        }
        assert_eq!(parts.len(), num_parts + 1, "{parts:?}");
        assert_eq!(task.await.is_err(), path == "/panics");
        drop(bell.wait());
    }
}

/// A server that goes away under an open request must not leave its client waiting for ever.
#[tokio::test(start_paused = true)]
async fn a_task_that_is_dropped_is_told() {
    let stage = Stage::new("Hello");
    let mut call = open_chat(&stage);
    call.drop_task();
    assert!(matches!(*call.parts(), [Part::Lost]));
}

/// What the routes never see must still be answered, and in the shape that clients can read.
#[tokio::test]
async fn a_head_that_is_no_head_is_a_400() {
    let stage = Stage::new("");
    let good = RequestHead { method: b"GET", prefix: "", target: b"/v1/models", headers: Vec::new() };
    for (head, named) in [
        (RequestHead { method: b"G T", prefix: "", target: good.target, headers: Vec::new() }, "method"),
        (RequestHead { method: good.method, prefix: "", target: b"/a b", headers: Vec::new() }, "path"),
        (
            RequestHead {
                method: good.method,
                prefix: "",
                target: good.target,
                headers: vec![(b"a b", b"")],
            },
            "header name",
        ),
        (
            RequestHead {
                method: good.method,
                prefix: "",
                target: good.target,
                headers: vec![(b"a", b"\n")],
            },
            "a header of",
        ),
    ] {
        let bell = Bell::new();
        let (exchange, task) = Exchange::open(stage.router.clone(), &head, &bell.bell, 0);
        let task = tokio::spawn(task);
        for _ in 0..2 {
            exchange.resume();
            tokio::task::yield_now().await;
        }
        task.await.unwrap();
        let parts = bell.bell.take();
        let [(0, Part::Head(head)), (0, Part::Data { data, is_last: true })] = &*parts else {
            panic!("{parts:?}")
        };
        assert_eq!(head.status, StatusCode::BAD_REQUEST);
        assert!(head.headers.contains_key("x-request-id"), "{head:?}");
        let body = String::from_utf8_lossy(data);
        assert!(body.contains("\"code\":\"invalid_request\"") && body.contains(named), "{body}");
    }
    let page = stage.runner.driver.render_metrics("toy");
    assert!(page.contains("streamcore_http_responses_total{status=\"400\"} 4"), "{page}");
}

/// A thousand streams must wake the event loop once, not a thousand times: each wake-up costs it a
/// system call.
#[tokio::test(start_paused = true)]
async fn the_bell_rings_once_for_all_that_is_ready() {
    let stage = Stage::new("");
    let mut bell = Bell::new();
    let head = RequestHead { method: b"GET", prefix: "", target: b"/v1/models", headers: Vec::new() };
    let mut open = Vec::new();
    for number in 0..5 {
        let (exchange, task) = Exchange::open(stage.router.clone(), &head, &bell.bell, number);
        exchange.resume();
        tokio::spawn(task);
        open.push(exchange);
    }
    tokio::task::yield_now().await;
    assert_eq!(bell.wait().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    open[2].resume();
    tokio::task::yield_now().await;
    assert!(
        matches!(*bell.wait(), [(2, Part::Data { .. })]),
        "a second ring for the five would have been found here"
    );
}

/// With real threads on all sides: every one of many streams comes through whole, and none is left
/// behind.
#[test]
fn many_streams_share_one_bell() {
    const NUM_STREAMS: u64 = 200;
    let server = start(64);
    assert_eq!(server.address(), None);
    let mut runner = Runner::new(Arc::clone(server.driver()), b"the quick brown fox");
    let engine_thread =
        thread::spawn(move || while runner.step(Duration::from_secs(10)) != NextStep::Stopped {});
    let mut bell = Bell::new();
    let mut open: HashMap<u64, (Exchange, Vec<u8>)> = (0..NUM_STREAMS)
        .map(|number| (number, (server.open(&CHAT, &bell.bell, number), Vec::new())))
        .collect();
    open.values().for_each(|(exchange, _)| exchange.resume());
    while !open.is_empty() {
        for (number, part) in bell.wait() {
            let (exchange, body) = open.get_mut(&number).unwrap();
            match part {
                Part::BodyWanted => exchange.feed(chat_body(), true),
                Part::Head(_) => exchange.resume(),
                Part::Data { data, is_last: false } => {
                    body.extend(data);
                    exchange.resume();
                }
                Part::Data { is_last: true, .. } => {
                    assert!(body.ends_with(b"data: [DONE]\n\n"));
                    open.remove(&number);
                }
                Part::Lost => panic!("stream {number} was lost"),
            }
        }
    }
    server.drain(Duration::ZERO);
    engine_thread.join().unwrap();
    let stats = server.driver().stats();
    assert_eq!((stats.num_running, stats.num_free_blocks), (0, stats.num_blocks));
    server.shutdown();
}

/// An answer that is complete when the server stops must still reach its reader.
#[test]
fn the_end_of_the_server_waits_for_its_readers() {
    let server = start(1);
    let mut runner = Runner::new(Arc::clone(server.driver()), b"Hello");
    let mut bell = Bell::new();
    let exchange = server.open(&CHAT, &bell.bell, 0);
    exchange.resume();
    assert!(matches!(*bell.wait(), [(0, Part::BodyWanted)]));
    exchange.feed(chat_body(), true);
    assert!(matches!(*bell.wait(), [(0, Part::Head(_))]));
    server.drain(Duration::from_secs(600));
    while runner.step(Duration::from_secs(10)) != NextStep::Stopped {}
    let end = thread::spawn(move || server.shutdown());
    exchange.resume();
    let parts = bell.wait();
    assert!(
        matches!(&*parts, [(0, Part::Data { data, .. })] if data.ends_with(b"data: [DONE]\n\n")),
        "{parts:?}"
    );
    exchange.resume();
    assert!(matches!(*bell.wait(), [(0, Part::Data { is_last: true, .. })]));
    end.join().unwrap();
}
