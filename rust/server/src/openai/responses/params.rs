//! The fields of a response that are not those of a chat.

use crate::openai::schema::Kind::{
    Anything, Boolean, Input, Integer, MaybeText, Metadata, Object, Objects, Text, TextList, ToolChoice,
    ToolName, Variables, Words,
};
use crate::openai::schema::Neutral::{False, Null, Numbers, Words as WordsOf};
use crate::openai::schema::params::{CHAT, honoured, ignored, refused, renamed};
use crate::openai::schema::{Endpoint, MAX_TOKENS, Param, body_params};

/// Values of `include`: log-probabilities of text, and thoughts that a client can send back.
pub const LOGPROBS: &str = "message.output_text.logprobs";
/// See [`LOGPROBS`].
pub const ENCRYPTED_CONTENT: &str = "reasoning.encrypted_content";

/// Values of `include` for items that no answer here has.
pub const OF_OTHER_ITEMS: &[&str] = &[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "web_search_call.action.sources",
    "web_search_call.results",
];

/// The fields of a body that have a row of their own here. All others are those of a chat.
pub const RESPONSES: &[Param] = &[
    honoured(
        CHAT,
        "input",
        Input,
        "required, unless `previous_response_id` is there",
        "A text, or items: `message`, `function_call`, `function_call_output`, `custom_tool_call`, `custom_tool_call_output`, `reasoning`, `item_reference`.",
    ),
    honoured(
        CHAT,
        "instructions",
        MaybeText(16 << 20),
        "none",
        "The system message. Messages of `system` and `developer` at the beginning are one with it. Not carried over by `previous_response_id`.",
    ),
    honoured(
        CHAT,
        "max_output_tokens",
        Integer(1, MAX_TOKENS),
        "the rest of the context",
        "Most tokens to generate; an answer that needs more is `incomplete`.",
    ),
    honoured(
        CHAT,
        "previous_response_id",
        Text(256),
        "none",
        "A stored response: its input and its output stand before `input`, and so do those before it.",
    ),
    honoured(
        CHAT,
        "store",
        Boolean,
        "`true`, where the server keeps responses",
        "Keeps the response for `GET`, `previous_response_id` and `item_reference`, see [stored responses](#stored-responses).",
    ),
    honoured(
        CHAT,
        "background",
        Boolean,
        "`false`",
        "Answers at once with a response that is `queued`, and goes on when its client leaves; needs `store`.",
    ),
    honoured(CHAT, "text", Object(TEXT), "text", "The format of the answer."),
    honoured(CHAT, "reasoning", Object(REASONING), "the template's", "How the model thinks."),
    honoured(
        CHAT,
        "tools",
        Objects(TOOL),
        "none",
        "Functions. Tools of other types that only add to what a model can do are left out, see [tools of a response](#tools-of-a-response).",
    ),
    honoured(
        CHAT,
        "tool_choice",
        ToolChoice,
        "`\"auto\"`",
        "`\"auto\"`, `\"none\"`, `\"required\"`, `{\"type\": \"function\", \"name\": …}`, or `allowed_tools`.",
    ),
    honoured(
        CHAT,
        "include",
        TextList { max_len: 16, max_chars: 128 },
        "none",
        "`message.output_text.logprobs`, or `reasoning.encrypted_content`, which is the thought in base64. Those of items that no answer has here are ignored.",
    ),
    honoured(
        CHAT,
        "top_logprobs",
        Integer(0, 20),
        "0",
        "Also the log-probabilities of this many of the likeliest tokens; needs `message.output_text.logprobs` in `include`.",
    ),
    honoured(
        CHAT,
        "truncation",
        Words(&["auto", "disabled"]),
        "`\"disabled\"`",
        "`\"auto\"` is `truncate_prompt_tokens` -1: a prompt that is too long loses its beginning.",
    ),
    honoured(CHAT, "metadata", Metadata, "`{}`", "Told in the response as it is."),
    ignored(CHAT, "stream_options", "Events are not padded, and all of them tell the usage at the end."),
    ignored(CHAT, "max_tool_calls", "Counts calls that the server makes itself, which are none."),
    ignored(CHAT, "context_management", "Nothing is compacted: see `truncation`."),
    ignored(CHAT, "client_metadata", "For logs of the maker's servers."),
    refused(CHAT, "conversation", Null, "There are none, use `previous_response_id`."),
    refused(CHAT, "prompt", Null, "There are no templates of prompts."),
    refused(CHAT, "request_id", Null, "Ids are the server's to give."),
    // Fields that chat names differently.
    renamed(CHAT, "messages", Null, "input", "Belongs to chat."),
    renamed(CHAT, "max_tokens", Null, "max_output_tokens", "Belongs to chat."),
    renamed(CHAT, "max_completion_tokens", Null, "max_output_tokens", "Belongs to chat."),
    renamed(CHAT, "response_format", Null, "text", "Belongs to chat."),
    renamed(CHAT, "reasoning_effort", Null, "reasoning", "Belongs to chat."),
    renamed(CHAT, "verbosity", Null, "text", "Belongs to chat."),
    renamed(CHAT, "functions", Null, "tools", "Belongs to chat."),
    renamed(CHAT, "function_call", Null, "tool_choice", "Belongs to chat."),
    renamed(CHAT, "logprobs", False, "include", "Belongs to chat."),
    refused(CHAT, "n", Numbers(&[1.0]), "A response has one answer."),
    refused(CHAT, "prompt_logprobs", Null, "Belongs to chat."),
    refused(CHAT, "return_token_ids", False, "Belongs to chat."),
];

/// Returns all fields of a body: those above, and those of a chat that are not among them.
pub fn all_params() -> impl Iterator<Item = &'static Param> {
    let is_own = |name: &str| RESPONSES.iter().any(|own| own.name == name);
    let of_chat = body_params().filter(move |param| param.is_on(Endpoint::Chat) && !is_own(param.name));
    RESPONSES.iter().chain(of_chat)
}

/// The fields of `text`.
pub const TEXT: &[Param] = &[
    honoured(
        CHAT,
        "format",
        Object(FORMAT),
        "text",
        "`text`, `json_object` or `json_schema`, as in `response_format` of a chat.",
    ),
    refused(CHAT, "verbosity", WordsOf(&["medium"]), "The model does not know it."),
];

/// The fields of `text.format`.
const FORMAT: &[Param] = &[
    honoured(CHAT, "type", Words(&["text", "json_object", "json_schema"]), "", "Which."),
    honoured(CHAT, "name", Anything, "none", "Told in the response."),
    honoured(CHAT, "schema", Anything, "required by `json_schema`", "What the answer is held to."),
    honoured(CHAT, "strict", Anything, "none", "The answer is held to the schema in any case."),
];

/// The fields of `reasoning`.
pub const REASONING: &[Param] = &[
    honoured(CHAT, "effort", Text(64), "the template's", "As `reasoning_effort` of a chat."),
    honoured(
        CHAT,
        "summary",
        Words(&["auto", "concise", "detailed"]),
        "none",
        "The whole thought is told as a summary, which more clients show; without it as `reasoning_text`.",
    ),
    honoured(
        CHAT,
        "generate_summary",
        Words(&["auto", "concise", "detailed"]),
        "none",
        "The older name of `summary`.",
    ),
];

/// The fields of a tool.
const TOOL: &[Param] = &[
    honoured(CHAT, "type", Text(64), "", "`function`, or what is left out or refused."),
    honoured(CHAT, "name", ToolName, "", "What a call names."),
    honoured(CHAT, "description", MaybeText(1 << 20), "none", "For the template."),
    honoured(CHAT, "parameters", Variables, "no parameters", "The JSON schema of the arguments."),
    honoured(CHAT, "strict", Boolean, "`false`", "`true` holds the arguments of calls to `parameters`."),
];
