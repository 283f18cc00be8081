//! Small tokenizers of both families, trained here, and folders to put them in.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::{Prepend, Replace, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

const TEXT: [&str; 4] = [
    "Hello, world! Hello again, and again; counting one, two, three and again one.",
    "Grüße aus Zürich, größer und schöner: Äpfel, Öl, Übung.",
    "世界 世界 你好 世界人民 こんにちは世界 これは日本語です",
    "def main():\n    print('Hello')\n    return  0\n\n",
];

/// Returns a folder of its own for one test, with these files in it.
pub(crate) fn save(name: &str, files: &[(&str, &Value)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    for (file, content) in files {
        std::fs::write(folder.join(file), content.to_string()).unwrap();
    }
    folder
}

/// `json` with another decoder.
pub(crate) fn tokenizer_json(json: &Value, decoder: Value) -> Value {
    let mut json = json.clone();
    json["decoder"] = decoder;
    json
}

/// GPT-2's family: every byte is a character of the vocabulary. Has `<|end|>` (special) and `<✓>`
/// (added).
pub(crate) fn byte_level() -> &'static Value {
    static JSON: OnceLock<Value> = OnceLock::new();
    JSON.get_or_init(|| {
        let trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(400)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(vec![AddedToken::from("<|end|>", true)])
            .build();
        let bytes = ByteLevel::default().add_prefix_space(false);
        let mut tokenizer = train(trainer, None, Some(bytes.into()));
        tokenizer.with_decoder(Some(bytes));
        tokenizer.add_tokens([AddedToken::from("<✓>", false)]).unwrap();
        serde_json::to_value(&tokenizer).unwrap()
    })
}

/// SentencePiece's family, as in Llama 2: `▁` for a space, `<0x0A>` for a byte without a token.
pub(crate) fn byte_fallback() -> &'static Value {
    static JSON: OnceLock<Value> = OnceLock::new();
    JSON.get_or_init(|| {
        let specials = ["<unk>", "<s>", "</s>"].map(|token| AddedToken::from(token, true));
        let trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(300)
            .special_tokens(specials.into())
            .build();
        let spaces =
            Sequence::new(vec![Prepend::new("▁".to_owned()).into(), Replace::new(" ", "▁").unwrap().into()]);
        let tokenizer = train(trainer, Some(spaces.into()), None);
        let mut json = serde_json::to_value(&tokenizer).unwrap();
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        for byte in 0..=u8::MAX {
            let id = vocab.len();
            vocab.insert(format!("<0x{byte:02X}>"), id.into());
        }
        json["model"]["byte_fallback"] = true.into();
        json["model"]["unk_token"] = "<unk>".into();
        json["decoder"] = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]});
        json
    })
}

/// Returns the same vocabulary, with spaces left to `Metaspace`; its decoder knows no bytes.
pub(crate) fn metaspace() -> Value {
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false});
    let mut json = tokenizer_json(byte_fallback(), metaspace.clone());
    json["normalizer"] = Value::Null;
    json["pre_tokenizer"] = metaspace;
    json
}

fn train(
    trainer: BpeTrainer,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
) -> Tokenizer {
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_normalizer(normalizer).unwrap();
    tokenizer.with_pre_tokenizer(pre_tokenizer);
    let mut trainer = TrainerWrapper::from(trainer);
    tokenizer.train(&mut trainer, TEXT.iter()).unwrap();
    tokenizer
}
