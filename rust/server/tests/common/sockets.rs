//! A server on a port, and a client that knows every byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::Value;
use streamcore_engine::EngineConfig;
use streamcore_server::{Access, Listener, Naming, Server, ServerConfig, bind};

use super::Runner;
use super::model::{VOCAB_SIZE, text_model};

/// Returns a server on a free port, and the runner that its test plays. Streams are so long that
/// only an abort ends them early.
pub fn start(script: &str) -> (Server, Runner) {
    start_as("toy", script)
}

/// Returns the same, with another name in its answers.
pub fn start_as(name: &str, script: &str) -> (Server, Runner) {
    serve_at(bind("127.0.0.1", 0).unwrap(), name, script)
}

/// Returns the same at another place.
pub fn serve_at(listener: Listener, name: &str, script: &str) -> (Server, Runner) {
    let engine = EngineConfig {
        block_size: 1 << 10,
        num_blocks: 1 << 12,
        max_num_batched_tokens: 16,
        max_num_seqs: 1,
        max_model_len: 1 << 22,
        max_steps_in_flight: 1,
        enable_prefix_caching: true,
        capture_sizes: vec![],
        target_itl: None,
        min_prefill_share: 0,
        num_mask_words: 0,
    };
    let config = ServerConfig {
        naming: Naming {
            served_model_names: vec![name.to_owned(), "toy".to_owned()],
            version: "1.2.3".to_owned(),
            created: 42,
            ..Naming::default()
        },
        access: Access::default(),
        vocab_size: VOCAB_SIZE,
        engine,
        limits: super::limits(),
        script: None,
    };
    let server = Server::start(listener, text_model(), config).unwrap();
    let runner = Runner::new(Arc::clone(server.driver()), script.as_bytes());
    (server, runner)
}

pub struct Client(pub BufReader<TcpStream>);

impl Client {
    pub fn connect(server: &Server) -> Self {
        Self(BufReader::new(TcpStream::connect(server.address().unwrap()).unwrap()))
    }

    pub fn post(&mut self, path: &str, body: &Value) {
        let body = body.to_string();
        let len = body.len();
        let socket = self.0.get_mut();
        write!(socket, "POST {path} HTTP/1.1\r\nhost: toy\r\ncontent-length: {len}\r\n\r\n{body}").unwrap();
    }

    pub fn get(&mut self, path: &str) -> String {
        write!(self.0.get_mut(), "GET {path} HTTP/1.1\r\nhost: toy\r\n\r\n").unwrap();
        self.read_head()
    }

    /// Up to the blank line, in small letters.
    pub fn read_head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).unwrap(), 0, "closed after {head:?}");
        }
        head.to_ascii_lowercase()
    }

    pub fn read_until(&mut self, end: &str) -> String {
        let (mut text, last) = (Vec::new(), *end.as_bytes().last().unwrap());
        while !text.ends_with(end.as_bytes()) {
            let num_bytes = self.0.read_until(last, &mut text).unwrap();
            assert_ne!(num_bytes, 0, "closed after {}", String::from_utf8_lossy(&text));
        }
        String::from_utf8(text).unwrap()
    }

    /// Returns all that comes before the connection breaks off, in the middle of a body.
    pub fn read_to_cut(&mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        assert!(!text.contains("[DONE]") && !text.ends_with("\r\n0\r\n\r\n"), "it looks whole: {text}");
        text
    }

    pub fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}

/// Returns what the page of metrics says.
pub fn metric(runner: &Runner, name: &str) -> u64 {
    let page = runner.driver.render_metrics("toy");
    let prefix = format!("streamcore_{name} ");
    page.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap().parse().unwrap()
}
