//! Bodies that their clients have compressed.
//!
//! What a body becomes counts against the limit and is never held beyond it, however much is packed into few bytes.

use std::error::Error;
use std::io::{self, Write};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::task::yield_now;

use crate::error::ApiError;

/// Unpacked at once: at most a thousand times as much comes of it, which takes a few milliseconds. The sockets have their turn then.
const PIECE_BYTES: usize = 1 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    /// As the standard has it, in zlib's format, or bare, as some clients send it.
    Deflate,
}

impl Encoding {
    /// What the header says; `None` if the body is as it is.
    ///
    /// # Errors
    /// 415: another encoding, or several.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let values = headers.get_all(header::CONTENT_ENCODING).iter();
        let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let all = values.join(", ");
        let names = all.split(',').map(|name| name.trim().to_ascii_lowercase());
        let names: Vec<_> = names.filter(|name| !name.is_empty() && name != "identity").collect();
        match &*names {
            [] => Ok(None),
            [name] if matches!(&**name, "gzip" | "x-gzip") => Ok(Some(Self::Gzip)),
            [name] if name == "deflate" => Ok(Some(Self::Deflate)),
            _ => Err(ApiError::ContentEncoding(all)),
        }
    }

    /// Reads a body and unpacks it as it comes.
    ///
    /// # Errors
    /// 413, as soon as what it becomes is longer than `max_bytes`; 400, if it is not packed as its header says.
    pub(super) async fn read(self, body: Body, max_bytes: usize) -> Result<Bytes, ApiError> {
        let mut body = Limited::new(body, max_bytes);
        let mut decoder = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| not_read(&*error, max_bytes))?;
            let Ok(data) = frame.into_data() else { continue };
            for piece in data.chunks(PIECE_BYTES) {
                let decoder = decoder.get_or_insert_with(|| self.decoder(piece[0], max_bytes));
                decoder.write_all(piece).map_err(|error| self.not_unpacked(&error, max_bytes))?;
                yield_now().await;
            }
        }
        let empty = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let unpacked = decoder.ok_or_else(empty).and_then(Decoder::finish);
        unpacked.map_err(|error| self.not_unpacked(&error, max_bytes))
    }

    fn decoder(self, first: u8, max_bytes: usize) -> Decoder {
        let unpacked = Unpacked { bytes: Vec::new(), max_bytes };
        match self {
            Self::Gzip => Decoder::Gzip(MultiGzDecoder::new(unpacked)),
            Self::Deflate if is_zlib(first) => Decoder::Zlib(ZlibDecoder::new(unpacked)),
            Self::Deflate => Decoder::Bare(DeflateDecoder::new(unpacked)),
        }
    }

    fn not_unpacked(self, error: &io::Error, max_bytes: usize) -> ApiError {
        let name = match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        };
        match error.kind() {
            io::ErrorKind::FileTooLarge => ApiError::BodyTooLarge(max_bytes),
            io::ErrorKind::UnexpectedEof => invalid(format!("body ends before its {name} does")),
            _ => invalid(format!("body is not the {name} that `content-encoding` says: {error}")),
        }
    }
}

/// Why a body did not come to its end.
pub(super) fn not_read(error: &(dyn Error + 'static), max_bytes: usize) -> ApiError {
    if error.is::<LengthLimitError>() {
        return ApiError::BodyTooLarge(max_bytes);
    }
    invalid(format!("body could not be read: {error}"))
}

fn invalid(message: String) -> ApiError {
    ApiError::Invalid { code: "invalid_body", param: None, message }
}

/// Whether zlib's format begins with this byte. Bare deflate does not: it would be a block that is stored, whose unused bits are zero.
fn is_zlib(first: u8) -> bool {
    first & 0x0f == 8
}

enum Decoder {
    Gzip(MultiGzDecoder<Unpacked>),
    Zlib(ZlibDecoder<Unpacked>),
    Bare(DeflateDecoder<Unpacked>),
}

impl Decoder {
    fn write_all(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.write_all(piece),
            Self::Zlib(decoder) => decoder.write_all(piece),
            Self::Bare(decoder) => decoder.write_all(piece),
        }
    }

    fn finish(self) -> io::Result<Bytes> {
        let unpacked = match self {
            Self::Gzip(decoder) => decoder.finish()?,
            Self::Zlib(decoder) => decoder.finish()?,
            Self::Bare(decoder) => decoder.finish()?,
        };
        Ok(unpacked.bytes.into())
    }
}

/// A buffer that takes no more than this.
struct Unpacked {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl Write for Unpacked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
