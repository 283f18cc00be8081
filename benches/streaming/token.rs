//! The cost of a token above the engine and below HTTP, and of a request before it is queued.
//!
//!     cargo bench -p streamcore-server --bench token
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark, not a library")]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use streamcore_engine::TokenLogprobs;
use streamcore_parsers::{ReasoningFormat, Setup, Tool, ToolFormat};
use streamcore_server::driver::Token;
use streamcore_server::openai::chat::request::ChatRequest;
use streamcore_server::openai::chat::response::ChatChunks;
use streamcore_server::openai::options::Options;
use streamcore_server::stream::{Chunks, Delta, Identity, Output, Part, Reading, Said};
use streamcore_server::text::TextModel;

const TEXT: &str = "The café at the harbour opens at seven. \"Two coffees, please,\" said Ada, and counted: 1, 2, 3 …\n\
    Then it rained, so they stayed for longer than they had meant to, and talked about ships, engines and the weather.\n";

fn text_model() -> TextModel {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../python/streamcore/demo_model");
    TextModel::load(Path::new(folder)).unwrap()
}

/// Returns a chat request of a few fields, as SDKs send them.
fn body(more: &Value) -> Vec<u8> {
    let mut body = json!({
        "model": "demo",
        "messages": [
            { "role": "system", "content": "You are a helpful assistant." },
            { "role": "user", "content": "What is the weather like at the harbour today, and what should I wear?" },
        ],
        "stream": true,
        "temperature": 0.7,
        "max_tokens": 256,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::to_vec(&body).unwrap()
}

/// One stream between the engine's tokens and the bytes that are handed to the socket.
struct Stream {
    output: Output,
    chunks: ChatChunks,
    delta: Delta,
}

impl Stream {
    fn new(text: &TextModel, options: &Options) -> Self {
        let identity = Identity {
            id: "chatcmpl-0123456789abcdef0123456789abcdef".to_owned(),
            created: 1_790_000_000,
            model: "demo".to_owned(),
        };
        let details = options.details;
        let detokenizer = text.tokenizer.detokenizer(!details.special_tokens);
        Self {
            output: Output::new(detokenizer, options.stops.clone(), details.tells_tokens()),
            chunks: ChatChunks::new(identity, details, 1, None),
            delta: Delta::default(),
        }
    }

    /// One token, one write: the bytes leave with it, so each write has memory of its own.
    fn frame(&mut self, token: Token) -> Vec<u8> {
        let mut frames = Vec::new();
        self.delta.clear();
        assert!(self.output.push(token, &mut self.delta).is_none());
        for (text, tokens) in self.delta.pieces() {
            self.chunks.text(0, text, tokens, None, &mut frames);
        }
        frames
    }

    /// Returns the same by way of a parser.
    fn parsed_frame(&mut self, token: Token, reading: &mut Reading) -> Vec<u8> {
        let mut frames = Vec::new();
        self.delta.clear();
        assert!(self.output.push(token, &mut reading.raw).is_none());
        reading.read(&mut self.delta);
        for (said, tokens) in self.delta.parts.iter().flat_map(Part::pieces) {
            match said {
                Said::Content(text) => self.chunks.text(0, text, tokens, None, &mut frames),
                said => self.chunks.said(0, said, tokens, None, &mut frames),
            }
        }
        frames
    }
}

fn per_token(criterion: &mut Criterion) {
    let text = text_model();
    let ids = text.tokenizer.encode(TEXT, false).unwrap();
    let vocab_size = text.tokenizer.vocab_size();

    criterion.bench_function("detokenise, per token", |bencher| {
        let (mut detokenizer, mut out) = (text.tokenizer.detokenizer(true), String::new());
        let mut ids = ids.iter().cycle();
        bencher.iter(|| {
            out.clear();
            detokenizer.push(*ids.next().unwrap(), &mut out);
            black_box(out.len())
        });
    });

    for (name, more) in [
        ("chunk, plain", json!({})),
        ("chunk, 1 stop string", json!({ "stop": ["\nUser:"] })),
        ("chunk, 4 stop strings", json!({ "stop": ["\nUser:", "\n\n\n", "###", "end of"] })),
        ("chunk, logprobs", json!({ "logprobs": true })),
        ("chunk, logprobs and 5 likeliest", json!({ "logprobs": true, "top_logprobs": 5 })),
    ] {
        let options = ChatRequest::parse(&body(&more), vocab_size).unwrap().options;
        let logprobs = options.details.logprobs.map(|num_top| TokenLogprobs {
            logprob: -0.692_315,
            top: ids.iter().take(num_top as usize).map(|id| (*id, -1.234_567)).collect(),
        });
        criterion.bench_function(name, |bencher| {
            let mut stream = Stream::new(&text, &options);
            let mut ids = ids.iter().cycle();
            bencher.iter(|| {
                let token = Token { id: *ids.next().unwrap(), logprobs: logprobs.clone().map(Box::new) };
                black_box(stream.frame(token))
            });
        });
    }
}

/// Returns a call up to the beginning of a string of its arguments.
fn begun_call(format: ToolFormat) -> String {
    const MARK: &str = "0123456789";
    let arguments = json!({ "x": MARK });
    let call = format.call_syntax(|_| false).write([("f", arguments.as_object().unwrap())]);
    call.split_once(MARK).unwrap().0.to_owned()
}

/// The same of an answer that is read by a parser: text, thoughts, and in each format arguments
/// that go on for ever.
fn per_parsed_token(criterion: &mut Criterion) {
    let text = text_model();
    let ids = text.tokenizer.encode(TEXT, false).unwrap();
    let options = ChatRequest::parse(&body(&json!({})), text.tokenizer.vocab_size()).unwrap().options;
    let parsed = [
        ("parsed text", ToolFormat::Hermes, String::new()),
        ("reasoning", ToolFormat::Hermes, "<think>".to_owned()),
    ];
    let calls = ToolFormat::ALL.map(|(name, format)| (name, format, begun_call(format)));
    for (name, format, begin) in parsed.into_iter().chain(calls) {
        // Harmony has its own.
        let reasoning = Some(ReasoningFormat::Qwen3).filter(|_| format != ToolFormat::Openai);
        let declared = vec![Tool { name: "f".to_owned(), parameters: None }];
        let setup = Setup { tools: Some(format), reasoning, declared, ..Setup::default() };
        let begin = text.tokenizer.encode(&begin, false).unwrap();
        // Quotation marks and line breaks would end the string of the arguments.
        let is_plain = |id: &&u32| !text.tokenizer.decode(&[**id], false).unwrap().contains(['"', '\n']);
        let plain: Vec<u32> = ids.iter().filter(is_plain).copied().collect();
        criterion.bench_function(&format!("chunk, {name}"), |bencher| {
            let mut stream = Stream::new(&text, &options);
            stream.output = Output::new(text.tokenizer.detokenizer(true), options.stops.clone(), true);
            let mut reading = Reading::new(setup.clone(), &text.tokenizer, false, true);
            let mut ids = begin.iter().chain(plain.iter().cycle());
            bencher.iter(|| {
                let token = Token { id: *ids.next().unwrap(), logprobs: None };
                black_box(stream.parsed_frame(token, &mut reading))
            });
        });
    }
}

fn per_request(criterion: &mut Criterion) {
    let text = text_model();
    let body = body(&json!({}));
    let vocab_size = text.tokenizer.vocab_size();
    criterion.bench_function("parse a chat request", |bencher| {
        bencher.iter(|| ChatRequest::parse(black_box(&body), vocab_size).unwrap());
    });
    let conversation = ChatRequest::parse(&body, vocab_size).unwrap().conversation;
    criterion.bench_function("render and tokenise a short chat", |bencher| {
        bencher.iter(|| text.encode_conversation(black_box(conversation.clone()), None).unwrap());
    });
}

criterion_group!(benches, per_token, per_parsed_token, per_request);
criterion_main!(benches);
