//! The cost of a constrained row: compiling its schema, and the mask of each token at a vocabulary
//! of 128 thousand.
//!
//! `STREAMCORE_TOKENIZERS` names a folder with `llama3_1/tokenizer.json`; without it the vocabulary
//! is made up. `BFCL` names the data of the function calling leaderboard, whose functions are
//! compiled.
#![allow(missing_docs, clippy::print_stdout, reason = "a benchmark, not a library")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use streamcore_grammar::{Grammar, GrammarCache, Token, Vocabulary};

const VOCAB_SIZE: usize = 128_256;
const END: u32 = VOCAB_SIZE as u32 - 1;

/// Returns the tokens of a real tokenizer, or syllables that are joined until there are enough.
fn tokens() -> Vec<Vec<u8>> {
    let folder = std::env::var_os("STREAMCORE_TOKENIZERS");
    let real = folder.and_then(|folder| real_tokens(&Path::new(&folder).join("llama3_1/tokenizer.json")));
    let mut tokens = real.unwrap_or_else(made_up_tokens);
    tokens.truncate(END as usize);
    tokens
}

fn real_tokens(path: &Path) -> Option<Vec<Vec<u8>>> {
    let tokenizer: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    // GPT-2's alphabet: bytes that cannot be printed are characters from U+0100 on.
    let mut next = 0x100;
    let byte_of: std::collections::HashMap<char, u8> = (0..=u8::MAX)
        .map(|byte| {
            let printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
            next += u32::from(!printable);
            (if printable { char::from(byte) } else { char::from_u32(next - 1).unwrap_or_default() }, byte)
        })
        .collect();
    let mut tokens = vec![Vec::new(); VOCAB_SIZE];
    for (piece, id) in tokenizer["model"]["vocab"].as_object()? {
        let bytes: Option<Vec<u8>> = piece.chars().map(|char| byte_of.get(&char).copied()).collect();
        *tokens.get_mut(id.as_u64()? as usize)? = bytes?;
    }
    Some(tokens)
}

fn made_up_tokens() -> Vec<Vec<u8>> {
    let mut tokens: Vec<Vec<u8>> = (0..=254).map(|byte| vec![byte]).collect();
    let parts = [
        "a", "e", "i", "o", "n", "s", "t", "r", "th", "er", "in", "on", "\":", "{\"", "\",", "\n", "  ", "1",
        "00", "é", "_", ".", "-", "A",
    ];
    let mut seen: std::collections::HashSet<Vec<u8>> = tokens.iter().cloned().collect();
    let mut frontier: Vec<Vec<u8>> = vec![Vec::new(), b" ".to_vec()];
    while tokens.len() < VOCAB_SIZE {
        let next: Vec<Vec<u8>> = frontier
            .iter()
            .flat_map(|word| parts.iter().map(|part| [word, part.as_bytes()].concat()))
            .collect();
        tokens.extend(next.iter().filter(|word| seen.insert((*word).clone())).cloned());
        frontier = next;
    }
    tokens
}

/// The longest token first, as a model would mostly cut it.
fn cut(tokens: &std::collections::HashMap<&[u8], u32>, mut text: &[u8]) -> Vec<u32> {
    let mut ids = Vec::new();
    while !text.is_empty() {
        let (len, id) = (1..=text.len().min(24))
            .rev()
            .find_map(|len| Some((len, *tokens.get(&text[..len])?)))
            .expect("all bytes are tokens");
        ids.push(id);
        text = &text[len..];
    }
    ids
}

fn schemas() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "function",
            json!({"type": "object", "properties": {"location": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 14}}, "required": ["location", "unit"], "additionalProperties": false}),
            r#"{"location": "San Francisco, California", "unit": "celsius", "days": 12}"#,
        ),
        (
            "object",
            json!({"type": "object"}),
            r#"{"title": "A longer text with some words in it, and \"quotes\"", "list": [1, 2.5, true, null, {"deep": {"deeper": []}}], "n": -12}"#,
        ),
        (
            "patterns",
            json!({"type": "object", "properties": {"id": {"type": "string", "format": "uuid"}, "at": {"type": "string", "format": "date-time"},
                "mail": {"type": "string", "format": "email"}, "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4,8}$"},
                "note": {"type": "string", "maxLength": 200}}, "required": ["id", "at", "mail", "code", "note"], "additionalProperties": false}),
            concat!(
                r#"{"id": "123e4567-e89b-12d3-a456-426614174000", "at": "2026-01-31T12:30:00Z", "mail": "a.person@example.org", "#,
                r#""code": "CH-123456", "note": "Some words that are said without haste, one after the other."}"#
            ),
        ),
        (
            "recursive",
            json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}, "required": ["name", "children"], "additionalProperties": false}}}),
            r#"{"name": "root", "children": [{"name": "left", "children": []}, {"name": "right", "children": [{"name": "leaf", "children": []}]}]}"#,
        ),
    ]
}

/// Returns the time of each mask along an answer, sorted.
fn mask_times(cache: &GrammarCache, ids: &[u32], schema: &Value) -> Vec<Duration> {
    let mut matcher =
        cache.compile(&Grammar::json_schema(schema.clone())).expect("the schema is enforced").matcher();
    let mut mask = vec![0; cache.vocabulary().num_mask_words()];
    let mut times = Vec::new();
    for &id in ids {
        let begin = Instant::now();
        matcher.mask(&mut mask).expect("the answer can go on");
        times.push(begin.elapsed());
        assert_eq!(mask[id as usize / 32] >> (id % 32) & 1, 1, "the answer is one that the schema accepts");
        matcher.accept(id).expect("the mask allows it");
    }
    times
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{name}: p50 {:?}, p99 {:?}, max {:?} of {}", at(0.5), at(0.99), at(1.0), times.len());
}

fn masks(c: &mut Criterion) {
    let tokens = tokens();
    let text = tokens.iter().map(|bytes| if bytes.is_empty() { Token::Unused } else { Token::Text(bytes) });
    let begin = Instant::now();
    let vocabulary = Arc::new(Vocabulary::new(text, &[END], VOCAB_SIZE).expect("the vocabulary fits"));
    println!("vocabulary of {} tokens indexed in {:?}", tokens.len(), begin.elapsed());
    let by_bytes = tokens
        .iter()
        .zip(0..)
        .filter(|(bytes, _)| !bytes.is_empty())
        .map(|(bytes, id)| (bytes.as_slice(), id))
        .collect();

    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for (name, schema, answer) in schemas() {
        let ids = cut(&by_bytes, answer.as_bytes());
        let cache = GrammarCache::new(Arc::clone(&vocabulary));
        cold.extend(mask_times(&cache, &ids, &schema));
        for _ in 0..50 {
            warm.extend(mask_times(&cache, &ids, &schema));
        }
        c.bench_function(&format!("answer/{name}"), |b| {
            b.iter(|| black_box(mask_times(&cache, &ids, &schema)));
        });
        c.bench_function(&format!("compile/{name}"), |b| {
            b.iter(|| {
                GrammarCache::new(Arc::clone(&vocabulary))
                    .compile(&Grammar::json_schema(schema.clone()))
                    .is_ok()
            });
        });
    }
    report("mask of a row whose grammar is new", cold);
    report("mask of a row whose grammar was used before", warm);
    if let Some(folder) = std::env::var_os("BFCL") {
        functions(&vocabulary, Path::new(&folder));
    }
}

/// Compiles the functions of the leaderboard in the notation of Python.
fn functions(vocabulary: &Arc<Vocabulary>, folder: &Path) {
    let mut times = Vec::new();
    for name in ["BFCL_v4_multiple.json", "BFCL_v4_parallel_multiple.json", "BFCL_v4_live_multiple.json"] {
        let lines = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        for line in lines.lines() {
            let entry: Value = serde_json::from_str(line).unwrap_or_default();
            for function in entry["function"].as_array().into_iter().flatten() {
                let schema = function["parameters"].to_string();
                let schema = schema
                    .replace("\"type\":\"dict\"", "\"type\":\"object\"")
                    .replace("\"type\":\"float\"", "\"type\":\"number\"");
                let schema = schema
                    .replace("\"type\":\"tuple\"", "\"type\":\"array\"")
                    .replace("\"type\":\"any\"", "\"title\":\"any\"");
                let grammar = Grammar::json_schema(serde_json::from_str(&schema).unwrap_or_default());
                let begin = Instant::now();
                if GrammarCache::new(Arc::clone(vocabulary)).compile(&grammar).is_ok() {
                    times.push(begin.elapsed());
                }
            }
        }
    }
    report("schema of a function compiled", times);
}

criterion_group!(benches, masks);
criterion_main!(benches);
