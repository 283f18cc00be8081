//! Heads of requests over real sockets: how long they may be, and what becomes of those that no
//! route sees.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;

use common::sockets::{Client, metric, start};

const MAX_HEAD_BYTES: usize = 64 << 10;

/// Returns a whole head of this many bytes.
fn head_of(num_bytes: usize) -> Vec<u8> {
    let mut head = b"GET /health HTTP/1.1\r\nhost: toy\r\nx-filler: ".to_vec();
    head.resize(num_bytes - 4, b'x');
    head.extend(b"\r\n\r\n");
    head
}

/// A limit that only slow senders meet is none: what one write may send costs the same memory, and
/// the proxy in front was promised it.
#[test]
fn a_head_may_be_as_long_as_is_said_however_it_is_sent() {
    let (server, runner) = start("");
    let mut num_refused = 0;
    for num_bytes in [1 << 10, MAX_HEAD_BYTES - 1, MAX_HEAD_BYTES, MAX_HEAD_BYTES + 1, 66_000, 100_000] {
        for num_pieces in [1, 2, 7] {
            let mut client = Client::connect(&server);
            let socket = client.0.get_mut();
            socket.set_nodelay(true).unwrap();
            for piece in head_of(num_bytes).chunks(num_bytes.div_ceil(num_pieces)) {
                // The answer may come before the end.
                if socket.write_all(piece).is_err() {
                    break;
                }
            }
            let is_served = num_bytes <= MAX_HEAD_BYTES;
            let status = if is_served { "http/1.1 200" } else { "http/1.1 431" };
            let head = client.read_head();
            assert!(head.starts_with(status), "{num_bytes} bytes in {num_pieces} pieces: {head}");
            num_refused += u64::from(!is_served);
        }
    }
    assert_eq!(metric(&runner, "http_responses_total{status=\"431\"}"), num_refused);
}

/// A client's report names its request; a refusal that has no name, no line in the log and no count
/// cannot be found again.
#[test]
fn a_refusal_that_no_route_makes_is_named_and_counted() {
    let (server, runner) = start("");
    let too_many = "a: b\r\n".repeat(101);
    let too_long = "x".repeat(65_535);
    for (head, status) in [
        ("GET /health HTTP/1.1\r\nx-request-id: mine\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(), 400),
        ("no request\r\n\r\n".to_owned(), 400),
        (format!("GET /{too_long} HTTP/1.1\r\nhost: a\r\n\r\n"), 431),
        (format!("GET /health HTTP/1.1\r\nhost: a\r\n{too_many}\r\n"), 431),
    ] {
        let before = counted(&runner, status);
        let mut client = Client::connect(&server);
        client.0.get_mut().write_all(head.as_bytes()).unwrap();
        let answer = client.read_until("}}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let name = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
        assert!(if head.contains("mine") { name == "mine" } else { name.len() == 32 }, "{name}");
        assert!(answer.contains("\r\nopenai-processing-ms: "), "{answer}");
        assert_eq!(counted(&runner, status), before + 1, "{answer}");
    }
}

/// Returns how many answers had this status; one that none has had is not on the page.
fn counted(runner: &common::Runner, status: u16) -> u64 {
    let name = format!("http_responses_total{{status=\"{status}\"}}");
    if runner.driver.render_metrics("toy").contains(&name) { metric(runner, &name) } else { 0 }
}
