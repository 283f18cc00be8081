//! The notation of calls, for grammars that force one and for texts that contain one.

use serde_json::{Map, Value};

use crate::format::ToolFormat;

/// The markers around the names and arguments of calls.
///
/// Calls are `first (call (separator call)*) last`, and a call is `before_name NAME
/// before_arguments ARGUMENTS behind_arguments`. A grammar that leaves the model free waits for
/// `trigger`, with which every call begins. Markers are special tokens where the tokenizer has
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSyntax {
    /// Where text stops being free; empty where calls have no marker.
    pub trigger: &'static str,
    /// Before the first call.
    pub first: &'static str,
    /// Between two calls.
    pub separator: &'static str,
    /// Behind the last call.
    pub last: &'static str,
    /// Before a name.
    pub before_name: &'static str,
    /// Between name and arguments.
    pub before_arguments: &'static str,
    /// Behind arguments.
    pub behind_arguments: &'static str,
    /// How arguments are written.
    pub arguments: ArgumentsSyntax,
    /// Whether an answer has several calls.
    pub is_parallel: bool,
}

/// How arguments are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentsSyntax {
    /// A JSON object: a grammar takes the schema of the parameters.
    Json,
    /// `before_key KEY behind_key VALUE behind_value` for each parameter: text for strings, JSON
    /// for other types.
    Tags {
        /// Before a key.
        before_key: &'static str,
        /// Between key and value.
        behind_key: &'static str,
        /// Behind a value, which does not contain it.
        behind_value: &'static str,
    },
    /// `KEY=VALUE`, with commas between: Python's strings, numbers, lists and dicts, `True`,
    /// `False`, `None`.
    Python,
    /// `{KEY:VALUE}` with commas between and keys without quotes, also in nested objects; numbers,
    /// `true`, `false`, `null` as in JSON.
    Gemma {
        /// Before and behind a string, which has no escapes and does not contain it.
        quote: &'static str,
    },
}

const HERMES: CallSyntax = CallSyntax {
    trigger: "<tool_call>",
    first: "",
    separator: "\n",
    last: "",
    before_name: "<tool_call>\n{\"name\": \"",
    before_arguments: "\", \"arguments\": ",
    behind_arguments: "}\n</tool_call>",
    arguments: ArgumentsSyntax::Json,
    is_parallel: true,
};

const PYTHONIC: CallSyntax = CallSyntax {
    trigger: "",
    first: "[",
    separator: ", ",
    last: "]",
    before_name: "",
    before_arguments: "(",
    behind_arguments: ")",
    arguments: ArgumentsSyntax::Python,
    is_parallel: true,
};

/// JSON objects in a list.
const LIST: CallSyntax = CallSyntax {
    trigger: "<|tool_call|>",
    first: "<|tool_call|>[",
    separator: ", ",
    last: "]",
    before_name: "{\"name\": \"",
    behind_arguments: "}",
    ..HERMES
};

const GEMMA: CallSyntax = CallSyntax {
    trigger: "<|tool_call>",
    separator: "",
    before_name: "<|tool_call>call:",
    before_arguments: "",
    behind_arguments: "<tool_call|>",
    arguments: ArgumentsSyntax::Gemma { quote: "<|\"|>" },
    ..HERMES
};

const MISTRAL: CallSyntax = CallSyntax {
    trigger: "[TOOL_CALLS]",
    separator: "",
    before_name: "[TOOL_CALLS]",
    before_arguments: "[ARGS]",
    behind_arguments: "",
    ..HERMES
};

const DEEPSEEK_V31: CallSyntax = CallSyntax {
    trigger: "<｜tool▁calls▁begin｜>",
    first: "<｜tool▁calls▁begin｜>",
    separator: "",
    last: "<｜tool▁calls▁end｜>",
    before_name: "<｜tool▁call▁begin｜>",
    before_arguments: "<｜tool▁sep｜>",
    behind_arguments: "<｜tool▁call▁end｜>",
    ..HERMES
};

const HARMONY: CallSyntax = CallSyntax {
    trigger: "<|channel|>commentary to=functions.",
    separator: "<|start|>assistant",
    before_name: "<|channel|>commentary to=functions.",
    before_arguments: " <|constrain|>json<|message|>",
    behind_arguments: "<|call|>",
    is_parallel: false,
    ..HERMES
};

const QWEN3_XML: CallSyntax = CallSyntax {
    before_name: "<tool_call>\n<function=",
    before_arguments: ">\n",
    behind_arguments: "</function>\n</tool_call>",
    arguments: ArgumentsSyntax::Tags {
        before_key: "<parameter=",
        behind_key: ">\n",
        behind_value: "\n</parameter>\n",
    },
    ..HERMES
};

const GLM47: CallSyntax = CallSyntax {
    separator: "",
    before_name: "<tool_call>",
    before_arguments: "",
    behind_arguments: "</tool_call>",
    arguments: ArgumentsSyntax::Tags {
        before_key: "<arg_key>",
        behind_key: "</arg_key><arg_value>",
        behind_value: "</arg_value>",
    },
    ..HERMES
};

const LLAMA3_JSON: CallSyntax = CallSyntax {
    trigger: "{\"name\": \"",
    separator: "; ",
    before_name: "{\"name\": \"",
    before_arguments: "\", \"parameters\": ",
    behind_arguments: "}",
    is_parallel: false,
    ..HERMES
};

const FUNCTION_GEMMA: CallSyntax = CallSyntax {
    trigger: "<start_function_call>",
    before_name: "<start_function_call>call:",
    behind_arguments: "<end_function_call>",
    arguments: ArgumentsSyntax::Gemma { quote: "<escape>" },
    ..GEMMA
};

impl ToolFormat {
    /// Returns the notation of calls. `has_token` returns whether a text is a single token, which
    /// decides between Mistral's two notations.
    #[must_use]
    pub fn call_syntax(self, has_token: impl Fn(&str) -> bool) -> CallSyntax {
        match self {
            Self::Hermes | Self::Granite4 => HERMES,
            Self::Granite => LIST,
            Self::Phi4MiniJson => CallSyntax { trigger: "functools[", first: "functools[", ..LIST },
            Self::Mistral if has_token("[ARGS]") => MISTRAL,
            Self::Mistral => CallSyntax { trigger: "[TOOL_CALLS]", first: "[TOOL_CALLS] [", ..LIST },
            Self::Llama3Json => LLAMA3_JSON,
            Self::DeepseekV31 => DEEPSEEK_V31,
            Self::Openai => HARMONY,
            Self::Qwen3Xml => QWEN3_XML,
            Self::Glm47 => GLM47,
            Self::Gemma4 => GEMMA,
            Self::FunctionGemma => FUNCTION_GEMMA,
            Self::Pythonic | Self::Llama4Pythonic => PYTHONIC,
            Self::Lfm2 => CallSyntax {
                trigger: "<|tool_call_start|>",
                first: "<|tool_call_start|>[",
                last: "]<|tool_call_end|>",
                ..PYTHONIC
            },
            Self::Olmo3 => CallSyntax {
                trigger: "<function_calls>",
                first: "<function_calls>\n",
                separator: "\n",
                last: "\n</function_calls>",
                ..PYTHONIC
            },
        }
    }
}

impl CallSyntax {
    /// Writes these calls as the model would.
    #[must_use]
    pub fn write<'a>(&self, calls: impl IntoIterator<Item = (&'a str, &'a Map<String, Value>)>) -> String {
        let mut text = self.first.to_owned();
        for (index, (name, arguments)) in calls.into_iter().enumerate() {
            if index > 0 {
                text.push_str(self.separator);
            }
            for part in [
                self.before_name,
                name,
                self.before_arguments,
                &self.arguments.write(arguments),
                self.behind_arguments,
            ] {
                text.push_str(part);
            }
        }
        text + self.last
    }
}

impl ArgumentsSyntax {
    fn write(self, arguments: &Map<String, Value>) -> String {
        let entries = arguments.iter();
        match self {
            Self::Json => Value::from(arguments.clone()).to_string(),
            Self::Tags { before_key, behind_key, behind_value } => entries
                .map(|(key, value)| {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    format!("{before_key}{key}{behind_key}{value}{behind_value}")
                })
                .collect(),
            Self::Python => {
                entries.map(|(key, value)| format!("{key}={}", python(value))).collect::<Vec<_>>().join(", ")
            }
            Self::Gemma { quote } => gemma(&Value::from(arguments.clone()), quote),
        }
    }
}

/// Returns a value in Python. JSON's strings are Python's as well.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), python(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

fn gemma(value: &Value, quote: &str) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("{quote}{text}{quote}"),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(|item| gemma(item, quote)).collect::<Vec<_>>().join(","))
        }
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{key}:{}", gemma(value, quote)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
    }
}
