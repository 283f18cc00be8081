//! Any list of messages is rendered or refused by each kind of chat template, never a panic.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use streamcore_server::text::{ChatTemplate, RenderOptions};

const SOURCES: [&str; 5] = [
    include_str!("../../python/streamcore/demo_model/chat_template.jinja"),
    include_str!("../../tests/text/templates/chatml_like.jinja"),
    include_str!("../../tests/text/templates/every_feature.jinja"),
    include_str!("../../tests/text/templates/llama_like.jinja"),
    include_str!("../../tests/text/templates/mistral_like.jinja"),
];

static TEMPLATES: LazyLock<Vec<ChatTemplate>> = LazyLock::new(|| {
    let compile = |source| ChatTemplate::new(source, &Map::new(), || jiff::Zoned::default());
    SOURCES.into_iter().map(|source| compile(source).expect("the templates of the tests compile")).collect()
});

fuzz_target!(|body: &[u8]| {
    let Ok(messages) = serde_json::from_slice::<Vec<Value>>(body) else { return };
    let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
    for template in TEMPLATES.iter() {
        // What it makes of the messages is the template's business.
        let _ = template.render(&messages, &options);
    }
});
