//! Random calls, and a writer of each format that shares nothing with the parser.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use streamcore_parsers::ToolFormat;

/// Returns a string with what formats have to escape.
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
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) arguments: Map<String, Value>,
}

pub(crate) fn calls() -> impl Strategy<Value = Vec<Call>> {
    let arguments = prop::collection::vec(("[a-z][a-z0-9_]{0,5}", value()), 0..4);
    let call = ("[a-z][a-z_]{0,8}[0-9]?", arguments)
        .prop_map(|(name, arguments)| Call { name, arguments: arguments.into_iter().collect() });
    prop::collection::vec(call, 1..4)
}

/// A stream of choices for a writer.
#[derive(Debug, Clone)]
pub(crate) struct Style(pub(crate) u64);

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

    /// Returns an answer that is nothing but calls.
    pub(crate) fn answer(&mut self, tools: ToolFormat, calls: &[Call]) -> String {
        let is_old = tools == ToolFormat::Mistral && self.choose(2) == 0;
        let written: Vec<_> = calls
            .iter()
            .map(|call| if is_old { self.json_call(call, "arguments") } else { self.call(tools, call) })
            .collect();
        match tools {
            ToolFormat::Granite => format!("<|tool_call|>{}", self.bracket('[', &written, ']')),
            ToolFormat::Phi4MiniJson => format!("functools{}", self.bracket('[', &written, ']')),
            ToolFormat::Mistral if is_old => format!("[TOOL_CALLS]{}", self.bracket('[', &written, ']')),
            ToolFormat::Llama3Json => written.join("; "),
            ToolFormat::Qwen3Xml | ToolFormat::Glm47 => written.join("\n"),
            ToolFormat::DeepseekV31 => {
                format!("<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>", written.concat())
            }
            ToolFormat::Olmo3 => format!("<function_calls>\n{}\n</function_calls>", written.join("\n")),
            ToolFormat::Lfm2 => {
                format!("<|tool_call_start|>{}<|tool_call_end|>", self.bracket('[', &written, ']'))
            }
            ToolFormat::Llama4Pythonic if self.choose(2) == 0 => {
                format!("<|python_start|>{}<|python_end|>", self.bracket('[', &written, ']'))
            }
            ToolFormat::Pythonic | ToolFormat::Llama4Pythonic => self.bracket('[', &written, ']'),
            _ => written.concat(),
        }
    }

    /// One call, without what stands around several.
    fn call(&mut self, tools: ToolFormat, call: &Call) -> String {
        let (name, arguments) = (&call.name, Value::from(call.arguments.clone()));
        match tools {
            ToolFormat::Hermes | ToolFormat::Granite4 => {
                let json = self.json_call(call, "arguments");
                format!("<tool_call>{}{json}{}</tool_call>{}", self.space(), self.space(), self.space())
            }
            ToolFormat::Granite | ToolFormat::Phi4MiniJson => self.json_call(call, "arguments"),
            ToolFormat::Llama3Json => self.json_call(call, "parameters"),
            ToolFormat::Mistral => {
                let separator = if self.choose(2) == 0 { "[ARGS]" } else { "" };
                format!("[TOOL_CALLS]{name}{separator}{}", self.json(&arguments))
            }
            ToolFormat::DeepseekV31 => {
                let json = self.json(&arguments);
                format!("<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{json}<｜tool▁call▁end｜>")
            }
            ToolFormat::Openai => {
                let channel = format!("<|channel|>commentary to=functions.{name}");
                let json = self.json(&arguments);
                format!("<|start|>assistant{channel} <|constrain|>json<|message|>{json}<|call|>")
            }
            ToolFormat::Qwen3Xml => {
                let parameters = self.parameters_in("<parameter=", ">\n", "\n</parameter>\n", call);
                format!("<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>")
            }
            ToolFormat::Glm47 => {
                let parameters =
                    self.parameters_in("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n", call);
                format!("<tool_call>{name}\n{parameters}</tool_call>")
            }
            ToolFormat::Gemma4 => {
                format!("<|tool_call>call:{name}{}<tool_call|>", self.gemma(&arguments, "<|\"|>"))
            }
            ToolFormat::FunctionGemma => {
                let arguments = self.gemma(&arguments, "<escape>");
                format!("<start_function_call>call:{name}{arguments}<end_function_call>")
            }
            ToolFormat::Pythonic | ToolFormat::Llama4Pythonic | ToolFormat::Lfm2 | ToolFormat::Olmo3 => {
                self.python_call(call)
            }
        }
    }

    /// Parameters in tags: before a key, between key and value, behind a value.
    fn parameters_in(&mut self, before: &str, between: &str, behind: &str, call: &Call) -> String {
        let parameters = call.arguments.iter();
        parameters
            .map(|(key, value)| format!("{before}{key}{between}{}{behind}", self.untyped(value)))
            .collect()
    }

    /// Returns a value without quotes, as a template renders it.
    fn untyped(&mut self, value: &Value) -> String {
        value.as_str().map_or_else(|| self.json(value), str::to_owned)
    }

    /// Returns a schema that a value fits, in one of the ways in which people write it.
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

    /// Returns the schema of a call's parameters.
    pub(crate) fn parameters(&mut self, call: &Call) -> Value {
        let types = ["null", "boolean", "number", "integer", "string", "array", "object"];
        let defs: Map<_, _> =
            types.iter().map(|name| ((*name).to_owned(), json!({ "type": name }))).collect();
        let properties: Map<_, _> =
            call.arguments.iter().map(|(key, value)| (key.clone(), self.schema(value))).collect();
        json!({ "type": "object", "properties": properties, "$defs": defs })
    }
}
