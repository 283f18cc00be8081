//! The cost of a piece of an answer in the parser of each format: in prose, and in a call.
//!
//!     cargo bench -p streamcore-parsers --bench answers
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark, not a library")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use streamcore_parsers::{Finish, Parser, Piece, ReasoningFormat, Setup, Tool, ToolFormat};

const PROSE: &str =
    "The café at the harbour opens at seven. \"Two coffees, please,\" said Ada, and counted.\n";

/// Returns a text in pieces of four letters, about as long as tokens.
fn pieces(text: &str) -> Vec<String> {
    text.chars().collect::<Vec<_>>().chunks(4).map(|letters| letters.iter().collect()).collect()
}

fn parser(tools: ToolFormat) -> Parser {
    let parameters =
        json!({ "properties": { "text": { "type": "string" }, "lines": { "type": "integer" } } });
    let declared = vec![Tool { name: "write".to_owned(), parameters: Some(parameters) }];
    let reasoning = Some(ReasoningFormat::Qwen3);
    let setup = Setup { tools: Some(tools), reasoning, starts_in_reasoning: false, declared };
    Parser::new(setup, |_| false)
}

fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answers");
    let arguments = json!({ "text": PROSE.repeat(100), "lines": 100 });
    for (name, tools) in ToolFormat::ALL {
        let call = tools.call_syntax(|_| false).write([("write", arguments.as_object().unwrap())]);
        for (kind, text) in [("prose", &PROSE.repeat(100)), ("call", &call)] {
            let pieces = pieces(text);
            group.throughput(Throughput::Elements(pieces.len() as u64));
            group.bench_function(format!("{name}/{kind}"), |bencher| {
                let mut events = Vec::new();
                let read = |mut parser: Parser| {
                    for piece in &pieces {
                        parser.push(Piece::Text(piece), &mut events);
                        black_box(&events);
                        events.clear();
                    }
                    parser.finish(Finish::Stop, &mut events);
                };
                bencher.iter_batched(|| parser(tools), read, BatchSize::SmallInput);
            });
        }
    }
}

criterion_group!(benches, answers);
criterion_main!(benches);
