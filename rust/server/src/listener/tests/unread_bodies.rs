//! Answers that come before their bodies, on a connection that goes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::app::tests::app_for;
use crate::app::{Access, App};
use crate::driver::DriverLimits;
use crate::listener::unread_body::MAX_DRAIN_TIME;
use crate::listener::{bind, serve};
use crate::routes::router;

/// The real routes, on a port of their own.
pub(super) struct Served {
    pub(super) app: Arc<App>,
    address: SocketAddr,
    _is_closing: watch::Sender<bool>,
}

impl Served {
    pub(super) fn start(access: Access) -> Self {
        Self::with_routes(access, |router| router)
    }

    pub(super) fn with_routes(access: Access, more: impl Fn(Router) -> Router) -> Self {
        let app = app_for(access, DriverLimits::default());
        let listener = bind("127.0.0.1", 0).unwrap();
        let address = listener.address().unwrap();
        let (is_closing, closing) = watch::channel(false);
        let router = more(router(Arc::clone(&app)));
        tokio::spawn(serve(listener.listen().unwrap(), router, Arc::clone(app.driver.ledger()), closing));
        Self { app, address, _is_closing: is_closing }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Up to the end of the next answer; `None` if the connection ends before.
async fn read_answer(client: &mut (impl AsyncRead + Unpin), has_body: bool) -> Option<String> {
    let mut read = String::new();
    while !read.ends_with("\r\n\r\n") {
        read.push(char::from(client.read_u8().await.ok()?));
    }
    read.make_ascii_lowercase();
    let len = read.lines().find_map(|line| line.strip_prefix("content-length: "));
    if let Some(len) = len.filter(|_| has_body) {
        client.read_exact(&mut vec![0; len.parse().unwrap()]).await.ok()?;
    }
    Some(read)
}

/// Returns how the head announces a body, and the body.
fn bodies() -> [(&'static str, Vec<u8>); 4] {
    [
        ("content-length: 5", b"{\"a\":".to_vec()),
        ("content-length: 200000", vec![b'x'; 200_000]),
        ("content-length: 17000000", vec![b'x'; 17_000_000]),
        ("transfer-encoding: chunked", b"5\r\n{\"a\":\r\n0\r\n\r\n".to_vec()),
    ]
}

/// Sends a head, its body a little later, and then the next request: true if that was answered,
/// false if the end was announced.
async fn goes_on(served: &Served, head: &str, body: &[u8], status: u16) -> bool {
    let mut client = served.connect().await;
    client.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    sleep(Duration::from_millis(2)).await;
    // It may be refused on the way.
    let (mut reader, mut writer) = client.split();
    let sent = async {
        let _ = writer.write_all(body).await;
        let _ = writer.write_all(b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n").await;
    };
    let has_body = !head.starts_with("HEAD") && !matches!(status, 204 | 304);
    let ((), first) = tokio::join!(sent, read_answer(&mut reader, has_body));
    let first = first.unwrap();
    assert!(first.starts_with(&format!("http/1.1 {status} ")), "{head}: {first}");
    if first.contains("\r\nconnection: close\r\n") {
        return false;
    }
    let next = read_answer(&mut client, true).await;
    assert!(
        next.as_deref().is_some_and(|next| next.starts_with("http/1.1 200 ")),
        "{head}: the next request was lost without a word: {next:?}"
    );
    true
}

/// A pool takes a connection for usable when its last answer does not say otherwise: the request
/// that it sends next is lost, and a client without retries shows that to its user.
#[tokio::test(start_paused = true)]
async fn a_next_request_is_answered_or_the_end_was_announced_whatever_the_status() {
    let any_status = |router: Router| {
        (200..600).filter(|status| !matches!(status, 205)).fold(router, |router, status| {
            let answer = move || async move { StatusCode::from_u16(status).unwrap() };
            router.route(&format!("/status/{status}"), any(answer))
        })
    };
    let served = Served::with_routes(Access::default(), any_status);
    for status in (200..600).filter(|status| !matches!(status, 205)) {
        for (length, body) in bodies() {
            // Megabytes take their time; they are announced, so no status differs from another.
            if body.len() > 1_000_000 && status % 50 != 0 {
                continue;
            }
            let head = format!("POST /status/{status} HTTP/1.1\r\nhost: t\r\n{length}");
            let goes_on = goes_on(&served, &head, &body, status).await;
            let is_short = length.starts_with("content") && body.len() < 256 << 10;
            assert_eq!(goes_on, is_short, "{status} {length}");
        }
    }
}

/// The same for each answer that the server gives by itself before it has read a body.
#[tokio::test(start_paused = true)]
async fn a_next_request_is_answered_or_the_end_was_announced_by_every_early_answer() {
    let (key, json) = ("x-api-key: key", "content-type: application/json");
    let keys = Access {
        api_keys: vec!["key".to_owned()],
        allowed_origins: vec!["https://a.example".to_owned()],
        is_local: true,
        ..Access::default()
    };
    let (guarded, local) =
        (Served::start(keys), Served::start(Access { is_local: true, ..Access::default() }));
    let chat = "POST /v1/chat/completions HTTP/1.1\r\nhost: t";
    let cases = [
        (&guarded, format!("{chat}\r\n{json}"), 401),
        (&guarded, format!("{chat}\r\n{json}\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c"), 401),
        (&guarded, format!("{chat}\r\n{key}\r\ncontent-type: text/plain"), 415),
        (&guarded, format!("{chat}\r\n{key}\r\n{json}\r\ncontent-encoding: br"), 415),
        (&guarded, format!("POST /v1/nothing HTTP/1.1\r\nhost: t\r\n{key}"), 404),
        (&guarded, format!("PUT /v1/chat/completions HTTP/1.1\r\nhost: t\r\n{key}"), 405),
        (&guarded, "DELETE /health HTTP/1.1\r\nhost: t".to_owned(), 405),
        (&guarded, "GET /health HTTP/1.1\r\nhost: t".to_owned(), 200),
        (&guarded, "HEAD /ready HTTP/1.1\r\nhost: t".to_owned(), 200),
        (&guarded, format!("GET /v1/models HTTP/1.1\r\nhost: t\r\n{key}"), 200),
        (
            &guarded,
            "OPTIONS /v1/models HTTP/1.1\r\nhost: t\r\norigin: https://a.example\r\naccess-control-request-method: GET"
                .to_owned(),
            204,
        ),
        (&local, "POST /tokenize HTTP/1.1\r\nhost: evil.example".to_owned(), 403),
        (&local, "POST /tokenize HTTP/1.1\r\nhost: t\r\nhost: u".to_owned(), 400),
    ];
    for (served, head, status) in cases {
        for (length, body) in bodies() {
            let goes_on = goes_on(served, &format!("{head}\r\n{length}"), &body, status).await;
            let is_short = length.starts_with("content") && body.len() < 256 << 10;
            assert_eq!(goes_on, is_short && status != 400, "{head} {length}");
        }
    }
    let head = format!("{chat}\r\n{key}\r\n{json}\r\ncontent-length: 17000000");
    assert!(!goes_on(&guarded, &head, &[b'x'; 17_000_000], 413).await);
}

/// A body that was announced and never comes must not keep its client from the answer.
#[tokio::test(start_paused = true)]
async fn a_short_body_is_waited_for_only_for_a_moment() {
    let served = Served::start(Access::default());
    let mut client = served.connect().await;
    let start = Instant::now();
    client.write_all(b"POST /v1/nothing HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\n\r\n{").await.unwrap();
    let answer = read_answer(&mut client, true).await.unwrap();
    assert!(answer.starts_with("http/1.1 404 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(start.elapsed(), MAX_DRAIN_TIME);
}

/// `curl` asks before it sends a large body: a `100 Continue` before a refusal costs it the whole
/// upload.
#[tokio::test(start_paused = true)]
async fn a_client_that_asks_before_it_sends_is_refused_at_once() {
    let served = Served::start(Access::default());
    let mut client = served.connect().await;
    let start = Instant::now();
    let head = "POST /v1/nothing HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let answer = timeout(MAX_DRAIN_TIME, read_answer(&mut client, true)).await.unwrap().unwrap();
    assert!(answer.starts_with("http/1.1 404 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(start.elapsed().as_millis(), 0);
}
