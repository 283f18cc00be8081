//! Pages of other origins: none may read an answer unless its origin is allowed.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;

/// Headers that a page may read beside the usual ones.
const EXPOSED: &str = "x-request-id, request-id, openai-processing-ms, retry-after";
const METHODS: &str = "GET, POST";
/// How long a browser may cache the answer, in seconds; browsers allow no more.
const MAX_AGE_S: &str = "7200";

/// Answers the question that a browser asks before a request, and marks answers that pages may
/// read.
pub async fn cors(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.access.allowed_origins.is_empty() {
        return next.run(request).await;
    }
    let allowed = allowed_origin(&app.access.allowed_origins, request.headers());
    let asked = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asked && request.method() == Method::OPTIONS {
        preflight(allowed.is_some(), request.headers())
    } else {
        next.run(request).await
    };
    // Caches must not give the answer for one origin to another.
    response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response
            .headers_mut()
            .insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
    response
}

/// Returns whether a page whose origin is not allowed has sent this. A browser lets any page send
/// what forms could always send, and a body without a type is among that: such a page cannot read
/// the answer, but it could make this server work.
pub fn is_of_foreign_page(allowed: &[String], headers: &HeaderMap) -> bool {
    let is_cross_site = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    allowed_origin(allowed, headers).is_none() && (is_cross_site || headers.contains_key(header::ORIGIN))
}

fn allowed_origin(allowed: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    if allowed.iter().any(|origin| origin == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let origin = headers.get(header::ORIGIN)?;
    allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// Answers a preflight, which carries no key, before keys are checked.
fn preflight(is_allowed: bool, asked: &HeaderMap) -> Response {
    let mut headers = HeaderMap::new();
    if is_allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_S));
        // SDKs send a dozen headers of their own.
        if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
    }
    (StatusCode::NO_CONTENT, headers).into_response()
}
