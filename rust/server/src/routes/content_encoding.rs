//! Bodies that their clients have compressed.
//!
//! The unpacked size counts against the limit, and never exceeds it in memory.

use std::error::Error;
use std::io::{self, Write};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::task::yield_now;

use super::body::MAX_BODY_BYTES;
use super::received_body::ReceivedBody;
use crate::error::ApiError;

/// Bytes unpacked at once: at most a thousand times as much results, in a few milliseconds. Then
/// the sockets have their turn.
const PIECE_BYTES: usize = 1 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    /// As the standard has it, in zlib's format, or bare, as some clients send it.
    Deflate,
}

impl Encoding {
    /// Returns the encoding in the header; `None` for a plain body.
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
    /// Those of [`ReceivedBody::add`] for what it becomes; 400, if it is not packed as its header
    /// says.
    pub(super) async fn read(
        self,
        mut body: Limited<Body>,
        received: ReceivedBody,
    ) -> Result<Bytes, ApiError> {
        let (mut decoder, mut received) = (None, Some(received));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| not_read(&*error))?;
            let Ok(data) = frame.into_data() else { continue };
            for piece in data.chunks(PIECE_BYTES) {
                if let Some(received) = received.take() {
                    decoder = Some(self.decoder(piece[0], received));
                }
                let decoder = decoder.as_mut().expect("it is made with the first piece");
                decoder.write_all(piece).map_err(|error| self.not_unpacked(error))?;
                yield_now().await;
            }
        }
        let empty = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let unpacked = decoder.ok_or_else(empty).and_then(Decoder::finish);
        unpacked.map_err(|error| self.not_unpacked(error))
    }

    fn decoder(self, first: u8, received: ReceivedBody) -> Decoder {
        let unpacked = Unpacked(received);
        match self {
            Self::Gzip => Decoder::Gzip(MultiGzDecoder::new(unpacked)),
            Self::Deflate if is_zlib(first) => Decoder::Zlib(ZlibDecoder::new(unpacked)),
            Self::Deflate => Decoder::Bare(DeflateDecoder::new(unpacked)),
        }
    }

    fn not_unpacked(self, error: io::Error) -> ApiError {
        let error = match error.downcast::<ApiError>() {
            Ok(refused) => return refused,
            Err(error) => error,
        };
        let name = match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        };
        match error.kind() {
            io::ErrorKind::UnexpectedEof => invalid(format!("body ends before its {name} does")),
            _ => invalid(format!("body is not the {name} that `content-encoding` says: {error}")),
        }
    }
}

/// Returns why a body was not read to its end.
pub(super) fn not_read(error: &(dyn Error + 'static)) -> ApiError {
    if error.is::<LengthLimitError>() {
        return ApiError::BodyTooLarge(MAX_BODY_BYTES);
    }
    invalid(format!("body could not be read: {error}"))
}

fn invalid(message: String) -> ApiError {
    ApiError::Invalid { code: "invalid_body", param: None, message }
}

/// Returns whether zlib's format begins with this byte. Bare deflate does not: it would be a block
/// that is stored, whose unused bits are zero.
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
        Ok(unpacked.0.into_bytes())
    }
}

/// The unpacked body.
struct Unpacked(ReceivedBody);

impl Write for Unpacked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.add(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
