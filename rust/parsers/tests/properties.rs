//! Random calls, written by a writer of each family that shares nothing with the parser, and random texts that are nearly calls.

mod support;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use streamcore_parsers::{Event, EventKind, Finish, Outcome, ReasoningFormat, ToolFormat};
use support::{Answer, cut};

/// A string with what formats have to escape.
fn text() -> impl Strategy<Value = String> {
    let part = select(vec![
        "a",
        "Oslo",
        " ",
        "\n",
        "\t",
        "\"",
        "'",
        "\\",
        "\\n",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        ",",
        ":",
        "=",
        "<",
        ">",
        "</",
        "é",
        "日本",
        "😀",
        "\u{1}",
        "5",
        "null",
        "True",
        "call:",
        "<think>",
        "\"\"\"",
        "'''",
        "functools[",
        "\u{2028}",
        "#",
        ";",
        "_",
    ]);
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000i32..1000).prop_map(|number| json!(f64::from(number) / 8.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{1,6}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

#[derive(Debug, Clone)]
struct Call {
    name: String,
    arguments: Map<String, Value>,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let arguments = prop::collection::vec(("[a-z][a-z0-9_]{0,5}", value()), 0..4);
    let call = ("[a-z][a-z_]{0,8}[0-9]?", arguments)
        .prop_map(|(name, arguments)| Call { name, arguments: arguments.into_iter().collect() });
    prop::collection::vec(call, 1..4)
}

/// A stream of choices for a writer.
#[derive(Debug, Clone)]
struct Style(u64);

impl Style {
    fn choose(&mut self, num: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % num
    }

    fn space(&mut self) -> &'static str {
        ["", "", " ", "\n", "\n  "][usize::try_from(self.choose(5)).expect("it is small")]
    }

    /// JSON with any space between its parts and any of its escapes.
    fn json(&mut self, value: &Value) -> String {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::String(text) => self.json_string(text),
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.json(item)).collect();
                self.bracket('[', &items, ']')
            }
            Value::Object(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| {
                        format!(
                            "{}{}:{}{}",
                            self.json_string(key),
                            self.space(),
                            self.space(),
                            self.json(value)
                        )
                    })
                    .collect();
                self.bracket('{', &entries, '}')
            }
        }
    }

    fn bracket(&mut self, open: char, parts: &[String], close: char) -> String {
        let mut text = format!("{open}{}", self.space());
        for (index, part) in parts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            text += &format!("{comma}{}{part}{}", self.space(), self.space());
        }
        text.push(close);
        text
    }

    fn json_string(&mut self, text: &str) -> String {
        let mut json = String::from("\"");
        for letter in text.chars() {
            match letter {
                '"' | '\\' => json.extend(['\\', letter]),
                '\n' => json += "\\n",
                _ if letter < ' ' || self.choose(4) == 0 => {
                    letter
                        .encode_utf16(&mut [0; 2])
                        .iter()
                        .for_each(|unit| json += &format!("\\u{unit:04X}"));
                }
                _ => json.push(letter),
            }
        }
        json + "\""
    }

    /// `{"name": …, "arguments": …}` with its keys in any order.
    fn json_call(&mut self, call: &Call, key: &str) -> String {
        let arguments = Value::from(call.arguments.clone());
        let arguments = if self.choose(4) == 0 { Value::from(self.json(&arguments)) } else { arguments };
        let mut entries = vec![
            format!("\"name\":{}{}", self.space(), self.json_string(&call.name)),
            format!("\"{key}\":{}{}", self.space(), self.json(&arguments)),
        ];
        if self.choose(2) == 0 {
            entries.reverse();
        }
        if self.choose(3) == 0 {
            entries.push("\"type\": \"function\"".to_owned());
        }
        self.bracket('{', &entries, '}')
    }

    fn python(&mut self, value: &Value) -> String {
        match value {
            Value::Null => "None".to_owned(),
            Value::Bool(is_true) => if *is_true { "True" } else { "False" }.to_owned(),
            Value::Number(_) => value.to_string(),
            Value::String(text) => self.python_string(text),
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.python(item)).collect();
                if self.choose(3) == 0 {
                    self.bracket('(', &items, ')')
                } else {
                    self.bracket('[', &items, ']')
                }
            }
            Value::Object(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| {
                        format!(
                            "{}{}:{}{}",
                            self.python_string(key),
                            self.space(),
                            self.space(),
                            self.python(value)
                        )
                    })
                    .collect();
                self.bracket('{', &entries, '}')
            }
        }
    }

    fn python_string(&mut self, text: &str) -> String {
        let quotes = ["\"", "'", "\"\"\"", "'''"][usize::try_from(self.choose(4)).expect("it is small")];
        let mut python = quotes.to_owned();
        for letter in text.chars() {
            let code = u32::from(letter);
            match letter {
                '\\' => python += "\\\\",
                '\n' if quotes.len() == 1 => python += "\\n",
                '"' | '\'' if quotes.starts_with(letter) => python.extend(['\\', letter]),
                _ if self.choose(4) > 0 => python.push(letter),
                _ if code < 0x100 => python += &format!("\\x{code:02x}"),
                _ if code < 0x1_0000 => python += &format!("\\u{code:04x}"),
                _ => python += &format!("\\U{code:08x}"),
            }
        }
        python + quotes
    }

    fn python_call(&mut self, call: &Call) -> String {
        let arguments: Vec<_> =
            call.arguments.iter().map(|(key, value)| format!("{key}={}", self.python(value))).collect();
        format!("{}{}", call.name, self.bracket('(', &arguments, ')'))
    }

    fn gemma(&mut self, value: &Value, quote: &str) -> String {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::String(text) => format!("{quote}{text}{quote}"),
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.gemma(item, quote)).collect();
                self.bracket('[', &items, ']')
            }
            Value::Object(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| format!("{key}:{}", self.gemma(value, quote)))
                    .collect();
                self.bracket('{', &entries, '}')
            }
        }
    }

    fn answer(&mut self, tools: ToolFormat, calls: &[Call]) -> String {
        let each = |style: &mut Self, write: &dyn Fn(&mut Self, &Call) -> String| -> Vec<String> {
            calls.iter().map(|call| write(style, call)).collect()
        };
        match tools {
            ToolFormat::Hermes | ToolFormat::Granite4 => each(self, &|style, call| {
                format!("<tool_call>{}{}{}</tool_call>{}", style.space(), style.json_call(call, "arguments"), style.space(), style.space())
            })
            .concat(),
            ToolFormat::Granite | ToolFormat::Phi4MiniJson => {
                let calls = each(self, &|style, call| style.json_call(call, "arguments"));
                let marker = if tools == ToolFormat::Granite { "<|tool_call|>" } else { "functools" };
                format!("{marker}{}", self.bracket('[', &calls, ']'))
            }
            ToolFormat::Llama3Json => each(self, &|style, call| style.json_call(call, "parameters")).join("; "),
            ToolFormat::Mistral if self.choose(2) == 0 => {
                let calls = each(self, &|style, call| style.json_call(call, "arguments"));
                format!("[TOOL_CALLS]{}", self.bracket('[', &calls, ']'))
            }
            ToolFormat::Mistral => each(self, &|style, call| {
                let separator = if style.choose(2) == 0 { "[ARGS]" } else { "" };
                format!("[TOOL_CALLS]{}{separator}{}", call.name, style.json(&Value::from(call.arguments.clone())))
            })
            .concat(),
            ToolFormat::DeepseekV31 => {
                let calls = each(self, &|style, call| {
                    let json = style.json(&Value::from(call.arguments.clone()));
                    format!("<｜tool▁call▁begin｜>{}<｜tool▁sep｜>{json}<｜tool▁call▁end｜>", call.name)
                });
                format!("<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>", calls.concat())
            }
            ToolFormat::Openai => each(self, &|style, call| {
                let json = style.json(&Value::from(call.arguments.clone()));
                format!("<|start|>assistant<|channel|>commentary to=functions.{} <|constrain|>json<|message|>{json}<|call|>", call.name)
            })
            .concat(),
            ToolFormat::Qwen3Xml => each(self, &|style, call| {
                let values = call.arguments.iter().map(|(key, value)| {
                    format!("<parameter={key}>\n{}\n</parameter>\n", style.untyped(value))
                });
                format!("<tool_call>\n<function={}>\n{}</function>\n</tool_call>", call.name, values.collect::<String>())
            })
            .join("\n"),
            ToolFormat::Glm47 => each(self, &|style, call| {
                let values = call.arguments.iter().map(|(key, value)| {
                    format!("<arg_key>{key}</arg_key>\n<arg_value>{}</arg_value>\n", style.untyped(value))
                });
                format!("<tool_call>{}\n{}</tool_call>", call.name, values.collect::<String>())
            })
            .join("\n"),
            ToolFormat::Gemma4 | ToolFormat::FunctionGemma => each(self, &|style, call| {
                let arguments = Value::from(call.arguments.clone());
                if tools == ToolFormat::Gemma4 {
                    format!("<|tool_call>call:{}{}<tool_call|>", call.name, style.gemma(&arguments, "<|\"|>"))
                } else {
                    let arguments = style.gemma(&arguments, "<escape>");
                    format!("<start_function_call>call:{}{arguments}<end_function_call>", call.name)
                }
            })
            .concat(),
            ToolFormat::Olmo3 => {
                let calls = each(self, &|style, call| style.python_call(call));
                format!("<function_calls>\n{}\n</function_calls>", calls.join("\n"))
            }
            ToolFormat::Pythonic | ToolFormat::Llama4Pythonic | ToolFormat::Lfm2 => {
                let calls = each(self, &|style, call| style.python_call(call));
                let list = self.bracket('[', &calls, ']');
                match tools {
                    ToolFormat::Lfm2 => format!("<|tool_call_start|>{list}<|tool_call_end|>"),
                    ToolFormat::Llama4Pythonic if self.choose(2) == 0 => format!("<|python_start|>{list}<|python_end|>"),
                    _ => list,
                }
            }
        }
    }

    /// A value without quotes, as a template renders it.
    fn untyped(&mut self, value: &Value) -> String {
        value.as_str().map_or_else(|| self.json(value), str::to_owned)
    }

    /// A schema that a value fits, in one of the ways in which people write it.
    fn schema(&mut self, value: &Value) -> Value {
        let name = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        match self.choose(4) {
            0 if !value.is_string() => json!({ "anyOf": [{ "type": name }, { "type": "null" }] }),
            1 if !value.is_string() => json!({ "type": [name, "null"] }),
            2 => json!({ "$ref": format!("#/$defs/{name}") }),
            _ => json!({ "type": name }),
        }
    }

    /// The schema of a call's parameters.
    fn parameters(&mut self, call: &Call) -> Value {
        let types = ["null", "boolean", "number", "integer", "string", "array", "object"];
        let defs: Map<_, _> =
            types.iter().map(|name| ((*name).to_owned(), json!({ "type": name }))).collect();
        let properties: Map<_, _> =
            call.arguments.iter().map(|(key, value)| (key.clone(), self.schema(value))).collect();
        json!({ "type": "object", "properties": properties, "$defs": defs })
    }
}

/// The calls that events tell; anything else that is told is a failure.
fn read(events: &[Event]) -> Vec<(String, Value)> {
    let mut calls: Vec<(String, String)> = Vec::new();
    for event in events {
        match &event.kind {
            EventKind::CallBegin { name, .. } => calls.push((name.clone(), String::new())),
            EventKind::Arguments(json) => calls.last_mut().expect("a call has begun").1.push_str(json),
            EventKind::CallEnd(outcome) => assert_eq!(*outcome, Outcome::Complete),
            EventKind::Syntax => {}
            EventKind::Content(text) | EventKind::Reasoning(text) => panic!("{text:?} is told as text"),
        }
    }
    let value = |json: &str| serde_json::from_str(json).expect("the arguments of a call are JSON");
    calls.iter().map(|(name, json)| (name.clone(), value(json))).collect()
}

fn formats() -> impl Strategy<Value = ToolFormat> {
    select(ToolFormat::ALL.map(|(_, format)| format).to_vec())
}

/// A random text of fragments of markers, JSON and words.
fn nearly_calls() -> impl Strategy<Value = String> {
    let fragment = select(vec![
        "<tool_call>",
        "</tool_call>",
        "<tool_call",
        "\n",
        " ",
        "\n\n",
        "{\"name\": \"f\", \"arguments\": {",
        "}}",
        "}",
        "{",
        "\"",
        "\\",
        "{\"name\": \"f\"",
        ", \"arguments\": \"{\\\"a\\\": ",
        "\\u00e9",
        "\\ud83d",
        "1}\"",
        "<function=f>",
        "<function=",
        "</function>",
        "<parameter=a>",
        "</parameter>",
        "\n</parameter>",
        "<arg_key>",
        "</arg_key>",
        "<arg_value>",
        "</arg_value>",
        "f",
        "word",
        "é😀",
        "[",
        "]",
        "(",
        ")",
        "f(a=",
        "'",
        "\"\"\"",
        ",",
        ";",
        "=",
        "[f(",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[CALL_ID]",
        "[TOOL_CALLS]f[ARGS]{",
        "functools[",
        "<|tool_call|>",
        "<|python_tag|>",
        "<|python_start|>",
        "<|python_end|>",
        "<|tool_call_start|>",
        "<|tool_call_end|>",
        "<function_calls>",
        "</function_calls>",
        "<|tool_call>call:f{",
        "<|tool_call>",
        "<tool_call|>",
        "<|\"|>",
        "a:",
        "<start_function_call>call:f{",
        "<end_function_call>",
        "<escape>",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>f",
        "<｜tool▁sep｜>",
        "<｜tool▁sep｜>{",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
        "<|start|>assistant",
        "<|channel|>analysis",
        "<|channel|>commentary to=functions.f",
        "<|channel|>final",
        "<|message|>",
        "<|message|>{",
        "<|end|>",
        "<|call|>",
        "<|return|>",
        "<think>",
        "</think>",
        "[THINK]",
        "[/THINK]",
        "<|channel>thought\n",
        "<|channel>",
        "<channel|>",
        "Here is my thought process:",
        "Here is my response:",
        "Here",
        " to=functions.f",
        "null",
        "true",
        "1",
        "-",
        "0x",
        "\u{a0}",
    ]);
    prop::collection::vec(fragment, 0..14).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// A call that a model writes and the client does not get, or gets with other arguments, runs the wrong thing.
    #[test]
    fn what_the_model_writes_is_what_the_client_gets(
        tools in formats(), calls in calls(), seed in any::<u64>(), is_special in any::<bool>(), letter in 2usize..40,
    ) {
        let mut style = Style(seed);
        let mut answer = Answer::of(tools);
        let mut calls = calls;
        // Tools have one schema each.
        calls.iter_mut().enumerate().for_each(|(index, call)| call.name += &index.to_string());
        for call in &calls {
            answer = answer.declares(&call.name, style.parameters(call));
        }
        let answer = if is_special { answer.special() } else { answer };
        let text = style.answer(tools, &calls);
        let parts = answer.parts(&text);
        let events = answer.events(&parts);
        support::check(&events, &text);
        prop_assert_eq!(&answer.events(&cut(&parts, |_| true)), &events);
        prop_assert_eq!(&answer.events(&cut(&parts, |at| at % letter == 0)), &events);
        let expected: Vec<_> = calls.iter().map(|call| (call.name.clone(), Value::from(call.arguments.clone()))).collect();
        prop_assert_eq!(read(&events), expected, "{}: {}", tools.name(), text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// A text that is nearly a call loses a character, says one thing in one chunk and another in two, or panics.
    #[test]
    fn no_text_is_lost_however_it_is_cut(
        tools in prop::option::of(formats()),
        reasoning in prop::option::of(select(ReasoningFormat::ALL.map(|(_, format)| format).to_vec())),
        is_inside in any::<bool>(), is_special in any::<bool>(), is_cut_off in any::<bool>(), has_tools in any::<bool>(),
        text in nearly_calls(), letter in 2usize..20,
    ) {
        let mut answer = Answer::new(tools, reasoning);
        answer.starts_in_reasoning = is_inside;
        if has_tools {
            answer = answer.declares("f", json!({ "properties": { "a": { "type": ["integer", "null"] } } }));
        }
        let answer = if is_special { answer.special() } else { answer };
        let answer = if is_cut_off { answer.ends(Finish::Length) } else { answer };
        let parts = answer.parts(&text);
        let events = answer.events(&parts);
        support::check(&events, &text);
        prop_assert_eq!(&answer.events(&cut(&parts, |_| true)), &events);
        for rest in 0..3 {
            prop_assert_eq!(&answer.events(&cut(&parts, |at| at % letter == rest)), &events);
        }
        // Without calls and reasoning, every character is content.
        let is_harmony = tools == Some(ToolFormat::Openai) || reasoning == Some(ReasoningFormat::OpenaiGptoss);
        let is_text = |event: &Event| matches!(event.kind, EventKind::Content(_));
        let is_call = |event: &Event| matches!(event.kind, EventKind::CallBegin { .. });
        if reasoning.is_none() && !is_harmony && !events.iter().any(is_call) {
            prop_assert!(events.iter().all(is_text), "{:?}", events);
        }
    }
}
