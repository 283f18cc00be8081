//! One client: its request, how far it is, and what it holds.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;
use futures_util::stream::poll_fn;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::unconstrained;
use tower::ServiceExt;

use crate::common::Dice;
use crate::shadow::{Buffer, FREE_BYTES, Held, Sequence};
use streamcore_server::ledger::Pool;

pub type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    pub stream: bool,
    pub num_choices: usize,
    pub has_scores: bool,
    pub content_len: usize,
    pub max_tokens: usize,
    /// Spaces behind the JSON.
    pub padding: usize,
    pub is_announced: bool,
}

impl Asked {
    pub fn at_random(dice: &mut Dice) -> Self {
        let padding = match dice.below(8) {
            0..4 => 0,
            4 | 5 => dice.below(60_000),
            6 => dice.below(300_000),
            _ => dice.below(900_000),
        };
        let longest = if dice.below(6) == 0 { 1200 } else { 200 };
        let content_len = dice.below(longest);
        Self {
            stream: dice.below(3) > 0,
            num_choices: 1 + dice.below(3) * dice.below(2),
            has_scores: dice.below(2) == 0,
            content_len,
            max_tokens: 1 + dice.below(600),
            padding,
            is_announced: dice.below(2) == 0,
        }
    }

    fn body(&self) -> Bytes {
        let mut body = json!({
            "model": "toy",
            "messages": [{ "role": "user", "content": "a".repeat(self.content_len) }],
            "stream": self.stream,
            "n": self.num_choices,
            "max_tokens": self.max_tokens,
            "ignore_eos": true,
        });
        if self.has_scores {
            body["logprobs"] = json!(true);
            body["top_logprobs"] = json!(20);
        }
        let mut body = body.to_string();
        body.extend(std::iter::repeat_n(' ', self.padding));
        body.into()
    }

    /// Each byte is a token; so are the role of the message, that of the answer, and what stands
    /// around them.
    pub fn prompt_len(&self) -> usize {
        self.content_len + "u:\na:".len()
    }

    /// A whole answer is kept until its end, a stream is not.
    pub fn kept_bytes(&self) -> usize {
        if self.has_scores && !self.stream { self.max_tokens * (21 * 96 + 160) } else { 0 }
    }

    /// What one token weighs that waits.
    pub fn weight(&self) -> usize {
        if self.has_scores { 1 + 2 + 20 } else { 1 }
    }
}

/// How far a request is.
#[derive(Debug)]
pub enum Phase {
    /// Its body comes.
    Reading { rest: Bytes },
    /// Its prompt is made.
    Preparing,
    /// It has a place in the queue or a row, or its answer is written.
    Open,
    /// Its stream is open.
    Streaming,
    /// It has an answer that is complete, or is a refusal.
    Answered,
}

/// A client and its request.
pub struct Client {
    pub key: usize,
    pub asked: Asked,
    pub phase: Phase,
    pub answering: Option<Answering>,
    pieces: Option<mpsc::UnboundedSender<Result<Bytes, io::Error>>>,
    announced: Option<usize>,
    pub buffer: Buffer,
    pub answer: Option<Body>,
    /// Bytes of a whole answer of which nothing is taken.
    pub num_untaken: usize,
    /// Pieces of the answer that the socket has not taken.
    pub unwritten: Vec<Bytes>,
    /// By the number of the first.
    pub first_id: u64,
    pub sequences: Vec<Sequence>,
}

impl Client {
    /// Sends a head.
    pub fn new(router: Router, key: usize, asked: Asked) -> Self {
        let body = asked.body();
        let (sender, mut pieces) = mpsc::unbounded_channel();
        let announced = asked.is_announced.then_some(body.len());
        let mut request = Request::post("/v1/chat/completions").header("content-type", "application/json");
        if let Some(len) = announced {
            request = request.header("content-length", len);
        }
        if key > 0 {
            request = request.header("x-api-key", format!("key-{key}"));
        }
        let request = request.body(Body::from_stream(poll_fn(move |cx| pieces.poll_recv(cx)))).unwrap();
        // A test polls more often within one poll of its own than tokio lets a task do.
        let answering = Box::pin(unconstrained(async move {
            Ok(router.oneshot(request).await.unwrap_or_else(IntoResponse::into_response))
        }));
        Self {
            key,
            asked,
            phase: Phase::Reading { rest: body },
            answering: Some(answering),
            pieces: Some(sender),
            announced,
            buffer: Buffer::default(),
            answer: None,
            num_untaken: 0,
            unwritten: Vec::new(),
            first_id: 0,
            sequences: Vec::new(),
        }
    }

    /// Sends a piece of its body. Returns whether it was the last.
    pub fn feed(&mut self, dice: &mut Dice) -> bool {
        let Phase::Reading { rest } = &mut self.phase else { return false };
        let piece = rest.split_to(if dice.below(3) == 0 { rest.len() } else { 1 + dice.below(rest.len()) });
        self.buffer.grow(piece.len(), self.announced);
        let is_last = rest.is_empty();
        if let Some(pieces) = &self.pieces {
            let _ = pieces.send(Ok(piece));
        }
        if is_last {
            self.pieces = None;
        }
        is_last
    }

    /// Breaks off in the middle of its body.
    pub fn break_off(&mut self) {
        if let Some(pieces) = self.pieces.take() {
            let _ = pieces.send(Err(io::Error::other("the client is gone")));
        }
    }

    /// What it holds, if the engine ends no stream before its time, or if it may have.
    pub fn held(&self, may_have_ended: bool) -> Held {
        let mut held = Held::default();
        match self.phase {
            Phase::Reading { .. } => self.buffer.hold(&mut held),
            Phase::Preparing => {
                self.buffer.hold(&mut held);
                held.add(Pool::Preparations, 1);
            }
            Phase::Open | Phase::Streaming => {
                self.sequences.iter().for_each(|sequence| sequence.hold(may_have_ended, &mut held));
            }
            Phase::Answered => {}
        }
        let pieces = self.unwritten.iter().map(Bytes::len).chain([self.num_untaken]);
        held.add(Pool::Answers, pieces.filter(|num_bytes| *num_bytes > FREE_BYTES).sum());
        held
    }
}
