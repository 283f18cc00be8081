//! The fields of a body of `/v1/messages`: the table for the reader, the reference page and
//! `/openapi.json`.
//!
//! The fields that chat has under the same name and with the same meaning are taken from its
//! table, and so are those of other servers: what chat refuses is refused here.

use crate::openai::schema::Kind::{
    Blocks, Boolean, Integer, MaybeText, Object, Objects, Text, Texts, ToolName, Variables, Words,
};
use crate::openai::schema::Neutral::{Empty, False, Null, Numbers, True};
use crate::openai::schema::params::{honoured, ignored, refused, renamed};
use crate::openai::schema::{
    Endpoint, Fate, MAX_STOP_STRING_CHARS, MAX_STOP_STRINGS, MAX_TOKENS, On, Param, body_params,
};

const HERE: On = On::Only(Endpoint::Messages);

/// Honoured as in chat, under the same name.
const AS_IN_CHAT: [&str; 20] = [
    "model",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "top_n_sigma",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "min_tokens",
    "stop_token_ids",
    "ignore_eos",
    "skip_special_tokens",
    "request_id",
    "cache_salt",
    "priority",
    "chat_template_kwargs",
];

/// The fields that are Anthropic's own, and those of OpenAI that have another name here.
pub const OWN: &[Param] = &[
    honoured(HERE, "messages", Objects(MESSAGE), "", "The conversation."),
    honoured(
        HERE,
        "system",
        Blocks,
        "none",
        "What the system says, before the messages. A block that begins with `x-anthropic-billing-header:` is left out: it is for Anthropic's accounts, and other in each request, so that no prompt would be found in the cache.",
    ),
    honoured(
        HERE,
        "max_tokens",
        Integer(1, MAX_TOKENS),
        "",
        "Most tokens to generate; more than the context has room for is as many as it has room for.",
    ),
    honoured(
        HERE,
        "stop_sequences",
        Texts { max_len: MAX_STOP_STRINGS, max_chars: MAX_STOP_STRING_CHARS },
        "none",
        "Texts that end the answer and are not part of it. Which one it was is in `stop_sequence`.",
    ),
    honoured(
        HERE,
        "tools",
        Objects(TOOL),
        "none",
        "What the answer may call. Those that Anthropic's servers run, or have trained their models for, are refused by their `type`.",
    ),
    honoured(HERE, "tool_choice", Object(TOOL_CHOICE), "`auto`", "What the answer has to do with the tools."),
    honoured(HERE, "thinking", Object(THINKING), "the template's", "Whether the model thinks first."),
    honoured(HERE, "output_config", Object(OUTPUT_CONFIG), "none", "How much effort, and which format."),
    honoured(
        HERE,
        "output_format",
        Object(FORMAT),
        "none",
        "The older name of `output_config.format`; not with it.",
    ),
    refused(HERE, "mcp_servers", Empty, "The server calls nobody."),
    refused(HERE, "container", Null, "The server runs no code."),
    ignored(HERE, "metadata", "Nobody is told."),
    ignored(HERE, "service_tier", "There is one."),
    ignored(HERE, "speed", "There is one."),
    ignored(HERE, "inference_geo", "It runs where it is."),
    ignored(HERE, "cache_control", "Cached prompts are found by themselves."),
    ignored(
        HERE,
        "context_management",
        "The prompt is what the client has sent; nothing is cleared from it.",
    ),
    ignored(HERE, "diagnostics", "Nothing is kept of earlier answers."),
    ignored(HERE, "betas", "As the header `anthropic-beta`."),
    ignored(HERE, "anthropic_beta", "As the header `anthropic-beta`."),
    ignored(HERE, "anthropic_version", "As the header `anthropic-version`."),
    ignored(HERE, "return_tokens_as_token_ids", "Belongs to log-probabilities."),
    ignored(HERE, "stream_options", "A stream always ends with its usage."),
    // OpenAI's clients use other names for these.
    renamed(HERE, "stop", Empty, "stop_sequences", "OpenAI"),
    renamed(HERE, "max_completion_tokens", Null, "max_tokens", "OpenAI"),
    renamed(HERE, "response_format", Null, "output_config", "OpenAI"),
    renamed(HERE, "structured_outputs", Empty, "output_config", "vLLM"),
    renamed(HERE, "guided_json", Empty, "output_config", "vLLM"),
    refused(HERE, "guided_regex", Empty, "vLLM"),
    refused(HERE, "guided_choice", Empty, "vLLM"),
    refused(HERE, "guided_grammar", Empty, "vLLM"),
    renamed(HERE, "guided_json_object", False, "output_config", "vLLM"),
    renamed(HERE, "reasoning_effort", Null, "output_config", "OpenAI"),
    renamed(HERE, "include_reasoning", True, "thinking", "vLLM"),
    renamed(HERE, "thinking_token_budget", Null, "thinking", "vLLM"),
    renamed(HERE, "parallel_tool_calls", True, "tool_choice", "OpenAI"),
    renamed(HERE, "functions", Empty, "tools", "OpenAI"),
    renamed(HERE, "function_call", Null, "tool_choice", "OpenAI"),
    renamed(HERE, "prompt", Empty, "messages", "OpenAI"),
    refused(HERE, "best_of", Numbers(&[1.0]), "OpenAI"),
    refused(HERE, "echo", False, "OpenAI"),
    refused(HERE, "n", Numbers(&[1.0]), "OpenAI"),
    refused(HERE, "logprobs", False, "OpenAI"),
    refused(HERE, "top_logprobs", Numbers(&[0.0]), "OpenAI"),
    refused(HERE, "prompt_logprobs", Null, "vLLM"),
    refused(HERE, "return_token_ids", False, "vLLM"),
    refused(HERE, "include_stop_str_in_output", False, "vLLM"),
    refused(HERE, "add_generation_prompt", True, "vLLM"),
    refused(HERE, "continue_final_message", False, "vLLM"),
    refused(HERE, "truncate_prompt_tokens", Null, "vLLM"),
];

/// A message.
pub const MESSAGE: &[Param] = &[
    honoured(
        HERE,
        "role",
        Words(&["user", "assistant", "system"]),
        "",
        "Messages of one role behind each other are one turn. An answer goes on where the last message ends, if that is the assistant's.",
    ),
    honoured(HERE, "content", Blocks, "", "A text, or a list of blocks."),
];

/// The blocks of messages, by their `type`; any other is refused by it.
pub const BLOCKS: [(&str, &[Param]); 5] = [
    ("text", TEXT_BLOCK),
    ("tool_use", TOOL_USE),
    ("tool_result", TOOL_RESULT),
    ("thinking", THINKING_BLOCK),
    ("redacted_thinking", REDACTED_THINKING),
];

const CACHE_CONTROL: Param = ignored(HERE, "cache_control", "Cached prompts are found by themselves.");

/// Text. The texts of one turn are joined by line breaks.
pub const TEXT_BLOCK: &[Param] = &[
    honoured(HERE, "text", MaybeText(16 << 20), "", "The text."),
    ignored(HERE, "citations", "The server cites nothing."),
    CACHE_CONTROL,
];

/// A call in a message of the assistant.
pub const TOOL_USE: &[Param] = &[
    honoured(HERE, "id", MaybeText(1024), "none", "For the template."),
    honoured(HERE, "name", Text(1024), "", "The tool."),
    honoured(HERE, "input", Variables, "`{}`", "Its arguments."),
    ignored(HERE, "caller", "Only the client calls."),
    CACHE_CONTROL,
];

/// A tool's result, in a message of the user.
pub const TOOL_RESULT: &[Param] = &[
    honoured(HERE, "tool_use_id", MaybeText(1024), "", "For the template: the `id` of the call."),
    honoured(HERE, "content", Blocks, "empty", "A text, or a list of blocks of text."),
    ignored(HERE, "is_error", "Templates have no place for it; the text says what went wrong."),
    CACHE_CONTROL,
];

/// The thought of an earlier answer.
pub const THINKING_BLOCK: &[Param] = &[
    honoured(
        HERE,
        "thinking",
        MaybeText(16 << 20),
        "",
        "For the template, as `reasoning_content` or `reasoning`.",
    ),
    ignored(HERE, "signature", "A thought that comes back is believed."),
];

/// The encrypted thought of another server.
pub const REDACTED_THINKING: &[Param] = &[ignored(HERE, "data", "Left out: only that server can read it.")];

/// A tool.
pub const TOOL: &[Param] = &[
    honoured(HERE, "type", Words(&["custom"]), "`\"custom\"`", "Others are refused."),
    honoured(HERE, "name", ToolName, "", "What a call names."),
    honoured(HERE, "description", MaybeText(1 << 20), "none", "For the template."),
    honoured(
        HERE,
        "input_schema",
        Variables,
        "`{\"type\": \"object\", \"properties\": {}}`",
        "The JSON schema of the arguments.",
    ),
    honoured(
        HERE,
        "strict",
        Boolean,
        "`false`",
        "`true` holds the arguments of calls to `input_schema`, see [structured-output.md](structured-output.md).",
    ),
    ignored(HERE, "eager_input_streaming", "Arguments always stream as they are generated."),
    ignored(HERE, "defer_loading", "All tools are in the prompt."),
    ignored(HERE, "input_examples", "Templates have no place for them."),
    ignored(HERE, "allowed_callers", "Only the client calls."),
    CACHE_CONTROL,
];

/// Whether and which tools the answer calls.
pub const TOOL_CHOICE: &[Param] = &[
    honoured(
        HERE,
        "type",
        Words(&["auto", "any", "tool", "none"]),
        "",
        "`any` holds the answer to calls, `tool` to calls of the one that `name` names.",
    ),
    honoured(HERE, "name", ToolName, "none", "Required with `tool`."),
    honoured(HERE, "disable_parallel_tool_use", Boolean, "`false`", "`true` holds the answer to one call."),
];

/// Whether the model thinks first.
pub const THINKING: &[Param] = &[
    honoured(
        HERE,
        "type",
        Words(&["enabled", "adaptive", "between_tools", "disabled"]),
        "",
        "Sets the template's variable `enable_thinking`: `false` with `disabled`, else `true`.",
    ),
    honoured(
        HERE,
        "budget_tokens",
        Integer(1, MAX_TOKENS),
        "none",
        "Tokens behind which the thought is closed, as `thinking_token_budget` of chat does it, where the model's format of reasoning is known; and the template's variable `thinking_budget`.",
    ),
    honoured(
        HERE,
        "display",
        Words(&["summarized", "omitted"]),
        "`\"summarized\"`",
        "`omitted` leaves the thought out of the answer; it is told whole otherwise.",
    ),
];

/// Effort and format.
pub const OUTPUT_CONFIG: &[Param] = &[
    honoured(HERE, "effort", Text(64), "the template's", "The template's variable `reasoning_effort`."),
    honoured(HERE, "format", Object(FORMAT), "text", "What the text of the answer is held to."),
    ignored(HERE, "task_budget", "Requests stand alone."),
];

/// The format of the answer's text.
pub const FORMAT: &[Param] = &[
    honoured(HERE, "type", Words(&["json_schema"]), "", "Others are refused."),
    honoured(
        HERE,
        "schema",
        Variables,
        "",
        "The JSON schema of the text, see [structured-output.md](structured-output.md).",
    ),
];

/// Returns every field of a body that is known.
pub fn params() -> impl Iterator<Item = &'static Param> + Clone {
    OWN.iter().chain(shared()).chain(foreign())
}

/// Returns the fields with the same effect as in chat.
pub fn shared() -> impl Iterator<Item = &'static Param> + Clone {
    let is_honoured = |param: &&Param| matches!(param.fate, Fate::Honoured { .. });
    let of_chat = body_params().filter(|param| param.is_on(Endpoint::Chat));
    of_chat.filter(is_honoured).filter(|param| AS_IN_CHAT.contains(&param.name))
}

/// Returns the fields of other servers that chat refuses or ignores.
pub fn foreign() -> impl Iterator<Item = &'static Param> + Clone {
    let is_own = |name: &str| OWN.iter().any(|param| param.name == name);
    let is_left = |param: &&Param| !matches!(param.fate, Fate::Honoured { .. });
    let of_both = body_params().filter(|param| param.on == On::Both);
    of_both.filter(is_left).filter(move |param| !is_own(param.name))
}
