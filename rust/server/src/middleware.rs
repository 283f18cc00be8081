//! Headers of every answer, and access to the server.

mod access_log;
mod cors;
mod host;
mod unwritten;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tower::ServiceExt;

use self::access_log::Line;
pub use self::cors::{cors, is_of_foreign_page};
use self::host::check_host;
use crate::anthropic;
use crate::app::App;
use crate::error::ApiError;
use crate::generation::random;
use crate::metrics::Account;
use crate::sse;

const X_REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID_LEN: usize = 64;

/// The name of a request, in its headers and in the `id` of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestName(pub String);

/// The number of a request's API key, from 1; 0 if the server has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiKeyNumber(pub u32);

/// The listener's error for a request.
#[derive(Debug, Clone)]
struct Fault(ApiError);

/// Creates a request whose head has not been or cannot be read: the log shows it as `- *`.
pub fn unread(body: Body) -> Request {
    Request::builder().method("-").uri("*").body(body).expect("both are tokens of HTTP")
}

/// Runs the router. If the listener found a fault, `tag` answers with it before any route.
pub async fn answer(router: Router, mut request: Request, checked: Result<(), ApiError>) -> Response {
    if let Err(error) = checked {
        request.extensions_mut().insert(Fault(error));
    }
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// Returns the error that a request is to be refused with before any route sees it.
pub fn take_fault(request: &mut Request) -> Option<ApiError> {
    request.extensions_mut().remove().map(|Fault(error)| error)
}

/// Gives the request its id, and whole answers a header with their duration.
pub async fn tag(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let name = name_of(request.headers());
    request.extensions_mut().insert(RequestName(name.clone()));
    let account = Arc::new(Account::default());
    let method = request.method().clone();
    let is_anthropic = anthropic::error::is_asked(request.uri().path(), request.headers());
    let line = Line::new(app, name, method, request.uri().path(), Arc::clone(&account));
    let answer = async {
        match take_fault(&mut request) {
            Some(error) => error.into_response(),
            None => next.run(request).await,
        }
    };
    // The panic hook logged the place; the client gets an answer, and its connection's other
    // requests go on.
    let answered = AssertUnwindSafe(account.scope(answer)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| ApiError::Internal.into_response());
    if is_anthropic {
        response = anthropic::error::translate(response, &line.name);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&line.name) {
        headers.insert(X_REQUEST_ID, value);
    }
    if !sse::is_stream(headers) {
        let elapsed = line.elapsed();
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        headers.insert("openai-processing-ms", HeaderValue::from(elapsed_ms));
    }
    line.end_with(response)
}

/// Passes a request on if it carries a valid API key (or none is configured) and its `Host` is
/// ours.
///
/// # Errors
/// 401, 403.
pub async fn authorize(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    check_host(&app.access, &request)?;
    let number = key_number(request.headers(), &app.access.api_keys);
    if app.access.api_keys.is_empty() || number > 0 {
        request.extensions_mut().insert(ApiKeyNumber(number));
        Account::current().set_key(number);
        return Ok(next.run(request).await);
    }
    Err(ApiError::ApiKey)
}

/// Returns the number of the key in either header, from 1; 0 if none. Compares every byte of every
/// key of the right length, so that the time reveals nothing.
fn key_number(headers: &HeaderMap, keys: &[String]) -> u32 {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| bearer_of(value.as_bytes()));
    let x_api_key = headers.get("x-api-key").map(HeaderValue::as_bytes);
    let mut found = 0;
    for given in bearer.into_iter().chain(x_api_key) {
        for (number, key) in (1..).zip(keys) {
            found.conditional_assign(&number, key.as_bytes().ct_eq(given));
        }
    }
    found
}

/// Returns the text behind the scheme, which is case-insensitive.
fn bearer_of(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii_start())
}

/// Returns the client's own name for the request, if it is harmless in a header and in a log.
fn name_of(headers: &HeaderMap) -> String {
    let is_harmless = |name: &&str| {
        (1..=MAX_REQUEST_ID_LEN).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let own = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_harmless);
    own.map_or_else(|| format!("{:016x}{:016x}", random(), random()), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(own: &'static str) -> String {
        name_of(&HeaderMap::from_iter([(
            header::HeaderName::from_static(X_REQUEST_ID),
            HeaderValue::from_static(own),
        )]))
    }

    /// Two customers whose keys are taken for one share what is meant for each.
    #[test]
    fn every_key_has_its_own_number() {
        let keys = ["first", "other"].map(str::to_owned);
        let number =
            |name, value| key_number(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]), &keys);
        let x_api_key = header::HeaderName::from_static("x-api-key");
        assert_eq!(number(header::AUTHORIZATION, "Bearer first"), 1);
        assert_eq!(number(x_api_key.clone(), "other"), 2);
        assert_eq!(number(x_api_key, "third"), 0);
    }

    /// A client's id ties its log to ours; one with a line break or a kilobyte in it would write
    /// our log instead.
    #[test]
    fn a_harmless_name_is_kept_and_any_other_replaced() {
        assert_eq!(named("a.B_c-9"), "a.B_c-9");
        let too_long: &'static str =
            concat!("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        for bad in ["", "a b", "a\tb", "{}", too_long] {
            let name = named(bad);
            assert_ne!(name, bad);
            assert_eq!(name.len(), 32);
        }
        assert_ne!(named(""), named(""), "two requests never share a made-up name");
    }
}
