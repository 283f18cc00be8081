//! The bytes of a body, charged from the first on.

use std::sync::Arc;

use bytes::Bytes;

use super::body::MAX_BODY_BYTES;
use crate::app::SHORT_BYTES;
use crate::driver::Driver;
use crate::error::ApiError;
use crate::ledger::{Charge, Pool};

/// Initial room for a body: most are shorter, or not much longer.
const MIN_ROOM: usize = 4 << 10;

/// The received part of a body. Room is charged before it is made, so a client that announces much
/// and sends little holds little.
#[derive(Debug)]
pub(super) struct ReceivedBody {
    driver: Arc<Driver>,
    announced: Option<usize>,
    bytes: Vec<u8>,
    charge: Option<(Pool, Charge)>,
}

impl ReceivedBody {
    pub(super) fn new(driver: &Arc<Driver>, announced: Option<usize>) -> Self {
        Self { driver: Arc::clone(driver), announced, bytes: Vec::new(), charge: None }
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// 413, if it becomes too long; 429, if there is no room for it.
    pub(super) fn add(&mut self, piece: &[u8]) -> Result<(), ApiError> {
        let len = self.bytes.len() + piece.len();
        if len > MAX_BODY_BYTES {
            return Err(ApiError::BodyTooLarge(MAX_BODY_BYTES));
        }
        if len > self.bytes.capacity() {
            self.make_room(len)?;
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Makes room for this much, and for about as much again where more is to come.
    fn make_room(&mut self, len: usize) -> Result<(), ApiError> {
        let most = self.announced.unwrap_or(MAX_BODY_BYTES).max(len);
        let room = (2 * len).max(MIN_ROOM).min(most);
        let pool = if room <= SHORT_BYTES { Pool::ShortBodies } else { Pool::LongBodies };
        match &mut self.charge {
            Some((charged, charge)) if *charged == pool => {
                charge.resize(room).map_err(|full| self.driver.refuse(full))?;
            }
            _ => self.charge = Some((pool, self.driver.charge(pool, room)?)),
        }
        self.bytes.reserve_exact(room - self.bytes.len());
        Ok(())
    }

    /// Returns the whole body; its last clone returns the charge.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for ReceivedBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
