//! Calls, reasoning and JSON of a script, and what tools have answered.

use std::path::Path;

use serde_json::{Value, json};
use streamcore_parsers::{ReasoningFormat, ToolFormat};
use streamcore_server::script::ParserNames;
use streamcore_server::text::TextModel;

use crate::Stage;
use crate::common::model::{marked_model, text_model};

/// Returns the model of scripts.
fn demo_model() -> TextModel {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../python/streamcore/demo_model");
    TextModel::load(Path::new(folder)).unwrap()
}

fn stage(script: &Value) -> Stage {
    Stage::of(script, ParserNames::default(), demo_model())
}

fn question(text: &str) -> Value {
    let parameters = json!({ "type": "object", "properties": {
        "city": { "type": "string" }, "days": { "type": "integer" },
        "where": { "type": "object" }, "exact": { "type": "boolean" },
    } });
    json!({
        "messages": [{ "role": "user", "content": text }],
        "tools": [{ "type": "function", "function": { "name": "weather", "parameters": parameters } },
                  { "type": "function", "function": { "name": "now" } }],
    })
}

/// Reasoning, content and calls of a message, with arguments as objects.
fn told(message: &Value) -> Value {
    let call = |call: &Value| {
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        json!({ "name": call["function"]["name"], "arguments": arguments })
    };
    let calls: Vec<_> = message["tool_calls"].as_array().into_iter().flatten().map(call).collect();
    json!({ "reasoning": message["reasoning"], "text": message["content"], "tool_calls": calls })
}

/// An agent that works with one family of models would break with another: the same script can say
/// its calls as each of them does.
#[test]
fn calls_and_reasoning_are_said_in_every_format() {
    let calls = json!([
        { "name": "weather", "arguments": { "city": "Oslo \"né\" 🦀\n<b>", "days": 3, "exact": true, "where": { "x": [1, null, "a"] } } },
        { "name": "now", "arguments": {} },
    ]);
    let tools = ToolFormat::ALL.map(
        |(name, _)| {
            if name == "openai" { (name, "openai_gptoss") } else { (name, "qwen3") }
        },
    );
    let reasoning = ReasoningFormat::ALL.map(|(name, _)| ("hermes", name));
    for (tools, reasoning) in tools.into_iter().chain(reasoning) {
        // Calls without a marker stand where the content begins.
        let text = if tools == "pythonic" { Value::Null } else { json!("Let me see.") };
        let said = json!({ "reasoning": "Rain, or <b>sun</b>?", "text": text, "tool_calls": calls });
        let script = json!({ "tool_call_parser": tools, "reasoning_parser": reasoning, "rules": [{ "answer": said }] });
        let stage = stage(&script);
        let whole = stage.answer(question("hi"));
        assert_eq!(told(&whole["choices"][0]["message"]), said, "{tools} {reasoning}");
        assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls", "{tools} {reasoning}");
        let mut asked = question("hi");
        (asked["stream"], asked["model"]) = (json!(true), json!("toy"));
        let transcript = stage.post(&asked, "[DONE]");
        let events: Vec<Value> = transcript
            .lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
            .collect();
        let pieces = |name: &str| -> String {
            events.iter().filter_map(|event| event["choices"][0]["delta"][name].as_str()).collect()
        };
        assert_eq!(pieces("reasoning"), "Rain, or <b>sun</b>?", "{transcript}");
        assert_eq!(pieces("content"), text.as_str().unwrap_or_default(), "{transcript}");
        assert!(transcript.contains("\"finish_reason\":\"tool_calls\""), "{transcript}");
    }
}

/// A recorded conversation of an agent has ids in it, and its result must refer to the call.
#[test]
fn calls_have_the_ids_of_the_script() {
    for format in ["hermes", "mistral", "openai"] {
        let calls =
            json!([{ "name": "now", "id": "call_1" }, { "name": "now" }, { "name": "now", "id": "call_3" }]);
        let script = json!({ "tool_call_parser": format, "rules": [{ "answer": { "tool_calls": calls } }] });
        let answer = stage(&script).answer(question("hi"));
        let calls = answer["choices"][0]["message"]["tool_calls"].as_array().unwrap();
        let ids: Vec<_> = calls.iter().map(|call| call["id"].as_str().unwrap()).collect();
        assert_eq!((ids.len(), ids[0], ids[2]), (3, "call_1", "call_3"), "{answer}");
        assert!(!ids[1].is_empty() && ids[1] != "call_1", "{answer}");
    }
}

/// Choices of one request have answers of their own, and so ids of their own.
#[test]
fn each_choice_has_its_own_calls() {
    let answer = |id: &str| json!({ "tool_calls": [{ "name": "now", "id": id }] });
    let stage = stage(&json!({ "rules": [{ "answers": [answer("a"), answer("b")] }] }));
    let mut asked = question("hi");
    asked["n"] = json!(2);
    let answer = stage.answer(asked);
    let ids = [0, 1].map(|choice| &answer["choices"][choice]["message"]["tool_calls"][0]["id"]);
    assert_eq!(ids, ["a", "b"]);
}

/// Without the tools in the request, and with `tool_choice: "none"`, a model that calls has only
/// written text: the script must show that mistake of an agent.
#[test]
fn calls_that_were_not_asked_for_are_text() {
    let answer = json!({ "reasoning": "Hm", "text": "a", "tool_calls": [{ "name": "now" }] });
    let stage = stage(&json!({ "rules": [{ "answer": answer }] }));
    let mut forbidden = question("hi");
    forbidden["tool_choice"] = json!("none");
    let mut without = question("hi");
    without.as_object_mut().unwrap().remove("tools");
    for body in [forbidden, without] {
        let message = &stage.answer(body)["choices"][0]["message"];
        assert_eq!(message["reasoning"], "Hm");
        assert_eq!(message["content"], "a<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>");
        assert!(message.get("tool_calls").is_none());
    }
}

/// The second question of an agent has the result of its call in it: a rule that looks only at the
/// user would call for ever.
#[test]
fn rules_see_what_tools_have_answered() {
    let rule = |tool: Value, text: &str| json!({ "when": { "tool": tool }, "answer": { "text": text } });
    let rules = json!([
        { "when": { "contains": "Rome", "tool": {} }, "answer": { "text": "Rome" } },
        rule(json!({ "name": "weather", "equals": "rain" }), "rain"),
        rule(json!({ "name": "weather", "contains": "sun", "regex": "^\\w+$" }), "sun"),
        rule(json!({ "tool_call_id": "b" }), "b"),
        rule(json!({}), "some tool"),
        { "when": { "contains": "weather" }, "answer": { "tool_calls": [{ "name": "weather" }] } },
    ]);
    let stage = Stage::new(&rules);
    let call = |id: &str, name: &str| json!({ "id": id, "function": { "name": name, "arguments": "{}" } });
    let calls = json!([call("a", "weather"), call("b", "now")]);
    let user = |text: &str| json!({ "role": "user", "content": text });
    let tool = |id: &str, content: &str| json!({ "role": "tool", "tool_call_id": id, "content": content });
    let elder = json!({ "role": "function", "name": "weather", "content": "rain" });
    for (city, answers, expected) in [
        ("Oslo", json!([tool("a", "rain")]), "rain"),
        ("Oslo", json!([tool("b", "noon"), tool("a", "rain")]), "rain"),
        ("Oslo", json!([tool("a", "sun")]), "sun"),
        ("Oslo", json!([tool("a", "sun shine")]), "some tool"),
        ("Oslo", json!([tool("b", "rain")]), "b"),
        ("Oslo", json!([elder]), "rain"),
        (
            "Oslo",
            json!([{ "role": "tool", "tool_call_id": "a", "content": [{ "type": "text", "text": "sun" }] }]),
            "sun",
        ),
        ("Oslo", json!([tool("a", "rain"), user("Well?")]), "rain"),
        ("Rome", json!([tool("a", "rain")]), "Rome"),
    ] {
        let mut body = question("");
        let mut messages =
            vec![user(&format!("weather in {city}")), json!({ "role": "assistant", "tool_calls": calls })];
        messages.extend(answers.as_array().unwrap().clone());
        body["messages"] = messages.into();
        let answer = stage.answer(body);
        assert_eq!(answer["choices"][0]["message"]["content"], expected, "{answers}");
    }
    let first = stage.answer(question("weather"));
    assert_eq!(first["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "weather");
    // A later turn has old results in its history, which are not asked about.
    let mut later = question("");
    let called = json!({ "role": "assistant", "tool_calls": calls });
    let said = json!({ "role": "assistant", "content": "Rain." });
    later["messages"] = json!([user("hi"), called, tool("a", "rain"), said, user("now?")]);
    assert_eq!(stage.answer(later)["error"]["code"], "no_rule");
}

/// What a model of a family has said can be put into a script as it is, whatever of it the demo
/// model has as a token, or ends its answers with.
#[test]
fn a_text_in_the_format_of_a_family_is_read_by_its_parser() {
    for (format, reasoning, text) in [
        (
            "hermes",
            "qwen3",
            "<think>Hm</think>Well.<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>",
        ),
        ("mistral", "mistral", "[THINK]Hm[/THINK]Well.[TOOL_CALLS]now[ARGS]{}"),
        (
            "openai",
            "openai_gptoss",
            "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>commentary<|message|>Well.<|end|><|start|>assistant<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>",
        ),
    ] {
        let parsers = json!({ "tool_call_parser": format, "reasoning_parser": reasoning });
        let mut script = parsers;
        script["rules"] = json!([{ "answer": { "text": text } }]);
        let answer = stage(&script).answer(question("hi"));
        let message = &answer["choices"][0]["message"];
        let expected =
            json!({ "reasoning": "Hm", "text": "Well.", "tool_calls": [{ "name": "now", "arguments": {} }] });
        assert_eq!(told(message), expected, "{format}");
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls", "{format}");
        // Names beside the script win, and without any it is text.
        for (given, own) in [("none", format), ("auto", "none")] {
            script["tool_call_parser"] = json!(own);
            let parsers = ParserNames { tools: given, reasoning: "auto" };
            if format == "openai" {
                continue;
            }
            let stage = Stage::of(&script, parsers, demo_model());
            let message = &stage.answer(question("hi"))["choices"][0]["message"];
            assert!(
                message["content"].as_str().unwrap().starts_with("Well.")
                    && message.get("tool_calls").is_none()
            );
        }
    }
}

/// The markers of a family can be hidden tokens: a script says them as its models do.
#[test]
fn markers_that_are_tokens_are_said_as_tokens() {
    let markers = [("[TOOL_CALLS]", true), ("[ARGS]", true), ("[THINK]", true), ("[/THINK]", true)];
    let (text, _) = marked_model("script", &markers, &[]);
    let answer = json!({ "text": "[THINK]Hm[/THINK]Well.[TOOL_CALLS]f[ARGS]{\"x\": 1}" });
    let parsers = ParserNames { tools: "mistral", reasoning: "mistral" };
    let stage = Stage::of(&json!({ "rules": [{ "answer": answer }] }), parsers, text);
    let answer = stage.answer(question("hi"));
    let calls = json!([{ "name": "f", "arguments": { "x": 1 } }]);
    let message = &answer["choices"][0]["message"];
    assert_eq!(told(message), json!({ "reasoning": "Hm", "text": "Well.", "tool_calls": calls }));
}

/// A fault within a call leaves the client with half of its arguments.
#[test]
fn calls_break_off_where_the_script_says() {
    let call = json!({ "name": "weather", "arguments": { "city": "a very long name of a city" } });
    let fault = json!({ "kind": "cut", "after_tokens": 60 });
    let stage = Stage::new(&json!([{ "answer": { "tool_calls": [call], "fault": fault } }]));
    let mut asked = question("hi");
    (asked["stream"], asked["model"]) = (json!(true), json!("toy"));
    let transcript = stage.post(&asked, "");
    assert!(transcript.contains("\"name\":\"weather\"") && !transcript.contains("finish_reason\":\""));
    assert!(!transcript.contains("[DONE]"), "{transcript}");
}

/// An example of a script without calls must not lose its `<think>` to a parser that it never
/// asked for.
#[test]
fn a_script_without_calls_is_text() {
    let stage = Stage::of(
        &json!({ "rules": [{ "answer": { "text": "<think>a</think><tool_call>{}" } }] }),
        ParserNames::default(),
        text_model(),
    );
    let message = &stage.answer(question("hi"))["choices"][0]["message"];
    assert_eq!(message["content"], "<think>a</think><tool_call>{}");
}
