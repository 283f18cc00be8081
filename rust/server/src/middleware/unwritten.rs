//! Bytes of answers that no client has taken yet.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use bytes::Bytes;

use crate::ledger::{Charge, Ledger, Pool};

/// Bytes that every connection may have unwritten.
const FREE_BYTES: usize = 8 << 10;

/// A piece of an answer, which is charged until it is written.
struct Unwritten {
    piece: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Unwritten {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

/// Charges an answer that is whole already for a key, until its first piece is.
pub(super) fn charge_whole(body: &Body, ledger: &Arc<Ledger>, key: u32) -> Option<Charge> {
    let num_bytes = usize::try_from(body.size_hint().exact()?).ok()?;
    (num_bytes > FREE_BYTES).then(|| ledger.record(Pool::Answers, key, num_bytes))
}

/// Charges a piece of an answer for a key, from now until its last byte is in the hands of the
/// system.
pub(super) fn charged(piece: Bytes, ledger: &Arc<Ledger>, key: u32) -> Bytes {
    if piece.len() <= FREE_BYTES {
        return piece;
    }
    let _charge = ledger.record(Pool::Answers, key, piece.len());
    Bytes::from_owner(Unwritten { piece, _charge })
}
