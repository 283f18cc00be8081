//! The errors that a request can get instead of an answer.

use axum::http::StatusCode;
use streamcore_grammar::GrammarError;

use crate::driver::{EndError, Refusal};

/// Why a request was not served. The message is for people, the code for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The body asks for something impossible: 400.
    #[error("{message}")]
    Invalid {
        /// One word for programs.
        code: &'static str,
        /// The field, if one is to blame.
        param: Option<String>,
        /// What is wrong, with the value and the limit.
        message: String,
    },
    /// The key is missing or wrong: 401. LiteLLM recognises this error by OpenAI's wording.
    #[error("Incorrect API key provided, or none")]
    ApiKey,
    /// The `Host` header names another machine: 403.
    #[error(
        "`Host` is `{0}`, which is no local name, and a server for its own machine without an API key obeys no other: \
         start it with `--api-key`, or, behind a proxy, with `--allowed-origins https://{0}`"
    )]
    Host(String),
    /// No such model: 404. The message says which there are.
    #[error("{0}")]
    ModelNotFound(String),
    /// No such response, or it is another client's: 404.
    #[error("response `{0}` does not exist, or is not kept any more")]
    ResponseNotFound(String),
    /// A path that OpenAI has and this server has not, for a reason: 404.
    #[error("{0}")]
    NotOffered(&'static str),
    /// No such path: 404.
    #[error("no route `{path}`{}", did_you_mean(meant.as_deref()))]
    UnknownRoute {
        /// The requested path.
        path: String,
        /// The similar route, if there is one.
        meant: Option<String>,
    },
    /// The path exists, but not for this method: 405.
    #[error("`{0}` is not allowed here")]
    MethodNotAllowed(String),
    /// The client took too long to send the head of its request: 408.
    #[error("head did not arrive within {0} s")]
    HeadTimeout(u64),
    /// The client took too long to send its body: 408.
    #[error("body did not arrive within {0} s")]
    BodyTimeout(u64),
    /// The client reads its stream too slowly: reported only in the stream.
    #[error("the stream was read too slowly, what waits for its reader has reached the limit")]
    SlowReader,
    /// The body is longer than the limit: 413.
    #[error("body is longer than the limit of {0} bytes")]
    BodyTooLarge(usize),
    /// The head is longer than the limit, or has more headers: 431.
    #[error("head is longer than the limit of 65536 bytes, or has more than 100 headers")]
    HeadTooLarge,
    /// The body is not JSON: 415.
    #[error("content type is {0}, it must be `application/json`")]
    MediaType(String),
    /// The body is packed in a way that is not known: 415.
    #[error("content encoding is `{0}`, it must be `gzip`, `deflate` or none")]
    ContentEncoding(String),
    /// Too much is waiting: 429.
    #[error("{reason}, try again in {retry_after_s} s")]
    QueueFull {
        /// What waits, and how much may.
        reason: String,
        /// When a place should be free, in seconds.
        retry_after_s: u64,
    },
    /// A bug that took this request and no other one: 500.
    #[error("the server has failed at this request, its log says where")]
    Internal,
    /// The model computed NaN or infinity, and would again: 500.
    #[error("the model computed logits that are NaN or infinite, so there is no next token")]
    NotFinite,
    /// An answer cannot go on as its grammar wants: 500.
    #[error("{0}")]
    Grammar(String),
    /// There are more connections than can be served: 503.
    #[error("more connections are open than can be served, try again in 1 s")]
    Crowded,
    /// The server is shutting down: 503.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The runner died or hangs: 503.
    #[error("{0}")]
    EngineFailed(String),
    /// The client waits no longer than this: 504.
    #[error("the answer was not complete within {0} s, which is as long as its client waits")]
    Deadline(u64),
    /// A script wants this error.
    #[error("{message}")]
    Scripted {
        /// The status of the answer.
        status: StatusCode,
        /// One word for programs.
        code: String,
        /// For people.
        message: String,
        /// When the client may try again, in seconds.
        retry_after_s: Option<u64>,
    },
    /// A script wants the connection to break off.
    #[error("the script cuts the connection here")]
    Cut,
}

impl ApiError {
    /// Refuses a grammar of this field that cannot be enforced.
    #[must_use]
    pub fn of_grammar(error: &GrammarError, field: &str) -> Self {
        let code = match error {
            GrammarError::Unsupported { .. } => "unsupported_parameter",
            _ => "invalid_value",
        };
        Self::invalid(code, field, format!("`{field}`: {error}"))
    }

    /// Refuses a field whose value cannot be honoured.
    pub fn invalid(code: &'static str, param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { code, param: Some(param.into()), message: message.into() }
    }

    /// Refuses bytes that are not a request.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::Invalid { code: "invalid_http", param: None, message: message.into() }
    }

    /// Refuses bytes of another protocol.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::Invalid { code: "unsupported_protocol", param: None, message: message.into() }
    }

    /// Returns the status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::ApiKey => StatusCode::UNAUTHORIZED,
            Self::Host(_) => StatusCode::FORBIDDEN,
            Self::ModelNotFound(_)
            | Self::ResponseNotFound(_)
            | Self::NotOffered(_)
            | Self::UnknownRoute { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeadTimeout(_) | Self::BodyTimeout(_) | Self::SlowReader => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::MediaType(_) | Self::ContentEncoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::QueueFull { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal | Self::NotFinite | Self::Grammar(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Crowded | Self::ShuttingDown | Self::EngineFailed(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Scripted { status, .. } => *status,
            // The status of an answer that breaks off.
            Self::Cut => StatusCode::OK,
        }
    }

    /// One word for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Invalid { code, .. } => code,
            Self::ApiKey => "invalid_api_key",
            Self::Host(_) => "foreign_host",
            Self::ModelNotFound(_) => "model_not_found",
            Self::ResponseNotFound(_) => "response_not_found",
            Self::NotOffered(_) => "unsupported_route",
            Self::UnknownRoute { .. } => "unknown_route",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::HeadTimeout(_) => "head_timeout",
            Self::BodyTimeout(_) => "body_timeout",
            Self::SlowReader => "slow_reader",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::HeadTooLarge => "head_too_large",
            Self::MediaType(_) => "unsupported_media_type",
            Self::ContentEncoding(_) => "unsupported_content_encoding",
            Self::QueueFull { .. } => "queue_full",
            Self::Internal => "internal_error",
            Self::NotFinite => "logits_not_finite",
            Self::Grammar(_) => "grammar_failed",
            Self::Crowded => "too_many_connections",
            Self::ShuttingDown => "shutting_down",
            Self::EngineFailed(_) => "engine_failed",
            Self::Deadline(_) => "deadline_exceeded",
            Self::Scripted { code, .. } => code,
            Self::Cut => "cut",
        }
    }

    /// Returns the field that is to blame, if one is.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Invalid { param, .. } => param.as_deref(),
            Self::ModelNotFound(_) => Some("model"),
            _ => None,
        }
    }

    /// OpenAI's family of the error.
    #[must_use]
    pub fn family(&self) -> &'static str {
        match self.status() {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

/// A refusal's part of the log line. Without the message, which may quote the client's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// One word for programs.
    pub code: String,
    /// The field that is to blame, if one is.
    pub param: Option<String>,
}

impl Blame {
    /// Longest code and longest name of a field in the log.
    const MAX_CHARS: usize = 64;

    /// That of an error.
    #[must_use]
    pub fn of(error: &ApiError) -> Self {
        let cut = |text: &str| text.chars().take(Self::MAX_CHARS).collect();
        Self { code: cut(error.code()), param: error.param().map(cut) }
    }
}

fn did_you_mean(meant: Option<&str>) -> String {
    meant.map_or_else(String::new, |meant| format!(", did you mean `{meant}`?"))
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let reason = refusal.to_string();
        match refusal {
            Refusal::Full { retry_after_s, .. } => Self::QueueFull { reason, retry_after_s },
            Refusal::ShuttingDown => Self::ShuttingDown,
            Refusal::Failed(message) => Self::EngineFailed(message),
        }
    }
}

impl From<EndError> for ApiError {
    fn from(error: EndError) -> Self {
        match error {
            EndError::ShuttingDown => Self::ShuttingDown,
            EndError::Runner(message) => Self::EngineFailed(message),
            EndError::NotFinite => Self::NotFinite,
            EndError::Grammar(message) => Self::Grammar(message),
            EndError::SlowReader => Self::SlowReader,
            EndError::Deadline { waited_s } => Self::Deadline(waited_s),
            EndError::Cut => Self::Cut,
        }
    }
}
