//! Loading the text side of a model folder: what is found where, and what is said when it is wrong.

use serde_json::{Value, json};
use streamcore_server::text::{Conversation, PromptEnd, RenderOptions, TextModel};

use crate::fixtures::{byte_level, save, tokenizer_json};

/// Loads a folder with the byte-level tokenizer and these files.
fn load(name: &str, files: &[(&str, &Value)]) -> Result<TextModel, String> {
    let tokenizer = ("tokenizer.json", byte_level());
    TextModel::load(&save(name, &[&[tokenizer], files].concat())).map_err(|error| error.to_string())
}

fn rendered(model: &TextModel) -> String {
    let messages = [json!({"role": "user", "content": "Hi"})];
    model.chat_template.as_ref().unwrap().render(&messages, &RenderOptions::default()).unwrap()
}

/// A base model's folder, which has no more than a tokenizer, could not be served.
#[test]
fn a_tokenizer_alone_is_enough() {
    let model = load("alone", &[]).unwrap();
    assert!(model.chat_template.is_none());
    assert_eq!(model.generation, Default::default());
}

/// Answers would run on past their end token.
#[test]
fn end_tokens_come_from_every_file_that_names_them() {
    let end = load("alone_for_id", &[]).unwrap().tokenizer.token_id("<|end|>").unwrap();
    let ids = |name, files: &[(&str, &Value)]| load(name, files).unwrap().generation.eos_token_ids;
    let tokenizer_config = json!({"eos_token": {"content": "<|end|>", "__type": "AddedToken"}});
    let config = json!({"eos_token_id": 7});
    let generation = json!({"eos_token_id": [9, 8, 9]});
    assert_eq!(ids("eos_config", &[("config.json", &config)]), [7]);
    assert_eq!(ids("eos_both", &[("config.json", &config), ("generation_config.json", &generation)]), [9, 8]);
    assert_eq!(
        ids("eos_all", &[("tokenizer_config.json", &tokenizer_config), ("config.json", &config)]),
        [7, end]
    );
}

/// The model's own sampling defaults would be ignored, or `top_k: 0` be read as "no token at all".
#[test]
fn sampling_defaults_are_read() {
    let generation =
        json!({"temperature": 0.6, "top_p": 0.9, "top_k": 20, "do_sample": true, "eos_token_id": null});
    let model = load("defaults", &[("generation_config.json", &generation)]).unwrap();
    assert_eq!(model.generation.sampling.temperature, Some(0.6));
    assert_eq!(model.generation.sampling.top_p, Some(0.9));
    assert_eq!(model.generation.sampling.top_k, Some(20));
    let generation = json!({"top_k": 0, "temperature": 1});
    let model = load("defaults_off", &[("generation_config.json", &generation)]).unwrap();
    assert_eq!((model.generation.sampling.top_k, model.generation.sampling.temperature), (None, Some(1.0)));
}

/// The wrong template would be used where a model has several.
#[test]
fn the_chat_template_is_found_in_either_file() {
    let text = json!({"chat_template": "{{ bos_token }}{{ messages[0].content }}", "bos_token": "<s>"});
    assert_eq!(rendered(&load("template_text", &[("tokenizer_config.json", &text)]).unwrap()), "<s>Hi");

    let list = json!({"chat_template": [
        {"name": "tool_use", "template": "tools"}, {"name": "default", "template": "default"}]});
    assert_eq!(rendered(&load("template_list", &[("tokenizer_config.json", &list)]).unwrap()), "default");

    let folder = save("template_file", &[("tokenizer.json", byte_level()), ("tokenizer_config.json", &text)]);
    std::fs::write(folder.join("chat_template.jinja"), "{% if true %}\r\nfile{{ bos_token }}{% endif %}")
        .unwrap();
    assert_eq!(rendered(&TextModel::load(&folder).unwrap()), "file<s>");
}

/// A user with a broken or half-downloaded folder would be left to guess which file it is.
#[test]
fn errors_name_the_file_and_the_fault() {
    let error = |name, files: &[(&str, &Value)]| load(name, files).unwrap_err();
    let names = |error: String, parts: &[&str]| {
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    };
    let config = json!({"eos_token_id": "two"});
    names(error("bad_eos", &[("config.json", &config)]), &["config.json`", "`eos_token_id`", "\"two\""]);
    let generation = json!({"temperature": [1]});
    names(
        error("bad_temperature", &[("generation_config.json", &generation)]),
        &["generation_config.json`", "`temperature` must be a number"],
    );
    let generation = json!({"repetition_penalty": 0});
    names(
        error("bad_penalty", &[("generation_config.json", &generation)]),
        &["generation_config.json`", "`repetition_penalty` must be a number above 0"],
    );
    let list = json!({"chat_template": [{"name": "other"}]});
    names(
        error("no_template", &[("tokenizer_config.json", &list)]),
        &["`chat_template`", "templates with names"],
    );
    names(
        error("array", &[("generation_config.json", &json!([]))]),
        &["generation_config.json`", "not valid JSON"],
    );
    names(
        error(
            "decoder_in_model",
            &[(
                "tokenizer.json",
                &tokenizer_json(
                    byte_level(),
                    json!({"type": "CTC",
            "pad_token": "", "word_delimiter_token": "|", "cleanup": true}),
                ),
            )],
        ),
        &["tokenizer.json`", "`CTC`"],
    );
    names(
        error("no_model", &[("tokenizer.json", &json!({"version": "1.0"}))]),
        &["does not describe a tokenizer"],
    );

    let folder = save("half", &[]);
    let missing = TextModel::load(&folder).unwrap_err().to_string();
    names(missing, &["cannot read", "tokenizer.json`"]);
    let whole = byte_level().to_string();
    std::fs::write(folder.join("tokenizer.json"), &whole[..whole.len() / 2]).unwrap();
    names(TextModel::load(&folder).unwrap_err().to_string(), &["tokenizer.json` is not valid JSON", "line"]);
}

/// A model with a template of its own for tools would be told of them in a way that it does not
/// know.
#[test]
fn requests_with_tools_have_their_own_template() {
    let templates = json!({ "chat_template": [
        { "name": "default", "template": "plain {{ tools }}" },
        { "name": "tool_use", "template": "with {{ tools[0].function.name }}" },
    ] });
    let model = load("tool_use", &[("tokenizer_config.json", &templates)]).unwrap();
    let prompt = |tools: Vec<Value>| {
        let (messages, variables) = (Vec::new(), serde_json::Map::new());
        let conversation = Conversation { messages, tools, end: PromptEnd::Answer, variables };
        model.encode_conversation(conversation, None).unwrap().text
    };
    assert_eq!(prompt(vec![json!({ "type": "function", "function": { "name": "f" } })]), "with f");
    assert_eq!(prompt(Vec::new()), "plain None");
}
