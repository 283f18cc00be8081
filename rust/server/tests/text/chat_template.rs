//! Chat templates against jinja2: the expectations come from `tests/text/make_chat_templates.py`.

use std::collections::BTreeMap;

use jiff::civil::date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value};
use streamcore_server::text::{ChatTemplate, RenderOptions, TemplateError};

#[derive(Deserialize)]
struct Expectations {
    conversations: BTreeMap<String, Conversation>,
    templates: Vec<Template>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Value>,
    tools: Option<Value>,
    add_generation_prompt: Option<bool>,
    #[serde(default)]
    extra: Map<String, Value>,
}

#[derive(Deserialize)]
struct Template {
    name: String,
    source: String,
    special_tokens: Map<String, Value>,
    expected: BTreeMap<String, Outcome>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Text(String),
    Raised(String),
    Failed(String),
}

/// Returns the moment at which the expectations were made.
pub(crate) fn clock() -> jiff::Zoned {
    date(2024, 7, 6).at(12, 34, 56, 0).to_zoned(TimeZone::UTC).unwrap()
}

fn render(template: &Template, conversation: &Conversation) -> Outcome {
    let options = RenderOptions {
        add_generation_prompt: conversation.add_generation_prompt.unwrap_or(true),
        tools: conversation.tools.clone(),
        extra: conversation.extra.clone(),
    };
    let rendered = ChatTemplate::new(&template.source, &template.special_tokens, clock)
        .and_then(|compiled| compiled.render(&conversation.messages, &options));
    match rendered {
        Ok(text) => Outcome::Text(text),
        Err(TemplateError::Raised(message)) => Outcome::Raised(message),
        Err(TemplateError::Failed(message)) => Outcome::Failed(message),
    }
}

/// Returns every difference between jinja2 and us, as text.
fn differences(expectations: &Expectations) -> Vec<String> {
    let mut differences = Vec::new();
    for template in &expectations.templates {
        for (name, expected) in &template.expected {
            let found = render(template, &expectations.conversations[name]);
            // jinja2's own words for a failure are not ours.
            let same = match (expected, &found) {
                (Outcome::Failed(_), Outcome::Failed(_)) => true,
                (expected, found) => expected == found,
            };
            if !same {
                differences
                    .push(format!("{} / {name}:\n  jinja2 {expected:?}\n  ours   {found:?}", template.name));
            }
        }
    }
    differences
}

/// A prompt that differs by one byte from what the model was trained on makes its answers quietly
/// worse.
#[test]
fn templates_render_as_in_jinja2() {
    let expectations = serde_json::from_str(include_str!("../data/chat_templates.json")).unwrap();
    let differences = differences(&expectations);
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

/// The same for templates of real models, whose expectations are made outside the repository.
#[test]
fn templates_of_real_models_render_as_in_jinja2() {
    let Some(path) = std::env::var_os("STREAMCORE_CHAT_TEMPLATES") else {
        eprintln!("skipped: STREAMCORE_CHAT_TEMPLATES names no file of expectations");
        return;
    };
    let expectations = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let differences = differences(&expectations);
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}
