//! The client: it reads and counts nothing but bytes, so that it costs both servers the same, and
//! little.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Which stream is asked for.
pub(crate) struct Request {
    pub(crate) num_tokens: usize,
    pub(crate) is_paced: bool,
}

impl Request {
    fn to_bytes(&self) -> Vec<u8> {
        let content = if self.is_paced { "paced" } else { "go" };
        let body = json!({
            "model": "script",
            "messages": [{ "role": "user", "content": content }],
            "max_tokens": self.num_tokens,
            "stream": true,
        })
        .to_string();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nconnection: close\r\ncontent-type: application/json";
        format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

/// A client of one thread.
pub(crate) struct Client(Runtime);

impl Client {
    pub(crate) fn new() -> Self {
        Self(Builder::new_current_thread().enable_all().build().unwrap())
    }

    /// Returns the body of one answer, without its framing.
    pub(crate) fn record(&self, port: u16, request: &Request) -> Vec<u8> {
        let answer = self.0.block_on(async {
            let mut answer = Vec::new();
            open(port, &request.to_bytes()).await.read_to_end(&mut answer).await.unwrap();
            answer
        });
        let head_len = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        let body = unframed(&answer[head_len..]);
        assert!(body.ends_with(b"data: [DONE]\n\n"), "{}", String::from_utf8_lossy(&body));
        body
    }

    /// Reads this many streams at once to their ends.
    pub(crate) fn read_streams(&self, port: u16, request: &Request, num_streams: usize) -> Duration {
        let request = request.to_bytes();
        self.0.block_on(async {
            let started = Instant::now();
            let mut streams = JoinSet::new();
            for _ in 0..num_streams {
                let request = request.clone();
                streams.spawn(async move { read_to_end(open(port, &request).await).await });
            }
            let lens = streams.join_all().await;
            assert!(lens.iter().all(|len| *len > 1000), "{lens:?}");
            started.elapsed()
        })
    }
}

async fn open(port: u16, request: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.write_all(request).await.unwrap();
    socket
}

/// Returns how many bytes came.
async fn read_to_end(mut socket: TcpStream) -> usize {
    let (mut buffer, mut len, mut is_whole) = (vec![0; 64 << 10], 0, false);
    loop {
        let num_bytes = socket.read(&mut buffer).await.unwrap();
        if num_bytes == 0 {
            assert!(is_whole, "a stream broke off");
            return len;
        }
        len += num_bytes;
        is_whole = buffer[..num_bytes].ends_with(b"\r\n");
    }
}

/// Returns the bytes in the chunks of a body.
fn unframed(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line_len = rest.windows(2).position(|bytes| bytes == b"\r\n").unwrap();
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..line_len]).unwrap(), 16).unwrap();
        if len == 0 {
            return body;
        }
        let start = line_len + 2;
        body.extend_from_slice(&rest[start..start + len]);
        rest = &rest[start + len + 2..];
    }
}
