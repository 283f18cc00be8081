//! Answers that break off, and what their readers have got by then.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{resume, sleep};

use super::unread_bodies::Served;
use crate::app::Access;
use crate::cut::CutStream;
use crate::listener::progress::MAX_SILENCE;

/// The event that says why a stream has failed comes last, behind all that a slow reader has not
/// taken yet: it must not be thrown away.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_all_that_was_written_before_the_cut() {
    const NUM_BYTES: usize = 8 << 20;
    let cut = || async {
        let written = stream::iter([Ok(vec![b'x'; NUM_BYTES].into()), Ok(Bytes::from_static(b"why"))]);
        Body::from_stream(written.chain(CutStream::default()))
    };
    let served = Served::with_routes(Access::default(), |router: Router| router.route("/cut", get(cut)));
    let mut client = served.connect().await;
    SockRef::from(&client).set_recv_buffer_size(64 << 10).unwrap();
    client.write_all(b"GET /cut HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    // The server has nothing left to do, and the socket is full.
    sleep(MAX_SILENCE / 2).await;
    // A small window opens when the system likes: the paused clock would run out meanwhile.
    resume();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() > NUM_BYTES, "{} bytes", answer.len());
    assert!(
        answer.ends_with(b"\r\n3\r\nwhy\r\n"),
        "{}",
        String::from_utf8_lossy(&answer[answer.len() - 40..])
    );
}
