//! Calls as chat templates write them, read back by the parser that the template is recognised by.
//!
//! A template shows a model its own earlier calls in the very format in which it writes them, so it
//! is a writer of that format which knows nothing of our parsers.

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use serde_json::{Map, Value, json};
use streamcore_parsers::{
    Detected, EventKind, Finish, Outcome, Parser, Piece, Setup, Tool, ToolFormat, detect,
};
use streamcore_server::text::{ChatTemplate, RenderOptions, TextModel};

use crate::chat_template::clock;

/// Values in Python, and those of Gemma.
const MACROS: &str = r#"{%- macro python(v) -%}
{%- if v is string -%}{{ v | tojson }}
{%- elif v is mapping -%}{ {%- for k, x in v.items() -%}{{ ", " if not loop.first }}{{ k | tojson }}: {{ python(x) }}{%- endfor -%} }
{%- elif v is sequence -%}[{%- for x in v -%}{{ ", " if not loop.first }}{{ python(x) }}{%- endfor -%}]
{%- else -%}{{ v }}{%- endif -%}
{%- endmacro -%}
{%- macro gemma(v, quote) -%}
{%- if v is string -%}{{ quote }}{{ v }}{{ quote }}
{%- elif v is mapping -%}{ {%- for k, x in v.items() -%}{{ "," if not loop.first }}{{ k }}:{{ gemma(x, quote) }}{%- endfor -%} }
{%- elif v is sequence -%}[{%- for x in v -%}{{ "," if not loop.first }}{{ gemma(x, quote) }}{%- endfor -%}]
{%- else -%}{{ v | tojson }}{%- endif -%}
{%- endmacro -%}
{%- macro keywords(arguments) -%}
{%- for k, x in arguments.items() -%}{{ ", " if not loop.first }}{{ k }}={{ python(x) }}{%- endfor -%}
{%- endmacro -%}"#;

const JSON: &str = r#"{"name": {{ f.name | tojson }}, "arguments": {{ f.arguments | tojson }}}"#;

/// A family of models, as its template writes calls.
struct Family {
    format: ToolFormat,
    /// Before and behind the role of a message, and behind the message.
    turn: [&'static str; 3],
    /// Before all calls, between two, and behind them.
    around: [&'static str; 3],
    /// A call, whose function is `f`.
    call: String,
    max_calls: usize,
}

impl Family {
    fn template(&self) -> String {
        let [start, behind_role, end] = self.turn.map(literal);
        let [first, between, last] = self.around.map(literal);
        let call = &self.call;
        let calls = format!(
            "{{%- if m.tool_calls -%}}{first}{{%- for c in m.tool_calls -%}}{{%- set f = c.function -%}}\
             {{%- if not loop.first -%}}{between}{{%- endif -%}}{call}{{%- endfor -%}}{last}{{%- endif -%}}"
        );
        format!(
            "{MACROS}{{%- if tools -%}}{{%- endif -%}}{{%- for m in messages -%}}{start}{{{{ m.role }}}}{behind_role}\
             {{{{ m.content }}}}{calls}{end}{{%- endfor -%}}{{%- if add_generation_prompt -%}}{start}assistant\
             {behind_role}{{%- endif -%}}"
        )
    }
}

/// Returns a text that the engine for templates takes as it is, line breaks at its ends included.
fn literal(text: &str) -> String {
    format!("{{{{ {} }}}}", Value::from(text))
}

const CHATML: [&str; 3] = ["<|im_start|>", "\n", "<|im_end|>\n"];
const NONE: [&str; 3] = ["", "", ""];

fn family(
    format: ToolFormat,
    turn: [&'static str; 3],
    around: [&'static str; 3],
    call: &str,
    max_calls: usize,
) -> Family {
    Family { format, turn, around, call: call.to_owned(), max_calls }
}

/// Parameters without quotes: what stands before a key, between it and its value, and behind that.
fn pairs(around: [&str; 3]) -> String {
    let [before, between, behind] = around.map(literal);
    let pair = format!("{before}{{{{ k }}}}{between}{{{{ x if x is string else x | tojson }}}}{behind}");
    format!("{{%- for k, x in f.arguments.items() -%}}{pair}{{%- endfor -%}}")
}

/// Returns a name and JSON.
fn named([before, between, behind]: [&str; 3]) -> String {
    format!("{before}{{{{ f.name }}}}{between}{{{{ f.arguments | tojson }}}}{behind}")
}

/// Returns those whose calls are JSON, or have JSON in them.
fn families_of_json() -> Vec<Family> {
    let hermes = format!("{}{JSON}{}", literal("<tool_call>\n"), literal("\n</tool_call>"));
    let roles = ["<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"];
    let headers = ["<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"];
    let mistral = ["[", "]", "</s>"];
    let deepseek = ["<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"];
    let to = "<|start|>assistant<|channel|>commentary to=functions.";
    let harmony = [to, " <|constrain|>json<|message|>", "<|call|>"];
    vec![
        family(ToolFormat::Hermes, CHATML, ["", "\n", ""], &hermes, 3),
        family(ToolFormat::Granite4, roles, ["", "\n", ""], &hermes, 3),
        family(ToolFormat::Granite, roles, ["<|tool_call|>[", ", ", "]"], JSON, 3),
        family(ToolFormat::Phi4MiniJson, ["<|", "|>", "<|end|>"], ["functools[", ", ", "]"], JSON, 3),
        family(ToolFormat::Llama3Json, headers, NONE, &JSON.replace("\"arguments\"", "\"parameters\""), 1),
        family(ToolFormat::Mistral, mistral, NONE, &named(["[TOOL_CALLS]", "[ARGS]", ""]), 3),
        family(ToolFormat::Mistral, mistral, ["[TOOL_CALLS] [", ", ", "]"], JSON, 3),
        family(
            ToolFormat::DeepseekV31,
            ["<｜", "｜>", "<｜end▁of▁sentence｜>"],
            ["<｜tool▁calls▁begin｜>", "", "<｜tool▁calls▁end｜>"],
            &named(deepseek),
            3,
        ),
        family(
            ToolFormat::Openai,
            ["<|start|>", "<|channel|>final<|message|>", ""],
            NONE,
            &named(harmony),
            3,
        ),
    ]
}

/// Returns those with tags, Python, and Gemma's notation.
fn other_families() -> Vec<Family> {
    let qwen3 = format!(
        "{}{{{{ f.name }}}}{}{}{}",
        literal("<tool_call>\n<function="),
        literal(">\n"),
        pairs(["<parameter=", ">\n", "\n</parameter>\n"]),
        literal("</function>\n</tool_call>"),
    );
    let glm = pairs(["<arg_key>", "</arg_key><arg_value>", "</arg_value>"]);
    let glm = format!("<tool_call>{{{{ f.name }}}}{glm}</tool_call>");
    let gemma = |quote: &str| format!("call:{{{{ f.name }}}}{{{{ gemma(f.arguments, '{quote}') }}}}");
    let gemma4 = format!("<|tool_call>{}<tool_call|>", gemma("<|\"|>"));
    let function_gemma = format!("<start_function_call>{}<end_function_call>", gemma("<escape>"));
    let python = "{{ f.name }}({{ keywords(f.arguments) }})";
    vec![
        family(ToolFormat::Qwen3Xml, CHATML, ["", "\n", ""], &qwen3, 3),
        family(ToolFormat::Glm47, ["<|", "|>", ""], NONE, &glm, 3),
        family(ToolFormat::Gemma4, ["<|turn>", "\n", "<turn|>"], NONE, &gemma4, 3),
        family(
            ToolFormat::FunctionGemma,
            ["<start_of_turn>", "\n", "<end_of_turn>"],
            NONE,
            &function_gemma,
            3,
        ),
        family(ToolFormat::Lfm2, CHATML, ["<|tool_call_start|>[", ", ", "]<|tool_call_end|>"], python, 3),
        family(ToolFormat::Olmo3, CHATML, ["<function_calls>\n", "\n", "\n</function_calls>"], python, 3),
    ]
}

/// What is said: the text before the calls, and each call.
type Said = (String, Vec<(String, Map<String, Value>)>);

fn values() -> impl Strategy<Value = Value> {
    let texts = prop_oneof![
        "[a-zA-Z0-9 ]{0,12}",
        "[a-z\"'\\\\{}\\[\\]:,é🦀\n\t ]{0,12}",
        Just("</tool_call".to_owned()),
        Just("5".to_owned()),
        Just("true".to_owned()),
        Just(String::new()),
    ];
    let leaves = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000_i32..1000).prop_map(|number| Value::from(f64::from(number) / 8.0)),
        texts.prop_map(Value::from),
    ];
    leaves.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,6}", inner, 0..4)
                .prop_map(|entries| Value::from(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn said() -> impl Strategy<Value = Said> {
    let names = prop_oneof![Just("get_weather"), Just("now"), Just("file_v2")];
    let arguments = prop::collection::btree_map("[a-z_]{1,8}", values(), 0..4);
    let call = (names, arguments)
        .prop_map(|(name, arguments)| (name.to_owned(), arguments.into_iter().collect::<Map<_, _>>()));
    let texts = prop_oneof![Just(""), Just("Let me see."), Just("Grüße 🦀, <b>1</b>")];
    (texts.prop_map(str::to_owned), prop::collection::vec(call, 1..4))
}

/// Tools with the types of these arguments. Two calls of one tool are of two tools here.
fn declared(calls: &[(String, Map<String, Value>)]) -> Vec<Tool> {
    let parameters = |arguments: &Map<String, Value>| {
        let types = arguments.iter().map(|(key, value)| (key.clone(), json!({ "const": value })));
        json!({ "type": "object", "properties": types.collect::<Map<_, _>>() })
    };
    let tool = |(name, arguments): &(String, Map<String, Value>)| Tool {
        name: name.clone(),
        parameters: Some(parameters(arguments)),
    };
    calls.iter().map(tool).collect()
}

fn numbered((text, mut calls): Said, max_calls: usize) -> Said {
    calls.truncate(max_calls);
    for (index, (name, _)) in calls.iter_mut().enumerate() {
        name.push_str(&index.to_string());
    }
    (text, calls)
}

/// Returns what the template makes of an answer that says this, without the prompt.
fn answer(template: &ChatTemplate, (text, calls): &Said) -> String {
    let user = json!({ "role": "user", "content": "hi" });
    let call = |(index, (name, arguments)): (usize, &(String, Map<String, Value>))| {
        let function = json!({ "name": name, "arguments": arguments });
        json!({ "type": "function", "id": format!("abcdefgh{index}"), "function": function })
    };
    let calls: Vec<_> = calls.iter().enumerate().map(call).collect();
    let tools = calls
        .iter()
        .map(|call| json!({ "type": "function", "function": { "name": call["function"]["name"] } }));
    let tools = Some(tools.collect());
    let assistant = json!({ "role": "assistant", "content": text, "tool_calls": calls });
    let options = |add_generation_prompt| RenderOptions {
        add_generation_prompt,
        tools: Option::clone(&tools),
        ..RenderOptions::default()
    };
    let prompt = template.render(std::slice::from_ref(&user), &options(true)).unwrap();
    let whole = template.render(&[user, assistant], &options(false)).unwrap();
    whole
        .strip_prefix(&prompt)
        .unwrap_or_else(|| panic!("{whole:?} begins otherwise than {prompt:?}"))
        .to_owned()
}

/// Returns what the parser makes of a text, which is cut into pieces at its markers.
fn read(formats: Detected, declared: Vec<Tool>, text: &str, is_special: impl Fn(&str) -> bool) -> Said {
    let Detected { tools, reasoning } = formats;
    let mut parser = Parser::new(Setup { tools, reasoning, declared, ..Setup::default() }, is_special);
    let markers: Vec<_> = parser.special_tokens().to_vec();
    let mut events = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let found = markers.iter().filter_map(|marker| Some((rest.find(marker)?, marker.len())));
        let (at, len) = found.min_by_key(|(at, len)| (*at, usize::MAX - len)).unwrap_or((rest.len(), 0));
        parser.push(Piece::Text(&rest[..at]), &mut events);
        if len > 0 {
            parser.push(Piece::Special(&rest[at..at + len]), &mut events);
        }
        rest = &rest[at + len..];
    }
    parser.finish(Finish::Stop, &mut events);
    let (mut content, mut calls) = (String::new(), Vec::<(String, String)>::new());
    for event in events {
        match event.kind {
            EventKind::Content(text) => content += &text,
            EventKind::CallBegin { name, .. } => calls.push((name, String::new())),
            EventKind::Arguments(piece) => calls.last_mut().unwrap().1 += &piece,
            EventKind::CallEnd(outcome) => assert_eq!(outcome, Outcome::Complete, "{text}"),
            EventKind::Reasoning(_) | EventKind::Syntax => {}
        }
    }
    let calls = calls.into_iter().map(|(name, json)| (name, serde_json::from_str(&json).unwrap()));
    (content.trim_end().to_owned(), calls.collect())
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        cases,
        ..ProptestConfig::default()
    })
}

/// An agent would get other calls than the model has made.
#[test]
fn calls_that_templates_write_are_read_back() {
    for family in families_of_json().into_iter().chain(other_families()) {
        let source = family.template();
        let formats = detect(&source, |_| false);
        assert_eq!(formats.tools, Some(family.format), "{source}");
        let template = ChatTemplate::new(&source, &Map::new(), clock).unwrap();
        let has_text = family.format != ToolFormat::Llama3Json;
        let property = |said: Said| {
            let mut said = numbered(said, family.max_calls);
            if !has_text {
                said.0.clear();
            }
            let answer = answer(&template, &said);
            let text = answer.strip_suffix(family.turn[2]).unwrap();
            for has_tokens in [false, true] {
                let is_special = |marker: &str| has_tokens && marker.starts_with(['<', '[']) && marker != "[";
                let read = read(formats, declared(&said.1), text, is_special);
                prop_assert_eq!(&read, &said, "{}", text);
            }
            Ok(())
        };
        runner(60).run(&said(), property).unwrap_or_else(|error| panic!("{:?}: {error}", family.format));
    }
}

/// The templates of real models are the best writers of their formats that there are.
#[test]
fn calls_that_real_templates_write_are_read_back() {
    let Some(root) = std::env::var_os("STREAMCORE_TOKENIZERS") else {
        eprintln!("skipped: STREAMCORE_TOKENIZERS names no folder of tokenizers");
        return;
    };
    for folder in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(model) = TextModel::load(&folder) else { continue };
        let Some(template) = model.chat_template.filter(ChatTemplate::knows_tools) else { continue };
        let (formats, tokenizer) = (model.formats, model.tokenizer);
        assert!(formats.tools.is_some(), "{} knows tools and no calls", folder.display());
        let end = model.generation.eos_token_ids.iter().map(|id| tokenizer.decode(&[*id], false).unwrap());
        let ends: Vec<_> = end.collect();
        let property = |said: Said| {
            let said = numbered(said, 3);
            let answer = answer(&template, &said);
            let end = ends.iter().find_map(|end| answer.rfind(end.as_str()));
            let text = &answer[..end.unwrap_or(answer.len())];
            let is_special = |marker: &str| tokenizer.added_token_id(marker).is_some();
            let read = read(formats, declared(&said.1), text, is_special);
            prop_assert_eq!((read.0.trim(), &read.1), (said.0.trim(), &said.1), "{}", text);
            Ok(())
        };
        runner(200).run(&said(), property).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        eprintln!("{}: {formats:?}", folder.display());
    }
}
