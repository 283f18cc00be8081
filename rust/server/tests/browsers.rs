//! Pages in browsers: whose scripts may read an answer.
#![allow(clippy::unwrap_used)]

mod common;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use common::{Stage, get, post};
use streamcore_server::Access;

const PAGE: &str = "https://chat.example";
const CHAT: &str = "/v1/chat/completions";

fn from_page(mut request: Request<Body>, origin: &str) -> Request<Body> {
    request.headers_mut().insert("origin", origin.parse().unwrap());
    request
}

fn preflight(origin: &str) -> Request<Body> {
    let request = Request::options(CHAT)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-stainless-os");
    from_page(request.body(Body::empty()).unwrap(), origin)
}

fn allowed(head: &Response<()>) -> Option<&str> {
    Some(head.headers().get("access-control-allow-origin")?.to_str().unwrap())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().unwrap()
}

/// A model on localhost must not be a toy for every page that its user happens to visit.
#[tokio::test]
async fn no_page_may_read_anything_unless_it_is_allowed() {
    let stage = Stage::new("");
    let (head, _) = stage.answer(from_page(get("/v1/models"), PAGE)).await;
    assert!(head.status() == 200 && allowed(&head).is_none() && !head.headers().contains_key("vary"));
    let (head, _) = stage.answer(preflight(PAGE)).await;
    assert!(head.status() == 405 && allowed(&head).is_none());
}

/// What a page may send without being asked for it first must not make a model on localhost work.
#[tokio::test]
async fn a_page_that_may_not_ask_must_at_least_say_that_it_sends_json() {
    let stage = Stage::with_origins(&[PAGE]);
    let untyped = |origin: Option<&str>, site: &str| {
        let mut request = post("/tokenize", r#"{"prompt": "a"}"#);
        let headers = request.headers_mut();
        headers.remove("content-type");
        headers.insert("authorization", "Bearer key".parse().unwrap());
        headers.insert("sec-fetch-site", site.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().unwrap());
        }
        request
    };
    for (origin, site, status) in [
        (None, "cross-site", 415),
        (None, "none", 200),
        (Some("null"), "cross-site", 415),
        (Some("http://localhost:3000"), "same-site", 415),
        (Some(PAGE), "cross-site", 200),
    ] {
        let (head, body) = stage.answer(untyped(origin, site)).await;
        assert_eq!(head.status(), status, "{origin:?} {site}: {body}");
    }
}

/// A browser asks before it sends a key, and shows a page nothing of an answer that is not marked:
/// errors too.
#[tokio::test]
async fn an_allowed_page_may_ask_and_read() {
    let stage = Stage::with_origins(&["https://other.example", PAGE]);
    let (head, _) = stage.answer(preflight(PAGE)).await;
    assert_eq!(head.status(), 204);
    assert_eq!(allowed(&head), Some(PAGE));
    assert_eq!(text(head.headers(), "access-control-allow-methods"), "GET, POST");
    assert_eq!(
        text(head.headers(), "access-control-allow-headers"),
        "authorization,content-type,x-stainless-os"
    );
    let (head, _) = stage.answer(from_page(post(CHAT, "{}"), PAGE)).await;
    assert_eq!(head.status(), 401, "the question needs no key, the request does");
    assert_eq!(allowed(&head), Some(PAGE));
    assert_eq!(text(head.headers(), "vary"), "origin");
    assert!(text(head.headers(), "access-control-expose-headers").contains("x-request-id"));
}

/// One page that is allowed must not let in the others.
#[tokio::test]
async fn other_pages_are_not_allowed_by_it() {
    let stage = Stage::with_origins(&[PAGE]);
    for origin in ["https://evil.example", "https://chat.example.evil.example", "null", ""] {
        let (head, _) = stage.answer(preflight(origin)).await;
        assert!(allowed(&head).is_none(), "{origin}");
        assert!(!head.headers().contains_key("access-control-allow-methods"), "{origin}");
        let (head, _) = stage.answer(from_page(get("/health"), origin)).await;
        assert!(head.status() == 200 && allowed(&head).is_none(), "{origin}");
    }
    let everybody = Stage::with_origins(&["*"]);
    let (head, _) = everybody.answer(from_page(get("/health"), "https://evil.example")).await;
    assert_eq!(allowed(&head), Some("*"));
}

/// A page whose name suddenly points at this machine has the server's origin: to the browser there
/// is nothing to forbid, and what the user's model says, or computes, would be the page's. A
/// program on this machine must be let in by any name that it knows.
#[tokio::test]
async fn a_name_that_somebody_else_may_own_leads_nowhere() {
    let status = async |access: &Access, host: &str, path: &str| {
        let mut request = get(path);
        request.headers_mut().insert("host", host.parse().unwrap());
        Stage::with_access(access).answer(request).await
    };
    let mut access =
        Access { is_local: true, allowed_origins: vec![format!("{PAGE}:8443")], ..Access::default() };
    for (host, expected) in [
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("LOCALHOST", 200),
        ("box:8000", 200),
        ("app.localhost", 200),
        ("mac.local:8000", 200),
        ("host.docker.internal:8000", 200),
        ("chat.example", 200),
        ("evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example.", 403),
        ("evil example", 403),
    ] {
        let (head, body) = status(&access, host, "/v1/models").await;
        assert_eq!(head.status(), expected, "{host}: {body}");
        assert_eq!(body.contains("\"code\":\"foreign_host\""), expected == 403, "{host}: {body}");
    }
    let (_, body) = status(&access, "Chat.evil.example:8000", "/v1/models").await;
    assert!(body.contains("`Host` is `chat.evil.example`") && body.contains("--api-key"), "{body}");
    let (head, _) = status(&access, "evil.example", "/health").await;
    assert_eq!(head.status(), 200, "a probe learns nothing");
    access.is_local = false;
    assert_eq!(
        status(&access, "evil.example", "/v1/models").await.0.status(),
        200,
        "a name may be the server's own"
    );
    access = Access { is_local: true, api_keys: vec!["key".to_owned()], ..Access::default() };
    assert_eq!(status(&access, "evil.example", "/v1/models").await.0.status(), 401, "the page has no key");
}
