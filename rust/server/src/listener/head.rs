//! Refuses heads that hyper accepts and another server may read differently: one then takes for a
//! body what the other takes for the next request. Of two lengths hyper silently drops one, so the
//! raw bytes are checked.

use axum::http::{Request, Version, header};
use bytes::{Buf, BytesMut};

use crate::error::ApiError;

/// The longest head of a request, with the empty lines before it and the one behind.
pub(super) const MAX_HEAD_BYTES: usize = 64 << 10;

/// The known protocols that hyper cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForeignProtocol {
    /// HTTP/2 without an upgrade, from its preface on.
    Http2,
    /// TLS, from its first handshake record on.
    Tls,
}

/// The bytes of a connection from the end of the last body on.
#[derive(Debug, Default)]
pub(super) struct HeadBytes {
    bytes: BytesMut,
    /// How much of that body is still to come.
    num_body_bytes: u64,
}

impl HeadBytes {
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let num_skipped = usize::try_from(self.num_body_bytes).unwrap_or(usize::MAX).min(bytes.len());
        self.num_body_bytes -= num_skipped as u64;
        self.bytes.extend_from_slice(&bytes[num_skipped..]);
    }

    /// Returns the bytes that are kept.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the protocol if the bytes start another than HTTP/1, and drops them.
    pub(super) fn take_foreign_protocol(&mut self) -> Option<ForeignProtocol> {
        let protocol = if self.bytes.starts_with(b"PRI * HTTP/2.0\r\n") {
            ForeignProtocol::Http2
        } else if self.bytes.starts_with(b"\x16\x03") {
            ForeignProtocol::Tls
        } else {
            return None;
        };
        self.bytes.clear();
        Some(protocol)
    }

    /// Checks the head of the request that hyper has found, and skips its body.
    pub(super) fn check<B>(&mut self, request: &Request<B>) -> Result<(), ApiError> {
        let len = head_len(&self.bytes).ok_or_else(|| ApiError::malformed("head has no end"))?;
        let head = self.bytes.split_to(len);
        // Hyper limits the length only of an unfinished head.
        if len > MAX_HEAD_BYTES {
            return Err(ApiError::HeadTooLarge);
        }
        let headers = request.headers();
        // The end of a chunked body is not searched: no other request may follow it.
        let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let body_len = if is_chunked { u64::MAX } else { announced.unwrap_or(0) };
        let num_read = usize::try_from(body_len).unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.advance(num_read);
        self.num_body_bytes = body_len - num_read as u64;
        check(&head, request.version()).map_err(ApiError::malformed)
    }
}

/// Returns whether the connection has to end with the answer to this request.
pub(super) fn is_last<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(header::TRANSFER_ENCODING)
}

/// Returns the length up to the empty line, with empty lines before the first one.
fn head_len(bytes: &[u8]) -> Option<usize> {
    let (mut len, mut has_begun) = (0, false);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        len += line.len();
        let is_empty = matches!(line, b"\n" | b"\r\n");
        if is_empty && has_begun {
            return Some(len);
        }
        has_begun |= !is_empty;
    }
    None
}

/// Checks a head; the error names the fault.
fn check(head: &[u8], version: Version) -> Result<(), String> {
    let (mut num_hosts, mut num_lengths, mut encodings) = (0, 0, Vec::new());
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r\n").ok_or("a line of the head ends without a carriage return")?;
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        match &*name.to_ascii_lowercase() {
            b"host" => num_hosts += 1,
            b"content-length" => num_lengths += 1,
            b"transfer-encoding" => encodings.push(value.get(1..).unwrap_or_default().trim_ascii()),
            _ => {}
        }
    }
    if version >= Version::HTTP_11 && num_hosts != 1 {
        return Err(format!("request has {num_hosts} `host` headers, it must have one"));
    }
    if num_lengths > 1 {
        return Err(format!("request has {num_lengths} `content-length` headers, it may have one"));
    }
    if num_lengths > 0 && !encodings.is_empty() {
        return Err(
            "request has `content-length` and `transfer-encoding`, it may have one of them".to_owned()
        );
    }
    match *encodings {
        [] => Ok(()),
        [encoding] if encoding.eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => {
            let encodings = encodings.join(&b", "[..]);
            Err(format!(
                "`transfer-encoding` is `{}`, it may be `chunked`",
                String::from_utf8_lossy(&encodings)
            ))
        }
    }
}
