//! The requests that a scripted server received, for tests of its clients.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header, request};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;

/// Maximum requests kept, and bytes of their bodies: a client under load must not fill its test's
/// memory.
const MAX_REQUESTS: usize = 1000;
const MAX_BODY_BYTES: usize = 64 << 20;

/// Replaces secrets: many people read test reports.
const SECRET: &str = "***";

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// `GET`, `POST` …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names, in small letters, and values; of keys and cookies only that they were there.
    pub headers: Vec<(String, String)>,
    /// The part of the body that was read; empty if the request was refused before.
    pub body: Vec<u8>,
}

/// The last requests, in the order in which they came.
#[derive(Debug, Default)]
pub struct RequestLog(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    requests: VecDeque<Received>,
    num_forgotten: usize,
    num_body_bytes: usize,
}

impl RequestLog {
    /// Returns the kept requests.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.lock().requests.iter().cloned().collect()
    }

    /// Adds a request whose body has not been read; returns its number.
    fn begin(&self, head: &request::Parts) -> usize {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let headers = shown(&head.headers);
        let mut entries = self.lock();
        entries.requests.push_back(Received {
            method: head.method.to_string(),
            path,
            headers,
            body: Vec::new(),
        });
        entries.forget();
        entries.num_forgotten + entries.requests.len() - 1
    }

    /// Adds a piece of the body of the request with this number.
    fn add(&self, number: usize, piece: &[u8]) {
        let mut entries = self.lock();
        let index = number.checked_sub(entries.num_forgotten);
        if let Some(request) = index.and_then(|index| entries.requests.get_mut(index)) {
            request.body.extend_from_slice(piece);
            entries.num_body_bytes += piece.len();
            entries.forget();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn forget(&mut self) {
        while self.requests.len() > MAX_REQUESTS || self.num_body_bytes > MAX_BODY_BYTES {
            let Some(oldest) = self.requests.pop_front() else { return };
            self.num_forgotten += 1;
            self.num_body_bytes -= oldest.body.len();
        }
    }
}

fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = |(name, value): (&HeaderName, &header::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        let value = match name.as_str() {
            "authorization" | "proxy-authorization" => match value.split_once(' ') {
                Some((scheme, _)) => format!("{scheme} {SECRET}"),
                None => SECRET.to_owned(),
            },
            "x-api-key" | "api-key" | "cookie" => SECRET.to_owned(),
            _ => value.into_owned(),
        };
        (name.to_string(), value)
    };
    headers.iter().map(shown).collect()
}

/// Keeps each request, and its body as it is read.
pub async fn record(State(log): State<Arc<RequestLog>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let number = log.begin(&head);
    let body = body.map_frame(move |frame| {
        if let Some(piece) = frame.data_ref() {
            log.add(number, piece);
        }
        frame
    });
    next.run(Request::from_parts(head, Body::new(body))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(path: &str) -> request::Parts {
        let request = Request::post(path)
            .header("authorization", "Bearer sk-1")
            .header("X-Api-Key", "sk-1")
            .header("accept", "a")
            .header("accept", "b");
        request.body(()).expect("the head of a test is right").into_parts().0
    }

    /// A key in the report of a test that failed is a key that is known.
    #[test]
    fn secrets_are_not_kept() {
        let log = RequestLog::default();
        log.begin(&head("/v1/x?a=1"));
        let [received] = &*log.requests() else { panic!("there was one") };
        assert_eq!((&*received.method, &*received.path), ("POST", "/v1/x?a=1"));
        let headers: Vec<_> =
            received.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(headers, ["authorization: Bearer ***", "x-api-key: ***", "accept: a", "accept: b"]);
    }

    /// A load test must not end for want of memory, and what it kept must be the last requests with
    /// their own bodies.
    #[test]
    fn only_the_last_requests_are_kept() {
        let log = RequestLog::default();
        let numbers: Vec<_> =
            (0..=MAX_REQUESTS).map(|index| log.begin(&head(&format!("/{index}")))).collect();
        for number in &numbers {
            log.add(*number, format!("{number}").as_bytes());
        }
        let kept = log.requests();
        assert_eq!((kept.len(), &*kept[0].path, &*kept[0].body), (MAX_REQUESTS, "/1", &b"1"[..]));
        log.add(numbers[5], &vec![0; MAX_BODY_BYTES]);
        assert_eq!(log.requests().first().map(|request| request.path.clone()), Some("/6".to_owned()));
    }
}
