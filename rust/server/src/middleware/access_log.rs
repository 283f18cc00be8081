//! One line of log for each request, once its last byte is handed over or its client has left. It
//! contains no content.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::unwritten::{charge_whole, charged};
use crate::app::App;
use crate::ledger::Charge;
use crate::metrics::{AbortPhase, Account};
use crate::routes::GENERATING;

/// Maximum lengths of a logged method and path: both are the client's text.
const MAX_METHOD_LEN: usize = 16;
const MAX_PATH_LEN: usize = 128;
/// The status of an answer whose client has left, as in other servers' logs.
const LEFT: u16 = 499;
const HAS_LEFT: &str = ", the client has left";
const WAS_CUT: &str = ", the server has cut the connection";

/// The line, written when it is dropped.
pub(super) struct Line {
    app: Arc<App>,
    /// The request's.
    pub(super) name: String,
    method: Method,
    path: String,
    start: Instant,
    account: Arc<Account>,
    status: Option<StatusCode>,
    /// Why the answer is not complete, if it is not.
    lack: &'static str,
}

impl Line {
    pub(super) fn new(
        app: Arc<App>,
        name: String,
        method: Method,
        path: &str,
        account: Arc<Account>,
    ) -> Self {
        let path = path.chars().take(MAX_PATH_LEN).collect();
        let start = app.driver.now();
        Self { app, name, method, path, start, account, status: None, lack: HAS_LEFT }
    }

    /// Waits for the end of the response.
    pub(super) fn end_with(mut self, mut response: Response) -> Response {
        if let Some(blame) = response.extensions_mut().remove() {
            self.account.set_blame(blame);
        }
        self.status = Some(response.status());
        self.app.driver.metrics().count_status(response.status().as_u16());
        response.map(|body| {
            // The body of an answer to HEAD is not read.
            if body.is_end_stream() || self.method == Method::HEAD {
                self.lack = "";
            }
            let whole = charge_whole(&body, self.app.driver.ledger(), self.account.key());
            Body::new(Logged { body, whole, line: self })
        })
    }

    /// Returns the time since the request arrived.
    pub(super) fn elapsed(&self) -> Duration {
        self.app.driver.now().saturating_duration_since(self.start)
    }

    /// Returns whether an answer would have had to be generated.
    fn is_generation(&self) -> bool {
        self.method == Method::POST && GENERATING.contains(&&*self.path)
    }

    /// Returns whether this is a successful health probe, which is logged at `debug` only.
    fn is_probe(&self) -> bool {
        self.method == Method::GET
            && ["/health", "/ready", "/metrics"].contains(&&*self.path)
            && !self.status.is_some_and(|status| status.is_client_error())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let (name, method, path, account, lack) =
            (&self.name, self.method.as_str(), &self.path, &self.account, self.lack);
        if self.is_generation() && self.status.is_none() && account.prompt_tokens() == 0 {
            self.app.driver.metrics().count_abort(AbortPhase::BeforeQueue);
        }
        let status = self.status.map_or(LEFT, |status| status.as_u16());
        let ms = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        let blame = account.blame();
        // Quoted and escaped in the log: the name of a field may be the client's.
        let (code, param) = (blame.map(|blame| &*blame.code), blame.and_then(|blame| blame.param.as_deref()));
        let has_prompt = account.prompt_tokens() > 0;
        let prompt_tokens = has_prompt.then(|| account.prompt_tokens());
        let output_tokens = has_prompt.then(|| account.output_tokens());
        if self.is_probe() {
            tracing::debug!(request_id = %name, status, code, param, ms, "{method:.MAX_METHOD_LEN$} {path}{lack}");
        } else {
            tracing::info!(request_id = %name, status, code, param, prompt_tokens, output_tokens, ms, "{method:.MAX_METHOD_LEN$} {path}{lack}");
        }
    }
}

/// A body that records whether it was read to its end.
struct Logged {
    body: Body,
    /// What it is charged for before its first piece is taken.
    whole: Option<Charge>,
    line: Line,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.line.lack = WAS_CUT;
        } else if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.line.lack = "";
        }
        let (ledger, key) = (self.line.app.driver.ledger(), self.line.account.key());
        let polled = polled.map_ok(|frame| frame.map_data(|piece| charged(piece, ledger, key)));
        if polled.is_ready() {
            self.whole = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
