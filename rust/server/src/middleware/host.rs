//! Checks the `Host` header: a page can have its own name point at this machine, and would then be
//! of the server's origin.
//!
//! Decision 17 describes what this prevents, and what it must allow.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::header;
use axum::http::uri::Authority;

use crate::app::Access;
use crate::error::ApiError;

/// Endings that cannot be registered: loopback, the local link, private networks (also
/// `host.docker.internal`).
const LOCAL_ENDINGS: [&str; 3] = [".localhost", ".local", ".internal"];

/// Refuses a request to a server that listens to this machine only, if its host may belong to
/// another owner.
///
/// # Errors
/// 403.
pub(super) fn check_host(access: &Access, request: &Request) -> Result<(), ApiError> {
    if !access.is_local || !access.api_keys.is_empty() {
        return Ok(());
    }
    let header = request.headers().get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
    let Some(authority) = request.uri().authority().map(|authority| authority.as_str().into()).or(header)
    else {
        // Browsers always name one.
        return Ok(());
    };
    let Ok(parsed) = authority.parse::<Authority>() else {
        return Err(ApiError::Host(authority.into_owned()));
    };
    let host = parsed.host().trim_end_matches('.').to_ascii_lowercase();
    if is_local(&host) || is_of_allowed_origin(&access.allowed_origins, &host) {
        return Ok(());
    }
    Err(ApiError::Host(host))
}

fn is_local(host: &str) -> bool {
    let is_address = host.parse::<Ipv4Addr>().is_ok()
        || host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).is_some_and(is_ipv6);
    // A name without a dot, such as `localhost`, is no name of the public internet.
    is_address || !host.contains('.') || LOCAL_ENDINGS.iter().any(|ending| host.ends_with(ending))
}

fn is_ipv6(host: &str) -> bool {
    host.parse::<Ipv6Addr>().is_ok()
}

fn is_of_allowed_origin(origins: &[String], host: &str) -> bool {
    origins.iter().any(|origin| {
        let authority =
            origin.split_once("://").and_then(|(_, authority)| authority.parse::<Authority>().ok());
        origin == "*" || authority.is_some_and(|authority| authority.host().eq_ignore_ascii_case(host))
    })
}
