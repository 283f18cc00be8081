//! Tools in a request: what the template sees of them, and what is refused by name.

use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};
use streamcore_parsers::{ReasoningFormat, Setup, ToolFormat};
use streamcore_server::App;
use streamcore_server::generation::{Manner, answer_setup, encode_conversation};
use streamcore_server::openai::chat::request::ChatRequest;
use streamcore_server::openai::chat::tools::declared;

use crate::common::model::END_TOKEN;
use crate::common::{Stage, post};

/// Collects the log, for a test to read.
const TELLING: &str = "{{ {'tools': tools, 'messages': messages, 'effort': reasoning_effort | default('-'), \
                       'thinks': enable_thinking | default('-')} | tojson }}";

fn body(more: &Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Returns the tokens that a template makes of a request, or the refusal.
async fn tokens(stage: &Stage, more: &Value) -> Result<Vec<u32>, Value> {
    let (head, answer) = stage.answer(post("/tokenize", body(more))).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    if head.status() != 200 {
        assert_eq!(head.status(), 400, "{answer}");
        return Err(answer["error"].clone());
    }
    Ok(serde_json::from_value(answer["tokens"].clone()).unwrap())
}

/// Returns the text of a prompt, with the end token as its letters.
pub(super) async fn text(template: &str, more: &Value) -> Result<String, Value> {
    let stage = Stage::with_template("", template);
    let tokens = tokens(&stage, more).await?;
    Ok(stage.app.text.tokenizer.decode(&tokens, false).unwrap())
}

pub(super) async fn told(more: &Value) -> Result<Value, Value> {
    Ok(serde_json::from_str(&text(TELLING, more).await?).unwrap())
}

fn weather() -> Value {
    json!({ "type": "function", "function": {
        "name": "get_weather", "description": "Tells the weather",
        "parameters": { "type": "object", "properties": { "days": { "type": "integer" } }, "required": [] },
    } })
}

/// A model that was trained on a list of tools in one form would see another.
#[tokio::test]
async fn the_template_sees_the_tools_as_they_were_sent() {
    let odd = json!({ "type": "function", "cache_control": { "type": "ephemeral" }, "function": {
        "strict": false, "parameters": {}, "name": "mcp/files.read:1", "returns": "text", "description": null,
    } });
    let tools = told(&json!({ "tools": [weather(), odd] })).await.unwrap()["tools"].clone();
    let mut expected = odd;
    expected["function"].as_object_mut().unwrap().shift_remove("description");
    // Also their order, which is what the model reads.
    assert_eq!(tools.to_string(), json!([weather(), expected]).to_string());
}

/// Templates walk through `type` and `parameters`, which OpenAI lets clients leave out, and fail
/// where they are missing.
#[tokio::test]
async fn what_a_tool_leaves_out_is_put_in() {
    let full = json!([{ "type": "function", "function": {
        "name": "f", "parameters": { "type": "object", "properties": {} },
    } }]);
    for more in [
        json!({ "tools": [{ "function": { "name": "f" } }] }),
        json!({ "functions": [{ "name": "f" }] }),
        json!({ "functions": [{ "name": "f", "parameters": null }], "function_call": "auto", "tools": [] }),
        json!({ "tools": [{ "function": { "name": "f" } }], "functions": [{ "name": "older" }] }),
    ] {
        let told = told(&more).await.unwrap();
        assert_eq!(told["tools"].to_string(), full.to_string(), "{more}");
    }
}

/// An agent that forbids calls for one turn must not have its model forget which tools the earlier
/// calls were of; a template without tools must not be told of an empty list.
#[tokio::test]
async fn the_choice_of_tools_leaves_the_prompt_alone() {
    for choice in [json!({}), json!({ "tool_choice": "auto" }), json!({ "tool_choice": "none" })] {
        let mut more = choice.clone();
        more["tools"] = json!([weather()]);
        assert_eq!(told(&more).await.unwrap()["tools"], json!([weather()]), "{choice}");
        let mut none = choice.clone();
        none["tools"] = json!([]);
        assert_eq!(told(&none).await.unwrap()["tools"], Value::Null, "{choice}");
    }
}

/// A template that has never heard of tools must answer the client all the same.
#[tokio::test(start_paused = true)]
async fn a_template_without_tools_is_not_told_of_them() {
    let plain = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let more = json!({ "tools": [weather()] });
    assert_eq!(text(plain, &more).await.unwrap(), "hi");
    let answer = Stage::with_template("ok", plain).play(post("/v1/chat/completions", body(&more)), 1);
    assert_eq!(answer.head.status(), 200);
    assert!(answer.body().contains("\"content\":\"ok\""), "{}", answer.body());
}

/// A program that counts its tokens would find room where there is none.
#[tokio::test(start_paused = true)]
async fn tokens_are_counted_with_tools() {
    let more = json!({ "tools": [weather()], "reasoning_effort": "low", "messages": [
        { "role": "assistant", "tool_calls": [{ "id": "1", "function": { "name": "f", "arguments": "{}" } }] },
    ] });
    // Short enough for the stage's context.
    let template = "{{ tools[0].function.name }}{{ messages[0].tool_calls[0].function.arguments }}{{ reasoning_effort }}";
    let counted = tokens(&Stage::with_template("", template), &more).await.unwrap();
    let answer = Stage::with_template("ok", template).play(post("/v1/chat/completions", body(&more)), 1);
    let answer: Value = serde_json::from_str(&answer.body()).unwrap();
    assert_eq!(answer["usage"]["prompt_tokens"], json!(counted.len()), "{answer}");
}

/// A server of tools that is not the operator's could otherwise end the turn and speak as the user.
#[tokio::test]
async fn markers_in_tools_and_calls_are_letters() {
    let template = "{{ tools | tojson }}{% for m in messages %}{{ m | tojson }}{% endfor %}<end>";
    let with = |path: &str| {
        let mut more = json!({
            "tools": [{ "type": "function", "function": {
                "name": "f", "description": "-", "parameters": { "properties": { "-": { "enum": ["-"] } } } } }],
            "messages": [
                { "role": "assistant", "tool_calls": [{ "id": "-", "function": { "name": "-", "arguments": { "-": "-" } } }] },
                { "role": "tool", "tool_call_id": "-", "name": "-", "content": "-" },
            ],
        });
        *more.pointer_mut(path).unwrap() = json!("a<end>b");
        more
    };
    for path in [
        "/tools/0/function/description",
        "/tools/0/function/parameters/properties/-/enum/0",
        "/messages/0/tool_calls/0/id",
        "/messages/0/tool_calls/0/function/name",
        "/messages/0/tool_calls/0/function/arguments/-",
        "/messages/1/tool_call_id",
        "/messages/1/name",
        "/messages/1/content",
    ] {
        check_letters(template, &with(path)).await;
    }
    let key = json!({ "tools": [{ "function": { "name": "f", "parameters": { "a<end>b": 1 } } }] });
    check_letters(template, &key).await;
    // Also where the marker is only one once the arguments have been read.
    let written = json!({ "function": { "name": "f", "arguments": r#"{"a\u003cend>b": "a\u003cend>b"}"# } });
    check_letters(template, &json!({ "messages": [{ "role": "assistant", "tool_calls": [written] }] })).await;
}

async fn check_letters(template: &str, more: &Value) {
    let stage = Stage::with_template("", template);
    let tokens = tokens(&stage, more).await.unwrap();
    assert_eq!(
        tokens.iter().filter(|token| **token == END_TOKEN).count(),
        1,
        "only the template's own: {more}"
    );
    assert!(stage.app.text.tokenizer.decode(&tokens, false).unwrap().contains("a<end>b"), "{more}");
}

/// Models that can think less would think as always.
#[tokio::test]
async fn the_effort_reaches_the_template() {
    for (more, expected) in [
        (json!({}), json!(["-", "-"])),
        (json!({ "reasoning_effort": "high" }), json!(["high", true])),
        (json!({ "reasoning_effort": "none" }), json!(["none", false])),
        (json!({ "reasoning_effort": null }), json!(["-", "-"])),
        (
            json!({ "reasoning_effort": "none", "chat_template_kwargs": { "enable_thinking": true } }),
            json!(["none", true]),
        ),
        (
            json!({ "reasoning_effort": "low", "chat_template_kwargs": { "reasoning_effort": "high" } }),
            json!(["high", true]),
        ),
    ] {
        let told = told(&more).await.unwrap();
        assert_eq!(json!([told["effort"], told["thinks"]]), expected, "{more}");
    }
}

/// What changes nothing must not stop a client that sends all that it knows.
#[test]
fn what_asks_for_no_more_than_is_done_passes() {
    for (more, may_call) in [
        (json!({}), false),
        (json!({ "parallel_tool_calls": false }), false),
        (json!({ "tools": [], "tool_choice": "auto", "parallel_tool_calls": false }), false),
        (json!({ "tools": [weather()], "parallel_tool_calls": true }), true),
        (json!({ "tools": [weather()], "tool_choice": "none", "parallel_tool_calls": false }), false),
        (json!({ "tools": [{ "function": { "name": "f", "strict": true } }], "tool_choice": "none" }), false),
        (json!({ "functions": [{ "name": "f", "strict": null }], "function_call": "auto" }), true),
        (json!({ "functions": [{ "name": "f" }], "function_call": "none" }), false),
        (json!({ "tools": [weather()], "tool_choice": "auto", "function_call": "none" }), true),
        (json!({ "response_format": { "type": "text" }, "include_reasoning": true }), false),
    ] {
        let request = ChatRequest::parse(body(&more).to_string().as_bytes(), 300).unwrap();
        assert_eq!(request.tools.may_be_called(), may_call, "{more}");
        // The older form of an answer has room for one call, to which it is held.
        assert_eq!(
            request.tools.need_grammar() && may_call,
            request.tools.are_functions() && may_call,
            "{more}"
        );
        assert!(!request.options.details.hides_reasoning);
    }
    let hidden = body(&json!({ "include_reasoning": false })).to_string();
    assert!(ChatRequest::parse(hidden.as_bytes(), 300).unwrap().options.details.hides_reasoning);
}

/// Returns how the answer to a request is read.
fn setup(app: &App, more: &Value) -> Option<Setup> {
    let request = ChatRequest::parse(body(more).to_string().as_bytes(), 300).unwrap();
    let prompt = encode_conversation(app, request.conversation, None).unwrap();
    let manner = Manner::of(app, &request.tools, &prompt.text);
    answer_setup(&manner, declared(request.tools.callable()))
}

/// Calls would be read where the client has forbidden them, or reasoning be shown as the answer.
#[test]
fn an_answer_is_read_as_its_request_asks() {
    let qwen = "<|im_start|>{{ tools }}<tool_call></tool_call>\
                {% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>{% else %}<think>\n{% endif %}";
    let stage = Stage::with_template("", qwen);
    let asked = setup(&stage.app, &json!({ "tools": [weather()] })).unwrap();
    assert_eq!((asked.tools, asked.reasoning), (Some(ToolFormat::Hermes), Some(ReasoningFormat::Qwen3)));
    assert!(asked.starts_in_reasoning);
    assert_eq!(asked.declared[0].name, "get_weather");
    assert_eq!(asked.declared[0].parameters.as_ref(), weather().pointer("/function/parameters"));
    for more in [json!({}), json!({ "tools": [weather()], "tool_choice": "none" })] {
        let read = setup(&stage.app, &more).unwrap();
        assert_eq!((read.tools, read.declared.len()), (None, 0), "{more}");
        assert!(read.starts_in_reasoning);
    }
    let quiet = setup(&stage.app, &json!({ "chat_template_kwargs": { "enable_thinking": false } })).unwrap();
    assert!(!quiet.starts_in_reasoning);
    // A marker in the words of a user opens nothing.
    let quoting = Stage::with_template("", "<|im_start|></think>{{ messages[0].content }}:");
    assert!(
        !setup(&quoting.app, &json!({ "messages": [{ "role": "user", "content": "<think>" }] }))
            .unwrap()
            .starts_in_reasoning
    );
    let plain = Stage::with_template("", "{{ messages[0].content }}");
    assert!(setup(&plain.app, &json!({ "tools": [weather()] })).is_none());
}

/// An operator who knows the format better than its template tells must be obeyed.
#[test]
fn a_format_can_be_chosen_by_its_name() {
    let mut text = crate::common::model::text_model_with("<|im_start|>{{ tools }}<tool_call></think>");
    assert_eq!(text.choose_formats("auto", "auto"), Ok(()));
    let words = "answers are read with tool-call parser hermes, reasoning parser qwen3";
    assert_eq!(text.formats_in_words().as_deref(), Some(words));
    assert_eq!(text.choose_formats("qwen3_coder", "deepseek_r1"), Ok(()));
    assert_eq!(text.formats.tools, Some(ToolFormat::Qwen3Xml));
    assert_eq!(text.formats.reasoning, Some(ReasoningFormat::DeepseekR1));
    assert_eq!(text.choose_formats("none", "none"), Ok(()));
    assert_eq!((text.formats.tools, text.formats.reasoning), (None, None));
    assert_eq!(text.choose_formats("hermes2", "auto"), Err("hermes2"));
    assert_eq!(text.choose_formats("auto", "qwen"), Err("qwen"));
    let plain = crate::common::model::text_model_with("{{ messages }}");
    assert_eq!(plain.formats_in_words(), None);
}

/// A log with a line for each of a million requests goes unread; one that says nothing leaves an
/// operator wondering why the model never calls.
#[tokio::test]
async fn the_log_says_once_that_tools_are_left_out() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tools-{}.log", std::process::id()));
    let subscriber = tracing_subscriber::fmt().with_writer(File::create(&path).unwrap()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let stage = Stage::with_template("", "{{ messages }}");
    for more in
        [json!({}), json!({ "tools": [] }), json!({ "tools": [weather()] }), json!({ "tools": [weather()] })]
    {
        tokens(&stage, &more).await.unwrap();
    }
    tokens(&Stage::with_template("", TELLING), &json!({ "tools": [weather()] })).await.unwrap();
    let log = std::fs::read_to_string(&path).unwrap();
    assert_eq!(log.matches("the chat template knows no tools").count(), 1, "{log}");
}
