//! The stream of a stored response, from any of its events on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::time::timeout;

use super::{Events, StoredResponse};
use crate::cut::Cut;
use crate::sse::KEEPALIVE;

/// Maximum bytes written at once.
const MAX_WRITE_BYTES: usize = 64 << 10;

/// Streams the events of a response from this one to the last, with keep-alive comments. Ending the
/// stream does not end the response.
pub fn replay(
    response: Arc<StoredResponse>,
    next: u64,
    max_silence: Duration,
) -> impl Stream<Item = Result<Bytes, Cut>> + Send + 'static {
    let changed = response.watch();
    unfold(Some((response, changed, next)), move |reader| async move {
        let (response, mut changed, next) = reader?;
        loop {
            changed.mark_unchanged();
            match response.events_from(next, MAX_WRITE_BYTES) {
                Events::Some(bytes, next) => {
                    return Some((Ok(bytes.into()), Some((response, changed, next))));
                }
                Events::Over => return None,
                // A clean end would look complete.
                Events::Gone => return Some((Err(Cut), None)),
                Events::NotYet => {}
            }
            if timeout(max_silence, changed.changed()).await.is_err() {
                return Some((Ok(Bytes::from_static(KEEPALIVE)), Some((response, changed, next))));
            }
        }
    })
}
