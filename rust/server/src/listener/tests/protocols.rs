//! Clients that speak something else than HTTP/1.1, and what the log and the counters say of them.

use std::cell::RefCell;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::unread_bodies::Served;
use crate::app::Access;

thread_local! {
    /// The log of this thread, which is that of its test.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ThreadLog;

impl Write for ThreadLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start_log() {
    // Another test may have been first.
    let _ = tracing_subscriber::fmt().json().flatten_event(true).with_writer(|| ThreadLog).try_init();
}

/// Returns the lines about requests since the last call.
fn log_of_requests() -> Vec<Value> {
    let log = LOG.take();
    let lines = log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
    lines.filter(|line| line["request_id"].is_string()).collect()
}

async fn answer_to(served: &Served, pieces: &[&[u8]]) -> Vec<u8> {
    let mut client = served.connect().await;
    for piece in pieces {
        client.write_all(piece).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    answer
}

/// Returns the frames of HTTP/2: type, payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        frames.push((head[3], rest[..len].to_vec()));
        bytes = &rest[len..];
    }
    assert!(bytes.is_empty(), "{bytes:?}");
    frames
}

/// A client with prior knowledge of HTTP/2 waits for ever for a server that closes without a word,
/// and its user learns nothing.
#[tokio::test(start_paused = true)]
async fn http2_is_refused_in_its_own_words() {
    start_log();
    let served = Served::start(Access::default());
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let (begin, rest) = (b"PRI * HTTP/2.0\r\n\r\n".as_slice(), b"SM\r\n\r\n".as_slice());
    let in_one = [begin, rest, settings].concat();
    let behind = [b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n", &*in_one].concat();
    for (num, pieces) in [vec![&*in_one], vec![begin, rest, settings], vec![&*behind]].into_iter().enumerate()
    {
        let answer = answer_to(&served, &pieces).await;
        let first = answer.windows(4).position(|bytes| bytes == [0, 0, 0, 4]).unwrap();
        assert!(num == 2 || first == 0, "{}", String::from_utf8_lossy(&answer));
        let [(4, empty), (7, goaway)] = &*frames(&answer[first..]) else { panic!("{answer:?}") };
        assert!(empty.is_empty());
        assert_eq!(goaway[..8], [0, 0, 0, 0, 0, 0, 0, 13], "no stream was served, HTTP_1_1_REQUIRED");
        assert!(String::from_utf8_lossy(&goaway[8..]).contains("this server speaks HTTP/1.1"));
        let lines = log_of_requests();
        let last = lines.last().unwrap();
        assert_eq!((&last["status"], &last["code"]), (&400.into(), &"unsupported_protocol".into()), "{last}");
    }
    let page = served.app.driver.render_metrics("toy");
    assert!(page.contains("streamcore_http_responses_total{status=\"400\"} 3\n"), "{page}");
}

/// `https://` before the address of a server without a certificate is among the first mistakes of a
/// new user.
#[tokio::test(start_paused = true)]
async fn tls_without_a_certificate_is_told_from_noise() {
    let served = Served::start(Access::default());
    let answer = answer_to(&served, &[b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n"]).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("use `http://`"), "{answer}");
}

/// A refusal that the listener makes must say why in the log as every other does.
#[tokio::test(start_paused = true)]
async fn what_never_becomes_a_request_has_its_code_in_the_log() {
    start_log();
    let served = Served::start(Access::default());
    let long = format!("GET /{} HTTP/1.1\r\nhost: t\r\n\r\n", "x".repeat(1 << 17));
    for (sent, status, code) in [
        (b"nonsense\r\n\r\n".as_slice(), 400, "invalid_http"),
        (b"GET /health HTTP/1.1\r\n\r\n", 400, "invalid_http"),
        (long.as_bytes(), 431, "head_too_large"),
        (b"GET /hea", 408, "head_timeout"),
    ] {
        answer_to(&served, &[sent]).await;
        let [line] = &*log_of_requests() else { panic!("one line for each") };
        assert_eq!((&line["status"], &line["code"]), (&status.into(), &code.into()), "{line}");
    }
}
