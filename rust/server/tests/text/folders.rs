//! Model folders against transformers: the expectations come from `tests/text/make_folders.py`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use streamcore_server::text::{RenderOptions, TextModel};

use crate::fixtures::byte_level;

#[derive(Deserialize)]
struct Folders {
    text: String,
    tools: Value,
    tokenizer: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    files: Map<String, Value>,
    expected: Expected,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Expected {
    ids: Vec<u32>,
    ids_around: Vec<u32>,
    prompt: Option<String>,
    prompt_with_tools: Option<String>,
    eos: Option<u32>,
}

/// Returns a folder with these files: text as it is, anything else as JSON.
fn write(name: &str, files: &Map<String, Value>) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    for (file, content) in files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn found(folder: &Path, text: &str, tools: &Value) -> Expected {
    let model = TextModel::load(folder).unwrap();
    let messages = [json!({ "role": "user", "content": "hi" })];
    let prompt = |tools: Option<Value>| {
        let options = RenderOptions { tools, ..RenderOptions::default() };
        model.chat_template.as_ref()?.render(&messages, &options).ok()
    };
    Expected {
        ids: model.tokenizer.encode(text, false).unwrap(),
        ids_around: model.tokenizer.encode(text, true).unwrap(),
        prompt: prompt(None),
        prompt_with_tools: prompt(Some(tools.clone())),
        eos: model.generation.eos_token_ids.first().copied(),
    }
}

/// Prompts would lose their first token, markers be read as letters, and answers never end.
#[test]
fn folders_are_read_as_transformers_reads_them() {
    let folders: Folders = serde_json::from_str(include_str!("../data/folders.json")).unwrap();
    let mut differences = Vec::new();
    for (index, case) in folders.cases.iter().enumerate() {
        let mut files = case.files.clone();
        files.insert("tokenizer.json".to_owned(), folders.tokenizer.clone());
        files.insert("config.json".to_owned(), json!({}));
        let found = found(&write(&format!("folder_{index}"), &files), &folders.text, &folders.tools);
        if found != case.expected {
            differences.push(format!(
                "{}\n  transformers {:?}\n  ours         {found:?}",
                Value::Object(case.files.clone()),
                case.expected
            ));
        }
    }
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n\n"));
}

fn notices(name: &str, files: Value) -> Vec<String> {
    let Value::Object(mut files) = files else { panic!("files are an object") };
    files.insert("tokenizer.json".to_owned(), byte_level().clone());
    TextModel::load(&write(name, &files)).unwrap().notices
}

/// What is there and not read would be missed only when answers are wrong.
#[test]
fn what_is_not_read_is_said() {
    let none: [&str; 0] = [];
    assert_eq!(
        notices("notices_none", json!({ "config.json": {}, "vocab.json": {}, "README.md": "x" })),
        none
    );
    let media =
        notices("notices_media", json!({ "preprocessor_config.json": {}, "processor_config.json": {} }));
    assert_eq!(
        media,
        ["`preprocessor_config.json`, `processor_config.json` not read: messages have text only"]
    );
    let map = notices(
        "notices_map",
        json!({
            "tokenizer_config.json": { "eos_token": "<|end|>", "added_tokens_decoder": {} },
            "special_tokens_map.json": { "eos_token": "<other>" },
        }),
    );
    assert_eq!(map.len(), 1);
    assert!(map[0].starts_with("`eos_token` of `special_tokens_map.json` not read"), "{map:?}");
    let templates = notices(
        "notices_templates",
        json!({
            "tokenizer_config.json": { "chat_template": "a" }, "chat_template.json": { "chat_template": "b" },
            "chat_template.jinja": "a\n", "additional_chat_templates/rag.jinja": "c",
        }),
    );
    assert_eq!(templates.len(), 2);
    assert!(templates[0].contains("`chat_template.json` not read: `"), "{templates:?}");
    assert!(templates[1].contains("`rag`"), "{templates:?}");
}

/// The template of a processor would be missed where the folder has no other.
#[test]
fn the_template_of_a_processor_is_the_last_resort() {
    let files = json!({ "chat_template.json": { "chat_template": "{{ 'processor' }}" }, "tokenizer.json": byte_level() });
    let model = TextModel::load(&write("processor_template", files.as_object().unwrap())).unwrap();
    assert_eq!(model.chat_template.unwrap().render(&[], &RenderOptions::default()).unwrap(), "processor");
}

/// A template that can never be rendered would be found by the first user, and would keep others
/// from completing text.
#[test]
fn a_template_that_cannot_be_rendered_is_named_at_start() {
    let faults = [
        ("{{ 'a' }}\n{{ x | nosuch }}", "line 2: there is no filter `nosuch`"),
        ("{{ x is nosuch }}", "line 1: there is no test `nosuch`"),
        ("{% nosuch %}", "line 1: unknown tag `nosuch`"),
        ("{% if x %}\n{{ x", "line 2: a tag is not closed, `}}` is missing"),
        ("{% for x in y %}\n", "expected `endfor` or `else`, found the end of the template"),
        ("{{ (1 }}", "unexpected `}`, expected `)`"),
        ("{% break %}", "`break` stands outside of a loop"),
    ];
    for (source, fault) in faults {
        let files = json!({ "chat_template.jinja": source, "tokenizer.json": byte_level() });
        let model = TextModel::load(&write("template_fault", files.as_object().unwrap())).unwrap();
        assert!(model.chat_template.is_none(), "{source}");
        let said = model.chat_template_fault.unwrap();
        assert!(said.starts_with("`chat_template.jinja`: the chat template does not compile: "), "{said}");
        assert!(said.contains(fault), "`{fault}` is not in: {said}");
        assert_eq!(model.notices, [said]);
        assert!(!model.tokenizer.encode("text", true).unwrap().is_empty());
    }
}

/// A place that only some conversations come to would be found by one of them.
#[test]
fn a_place_that_cannot_be_rendered_is_named_at_start() {
    let source = "{% if tools %}\n{{ tools | nosuch }}{{ undefined_function() }}{% endif %}text";
    let notices = notices("template_place", json!({ "chat_template.jinja": source }));
    assert_eq!(notices.len(), 2);
    assert!(notices[0].contains("line 2: there is no filter `nosuch`"), "{notices:?}");
    assert!(notices[1].contains("line 2: there is no function `undefined_function`"), "{notices:?}");
}

/// The error would be that `tokenizer.json` is missing, with the vocabulary in plain sight.
#[test]
fn a_vocabulary_in_another_form_is_named() {
    for files in [json!({ "vocab.json": {}, "merges.txt": "" }), json!({ "tokenizer.model": "" })] {
        let folder = write("other_vocabulary", files.as_object().unwrap());
        let error = TextModel::load(&folder).unwrap_err().to_string();
        assert!(error.contains(files.as_object().unwrap().keys().next().unwrap()), "{error}");
        assert!(error.contains("save_pretrained"), "{error}");
    }
}
