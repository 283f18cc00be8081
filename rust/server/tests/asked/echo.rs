//! `echo`: an answer begins with its prompt as it was sent, whatever the tokenizer makes of it.

use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Map, Value, json};
use streamcore_server::text::Tokenizer;

use crate::common::contract::{Asked, read};
use crate::common::model::{END_TOKEN, changed_tokenizer};
use crate::common::{Stage, post};

const PATH: &str = "/v1/completions";

/// Tokenizers that change a text before they look at it, each in a way of its own.
fn tokenizers() -> &'static [(&'static str, Tokenizer)] {
    static ALL: OnceLock<Vec<(&str, Tokenizer)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let made = |name, change: fn(&mut Value)| (name, changed_tokenizer(&format!("echo-{name}"), change));
        vec![
            made("bytes", |_| {}),
            made("merges", |json| {
                // The two bytes of an `é`, and a letter with the first of them.
                json["model"]["vocab"]["Ã©"] = json!(257);
                json["model"]["vocab"]["hÃ"] = json!(258);
                json["model"]["merges"] = json!([["h", "Ã"], ["Ã", "©"]]);
            }),
            made("composing", |json| json["normalizer"] = json!({ "type": "NFC" })),
            made("folding", |json| {
                let strip = json!({ "type": "Strip", "strip_left": true, "strip_right": true });
                json["normalizer"] = json!({ "type": "Sequence", "normalizers": [
                    { "type": "NFKD" }, { "type": "Lowercase" }, { "type": "StripAccents" }, strip,
                ] });
            }),
            made("framing", |json| {
                let (end, text) = (json!({ "SpecialToken": { "id": "<end>", "type_id": 0 } }), json!({ "Sequence": { "id": "A", "type_id": 0 } }));
                let ids = json!({ "id": "<end>", "ids": [END_TOKEN], "tokens": ["<end>"] });
                json["post_processor"] = json!({
                    "type": "TemplateProcessing", "single": [end, text, end], "pair": [text, text], "special_tokens": { "<end>": ids },
                });
            }),
            made("greedy", |json| {
                let mark = json!({
                    "id": 257, "content": "<mark>", "special": true,
                    "single_word": false, "lstrip": true, "rstrip": true, "normalized": false,
                });
                json["added_tokens"].as_array_mut().unwrap().push(mark);
            }),
            made("prefixing", |json| {
                *json = sentence_pieces();
                json["normalizer"] = json!({ "type": "Sequence", "normalizers": [
                    { "type": "Prepend", "prepend": "▁" },
                    { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
                ] });
                json["decoder"] = json!({ "type": "Sequence", "decoders": [
                    { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
                    { "type": "ByteFallback" }, { "type": "Fuse" }, { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
                ] });
            }),
            made("metaspace", |json| {
                *json = sentence_pieces();
                let metaspace = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true });
                (json["pre_tokenizer"], json["decoder"]) = (metaspace.clone(), metaspace);
            }),
        ]
    })
}

/// Letters and words of one letter; all else is bytes.
fn sentence_pieces() -> Value {
    let bytes = (0..END_TOKEN).map(|byte| format!("<0x{byte:02X}>"));
    let letters = ["▁", "a", "b", "c", "h", "o", "k", "▁a"].map(str::to_owned);
    let pieces = bytes.chain(["<end>".to_owned()]).chain(letters).zip(0_u32..);
    let vocab: Map<_, _> = pieces.map(|(piece, id)| (piece, id.into())).collect();
    json!({
        "version": "1.0",
        "added_tokens": [{
            "id": END_TOKEN, "content": "<end>", "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        }],
        "model": { "type": "BPE", "vocab": vocab, "merges": [["▁", "a"]], "byte_fallback": true },
    })
}

fn prompt() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[abch ]{1,3}",
        2 => prop::sample::select(vec![
            "e\u{301}", "é", "hé", "ﬁ", "İ", "ẞ", "Å", "\u{1100}\u{1161}", "한", "🦀", "👩\u{200d}👧", "\u{301}", "\u{fffd}", "\0",
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["<end>", " <mark> ", "<mar", "\n", "   ", "▁", "<0x41>"]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 1..7).prop_map(|pieces| pieces.concat())
}

/// Returns the only choice of an answer, and what a client makes of the stream of the same.
fn answers(tokenizer: &Tokenizer, body: &Value) -> Option<(Value, Value)> {
    let play = |stream: bool| {
        let mut body = body.clone();
        body["stream"] = json!(stream);
        let mut stage = Stage::with_tokenizer("ok", tokenizer.clone());
        let transcript = stage.play(post(PATH, body.clone()), 1);
        (transcript, body)
    };
    let (whole, _) = play(false);
    let answer: Value = serde_json::from_str(&whole.body()).unwrap();
    if whole.head.status() != 200 {
        // The tokenizer makes nothing of it.
        assert_eq!(answer["error"]["message"], "`prompt` has no tokens");
        return None;
    }
    let (streamed, body) = play(true);
    let told = read(&streamed, Asked::of(PATH, &body)).unwrap();
    Some((answer, told["choices"][0][1].clone()))
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<T> {
    serde_json::from_value(value.clone()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(7), failure_persistence: None, cases: 200, ..Default::default() })]

    /// An evaluation cuts the prompt off by its length and finds the tokens behind it by their
    /// offsets: one character more or less and it scores something else.
    #[test]
    fn an_answer_begins_with_its_prompt(
        which in 0..tokenizers().len(),
        prompt in prompt(),
        logprobs in prop::option::of(0_u32..3),
        (max_tokens, shows_special) in (prop_oneof![Just(0_usize), Just(2)], any::<bool>()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _context = runtime.enter();
        let (name, tokenizer) = &tokenizers()[which];
        let body = json!({
            "prompt": prompt, "echo": true, "logprobs": logprobs, "max_tokens": max_tokens, "skip_special_tokens": !shows_special,
        });
        let Some((answer, streamed)) = answers(tokenizer, &body) else { return Ok(()) };
        // Its decoder knows nothing of bytes.
        let generated = if *name == "metaspace" { "<0x6F><0x6B>" } else { "ok" };
        let generated = if max_tokens == 0 { "" } else { generated };
        let whole = &answer["choices"][0];
        let text = whole["text"].as_str().unwrap();
        prop_assert_eq!(text, format!("{prompt}{generated}"), "{}", name);
        prop_assert_eq!(text, streamed["text"].as_str().unwrap());
        if logprobs.is_none() {
            prop_assert!(whole["logprobs"].is_null());
            return Ok(());
        }
        for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            prop_assert_eq!(&whole["logprobs"][key], &streamed[format!("logprobs.{key}")], "{}", key);
        }
        let tokens: Vec<String> = list(&whole["logprobs"]["tokens"]);
        let offsets: Vec<usize> = list(&whole["logprobs"]["text_offset"]);
        let num_tokens = answer["usage"]["total_tokens"].as_u64().unwrap() as usize;
        prop_assert_eq!((tokens.len(), offsets.len()), (num_tokens, num_tokens));
        let num_chars = text.chars().count();
        prop_assert!(offsets.is_sorted() && offsets.iter().all(|offset| *offset <= num_chars), "{:?}", offsets);
        let prompt_chars = num_chars - generated.len();
        prop_assert_eq!(&offsets[num_tokens - max_tokens..], &[prompt_chars, prompt_chars + generated.len() / 2][..max_tokens]);
        // Where nothing is changed on the way, a token's name is what stands there.
        if ["bytes", "merges"].contains(name) {
            let chars: Vec<char> = text.chars().collect();
            for (token, offset) in tokens.iter().zip(&offsets).filter(|(token, _)| !token.starts_with("bytes:")) {
                let rest: String = chars[*offset..].iter().collect();
                prop_assert!(rest.starts_with(token), "{:?} at {} of {:?}", token, offset, text);
            }
        }
    }
}

/// Scripts of evaluations read the chosen token's number from `top_logprobs`, which OpenAI and vLLM
/// fill also where no others are asked for.
#[tokio::test(start_paused = true)]
async fn the_chosen_token_is_among_the_likeliest() {
    for logprobs in [0, 1] {
        let body = json!({ "prompt": "ab", "echo": true, "logprobs": logprobs, "max_tokens": 1 });
        let (answer, _) = answers(&tokenizers()[0].1, &body).unwrap();
        let told = &answer["choices"][0]["logprobs"];
        let (tokens, numbers) =
            (list::<String>(&told["tokens"]), list::<Option<f64>>(&told["token_logprobs"]));
        let tops = told["top_logprobs"].as_array().unwrap();
        assert!(tops[0].is_null() && numbers[0].is_none(), "nothing comes before the first");
        for ((token, number), top) in tokens.iter().zip(&numbers).zip(tops).skip(1) {
            assert_eq!(top[token].as_f64(), *number, "{told}");
            assert!(top.as_object().unwrap().len() <= logprobs + 1);
            assert!(logprobs > 0 || top.as_object().unwrap().len() == 1);
        }
    }
}
