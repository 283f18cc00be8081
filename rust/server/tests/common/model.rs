//! A tokenizer in which every byte is a token, and a chat template, written to a folder as models
//! are.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use streamcore_server::text::{ChatTemplate, TextModel, Tokenizer};

/// Ends an answer.
pub const END_TOKEN: u32 = 256;
/// The model's rows for this tokenizer: more than tokens, as is usual.
pub const VOCAB_SIZE: usize = 320;

const TEMPLATE: &str = "{% for message in messages %}{{ message.role[0] }}:{{ message.content }}\n{% endfor %}\
                        {% if add_generation_prompt %}a:{% endif %}";

pub fn text_model() -> TextModel {
    static MODEL: OnceLock<TextModel> = OnceLock::new();
    MODEL.get_or_init(|| TextModel::load(&write_folder("toy", &tokenizer(&[]))).unwrap()).clone()
}

/// Returns the tokens of a script, in which `<end>` is the end token.
pub fn tokens_of(script: &[u8]) -> Vec<u32> {
    let (mut tokens, mut rest) = (Vec::new(), script);
    while let Some(byte) = rest.first() {
        let behind_end = rest.strip_prefix(b"<end>");
        tokens.push(behind_end.map_or(u32::from(*byte), |_| END_TOKEN));
        rest = behind_end.unwrap_or(&rest[1..]);
    }
    tokens
}

/// Returns the same tokenizer with more tokens, whose ids follow that of the end token.
pub fn extended_tokenizer(pieces: &[&[u8]]) -> Tokenizer {
    let folder = write_folder("extended", &tokenizer(pieces));
    Tokenizer::load(&folder.join("tokenizer.json")).unwrap()
}

/// Returns the toy with another chat template.
pub fn text_model_with(template: &str) -> TextModel {
    let template = ChatTemplate::new(template, &Map::new(), jiff::Zoned::now).unwrap();
    let mut model = TextModel { chat_template: Some(template), ..text_model() };
    model.detect_formats();
    model
}

/// Returns the same tokenizer after a change of its file.
pub fn changed_tokenizer(name: &str, change: impl FnOnce(&mut Value)) -> Tokenizer {
    let mut json = tokenizer(&[]);
    change(&mut json);
    Tokenizer::load(&write_folder(name, &json).join("tokenizer.json")).unwrap()
}

/// Returns the toy with these added tokens, which are special or not, and with these pieces of
/// text; answers their ids.
pub fn marked_model(
    name: &str,
    markers: &[(&str, bool)],
    pieces: &[&str],
) -> (TextModel, HashMap<String, u32>) {
    let mut json = tokenizer(&pieces.iter().map(|piece| piece.as_bytes()).collect::<Vec<_>>());
    let mut ids: HashMap<_, _> =
        pieces.iter().map(|piece| (*piece).to_owned()).zip(END_TOKEN + 1..).collect();
    for (marker, is_special) in markers {
        let id = END_TOKEN + 1 + u32::try_from(ids.len()).unwrap();
        let mut token = json["added_tokens"][0].clone();
        token["id"] = id.into();
        token["content"] = (*marker).into();
        token["special"] = (*is_special).into();
        json["added_tokens"].as_array_mut().unwrap().push(token);
        json["model"]["vocab"][*marker] = id.into();
        ids.insert((*marker).to_owned(), id);
    }
    (TextModel::load(&write_folder(name, &json)).unwrap(), ids)
}

/// Returns the same tokenizer, but that a space at the start of a text is dropped, as
/// SentencePiece's family does.
pub fn stripping_tokenizer() -> Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    let make = || {
        let mut json = tokenizer(&[]);
        let strip = json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 });
        json["decoder"] = json!({ "type": "Sequence", "decoders": [json["decoder"], strip] });
        Tokenizer::load(&write_folder("stripping", &json).join("tokenizer.json")).unwrap()
    };
    TOKENIZER.get_or_init(make).clone()
}

fn write_folder(name: &str, tokenizer: &Value) -> PathBuf {
    let name = format!("{name}-{}", std::process::id());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let config = json!({ "chat_template": TEMPLATE, "eos_token": "<end>" });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
    folder
}

/// Byte-level BPE writes each byte as a printable character: itself, or one from U+0100 on.
fn tokenizer(pieces: &[&[u8]]) -> Value {
    let mut alphabet = Vec::new();
    let mut next_substitute = 0x100;
    for byte in 0..=255_u32 {
        let is_printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if is_printable {
            byte
        } else {
            next_substitute += 1;
            next_substitute - 1
        };
        alphabet.push(char::from_u32(code).unwrap());
    }
    let bytes = alphabet.iter().map(char::to_string).zip(0..END_TOKEN);
    let spelled = |piece: &&[u8]| piece.iter().map(|byte| alphabet[usize::from(*byte)]).collect::<String>();
    let pieces = pieces.iter().map(spelled).zip(END_TOKEN + 1..);
    let end_token = [("<end>".to_owned(), END_TOKEN)];
    let vocab: Map<_, _> =
        bytes.chain(end_token).chain(pieces).map(|(token, id)| (token, id.into())).collect();
    let end = json!({
        "id": END_TOKEN, "content": "<end>", "special": true,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
    });
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    json!({
        "version": "1.0",
        "added_tokens": [end],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    })
}
