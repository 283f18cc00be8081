//! Bodies that are compressed, and marks before them.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use common::{Stage, Transcript};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use futures_util::stream;
use proptest::prelude::*;
use serde_json::{Value, json};

const TOKENIZE: &str = "/tokenize";
const MAX_BODY_BYTES: usize = 16 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bare(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn request(path: &str, encoding: &str, pieces: Vec<Vec<u8>>) -> Request<Body> {
    let pieces = pieces.into_iter().map(|piece| Ok::<_, std::convert::Infallible>(Bytes::from(piece)));
    Request::post(path)
        .header("content-type", "application/json")
        .header("content-encoding", encoding)
        .header("x-request-id", "t1")
        .body(Body::from_stream(stream::iter(pieces)))
        .unwrap()
}

fn play(path: &str, encoding: &str, body: Vec<u8>) -> Transcript {
    // Through both doors.
    Stage::new("ok").play(request(path, encoding, vec![body]), 1)
}

fn error(transcript: &Transcript) -> (u16, Value) {
    let body: Value = serde_json::from_str(&transcript.writes.concat()).unwrap();
    (transcript.head.status().as_u16(), body["error"].clone())
}

/// Clients that compress get an answer about invalid JSON, or about a field that they have sent,
/// when the header is overlooked.
#[tokio::test]
async fn every_body_is_read_as_its_header_says_through_both_doors() {
    let chat = json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    let completion = json!({ "model": "toy", "prompt": "hi" }).to_string();
    let text = json!({ "prompt": "hi there ".repeat(1000) }).to_string();
    let ids = json!({ "tokens": [104, 105] }).to_string();
    for (path, body) in [
        ("/v1/chat/completions", chat),
        ("/v1/completions", completion),
        (TOKENIZE, text),
        ("/detokenize", ids),
    ] {
        let plain = play(path, "identity", body.clone().into()).body();
        let body = body.as_bytes();
        for (encoding, packed) in [
            ("gzip", gzip(body)),
            ("GZIP", gzip(body)),
            ("x-gzip", gzip(body)),
            ("identity, gzip", gzip(body)),
            ("gzip", [gzip(&body[..5]), gzip(&body[5..])].concat()),
            ("deflate", zlib(body)),
            ("deflate", bare(body, 6)),
            ("deflate", bare(body, 0)),
            ("", body.to_vec()),
            ("identity", body.to_vec()),
        ] {
            let transcript = play(path, encoding, packed);
            assert_eq!(transcript.head.status(), 200, "{path} {encoding}: {}", transcript.body());
            assert_eq!(without_id(&transcript.body()), without_id(&plain), "{path} {encoding}");
        }
    }
}

fn without_id(body: &str) -> Value {
    let mut body: Value = serde_json::from_str(body).unwrap();
    body["id"] = Value::Null;
    body
}

/// A client that is not told what would be read can only guess.
#[tokio::test]
async fn other_encodings_are_refused_with_those_that_are_read() {
    for encoding in ["br", "zstd", "compress", "gzip, gzip", "gzip, deflate", "utf-8"] {
        let transcript = play(TOKENIZE, encoding, gzip(b"{\"prompt\":\"hi\"}"));
        let (status, error) = error(&transcript);
        assert_eq!((status, &error["code"]), (415, &json!("unsupported_content_encoding")), "{encoding}");
        assert!(error["message"].as_str().unwrap().contains(&format!("`{encoding}`")), "{error}");
        assert_eq!(transcript.head.headers()["accept-encoding"], "gzip, deflate");
    }
}

/// A kilobyte that becomes a gigabyte must cost neither: what counts is what a body becomes, and no
/// more than that is kept.
#[tokio::test]
async fn the_limit_counts_what_a_body_becomes() {
    let spaces = |num_bytes: usize| [b"{\"prompt\":\"hi\"}".to_vec(), vec![b' '; num_bytes - 15]].concat();
    let bomb = gzip(&vec![0; 256 << 20]);
    assert!(bomb.len() < 300_000);
    let twice = [gzip(&spaces(MAX_BODY_BYTES)), gzip(b" ")].concat();
    for (encoding, body, status) in [
        ("gzip", bomb, 413),
        ("gzip", gzip(&spaces(MAX_BODY_BYTES)), 200),
        ("gzip", gzip(&spaces(MAX_BODY_BYTES + 1)), 413),
        ("gzip", twice, 413),
        ("deflate", zlib(&spaces(MAX_BODY_BYTES + 1)), 413),
        ("deflate", bare(&spaces(MAX_BODY_BYTES + 1), 6), 413),
        // Nothing comes of it, for ever.
        ("gzip", gzip(b"").repeat(1 << 20), 413),
    ] {
        let (head, body) = Stage::new("").answer(request(TOKENIZE, encoding, vec![body])).await;
        assert_eq!(head.status(), status, "{encoding}: {body:.200}");
    }
}

/// Half a body must not be taken for a whole one, nor what follows it be dropped.
#[tokio::test]
async fn what_is_not_packed_as_it_says_is_refused() {
    let body = b"{\"prompt\":\"hi\"}";
    let mut wrong_sum = gzip(body);
    let last = wrong_sum.len() - 1;
    wrong_sum[last] ^= 1;
    for (encoding, body) in [
        ("gzip", body.to_vec()),
        ("gzip", vec![]),
        ("deflate", vec![]),
        ("gzip", zlib(body)),
        ("deflate", gzip(body)),
        ("gzip", gzip(body)[..20].to_vec()),
        ("gzip", wrong_sum),
        ("gzip", [gzip(body), b"more".to_vec()].concat()),
        ("deflate", zlib(body)[..12].to_vec()),
        ("deflate", bare(body, 6)[..12].to_vec()),
        ("deflate", [zlib(body), b"more".to_vec()].concat()),
    ] {
        let (status, error) = error(&play(TOKENIZE, encoding, body.clone()));
        assert_eq!((status, &error["code"]), (400, &json!("invalid_body")), "{encoding} {body:?}: {error}");
    }
}

/// PowerShell and some editors write a mark before every text.
#[tokio::test]
async fn a_byte_order_mark_is_skipped() {
    let marked = [b"\xef\xbb\xbf".as_slice(), b"{\"prompt\":\"hi\"}"].concat();
    for (encoding, body) in [("identity", marked.clone()), ("gzip", gzip(&marked))] {
        let transcript = play(TOKENIZE, encoding, body);
        assert_eq!(transcript.head.status(), 200, "{}", transcript.body());
        assert!(transcript.body().contains("\"tokens\":[104,105]"), "{}", transcript.body());
    }
    let twice = [b"\xef\xbb\xbf\xef\xbb\xbf".as_slice(), b"{}"].concat();
    assert_eq!(error(&play(TOKENIZE, "", twice)).0, 400);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However a body is packed and wherever its pieces end, the text is the one that was sent.
    #[test]
    fn a_packed_body_is_its_text_however_it_is_cut(
        text in ".{0,300}",
        format in 0..4_u8,
        cuts in prop::collection::vec(0..400_usize, 0..6),
    ) {
        let body = json!({ "prompt": text }).to_string();
        let body = body.as_bytes();
        let (encoding, packed) = match format {
            0 => ("gzip", gzip(body)),
            1 => ("deflate", zlib(body)),
            2 => ("deflate", bare(body, 9)),
            _ => ("identity", body.to_vec()),
        };
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(packed.len())).collect();
        cuts.extend([0, packed.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|ends| packed[ends[0]..ends[1]].to_vec()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _context = runtime.enter();
        let transcript = Stage::new("").play_routed(request(TOKENIZE, encoding, pieces), &[1]);
        let answer: Value = serde_json::from_str(&transcript.body()).unwrap();
        prop_assert_eq!(&answer["count"], &json!(text.len()));
    }
}
