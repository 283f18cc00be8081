//! The fields that clients of OpenAI and vLLM send, and their treatment.

use streamcore_engine::{MAX_LOGIT_BIAS, MAX_LOGPROBS};

use super::Kind::{
    Anything, Boolean, Integer, LogitBias, MaybeText, Messages, Name, Number, Object, Objects, Prompt, Text,
    Texts, TokenIds, Truncation, Variables,
};
use super::Neutral::{Empty, False, ListOf, Null, Numbers, Words};
use super::tool::{FUNCTION, TOOL};
use super::{
    Endpoint, Fate, Kind, MAX_STOP_STRING_CHARS, MAX_STOP_STRINGS, MAX_STOP_TOKENS, MAX_TOKENS, Neutral, On,
    Param,
};

pub(in crate::openai) const CHAT: On = On::Only(Endpoint::Chat);
const COMPLETIONS: On = On::Only(Endpoint::Completions);
pub(super) const BOTH: On = On::Both;

/// Returns a field that takes effect.
pub(crate) const fn honoured(
    on: On,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    about: &'static str,
) -> Param {
    Param { name, on, kind, fate: Fate::Honoured { default }, about }
}

/// Returns a field that is refused, unless its value changes nothing.
pub(crate) const fn refused(on: On, name: &'static str, unless: Neutral, about: &'static str) -> Param {
    Param { name, on, kind: Anything, fate: Fate::Refused { unless, instead: None }, about }
}

/// Returns a refused field that has an equivalent here.
pub(crate) const fn renamed(
    on: On,
    name: &'static str,
    unless: Neutral,
    instead: &'static str,
    about: &'static str,
) -> Param {
    Param { name, on, kind: Anything, fate: Fate::Refused { unless, instead: Some(instead) }, about }
}

/// Returns a field whose value is ignored.
pub(crate) const fn ignored(on: On, name: &'static str, about: &'static str) -> Param {
    Param { name, on, kind: Anything, fate: Fate::Ignored, about }
}

/// The values of `tool_choice` that force nothing.
const CHOICES: &[&str] = &["auto", "none"];

const TOP: i64 = MAX_LOGPROBS as i64;

/// The fields of a request body.
pub const PARAMS: &[Param] = &[
    honoured(
        BOTH,
        "model",
        MaybeText(1024),
        "the model that is served",
        "A name that `/v1/models` lists; the answer has the same one.",
    ),
    honoured(CHAT, "messages", Messages, "", "The conversation."),
    honoured(
        COMPLETIONS,
        "prompt",
        Prompt,
        "",
        "Each prompt gives `n` choices, with index `prompt * n + k`.",
    ),
    renamed(CHAT, "prompt", Empty, "messages", "Belongs to completions."),
    renamed(COMPLETIONS, "messages", Empty, "prompt", "Belongs to chat."),
    // How much, and how many.
    honoured(
        CHAT,
        "max_tokens",
        Integer(1, MAX_TOKENS),
        "the rest of the context",
        "Most tokens to generate. `max_completion_tokens` wins over it.",
    ),
    honoured(
        COMPLETIONS,
        "max_tokens",
        Integer(0, MAX_TOKENS),
        "16",
        "Most tokens to generate. 0 needs `echo` or `prompt_logprobs`.",
    ),
    honoured(BOTH, "max_completion_tokens", Integer(1, MAX_TOKENS), "`max_tokens`", "The newer name."),
    honoured(
        BOTH,
        "min_tokens",
        Integer(0, MAX_TOKENS),
        "0",
        "Nothing stops the answer before so many tokens.",
    ),
    honoured(BOTH, "n", Integer(1, 128), "1", "Choices per prompt. Choice `k` has the seed `seed + k`."),
    honoured(COMPLETIONS, "best_of", Integer(1, 128), "`n`", "Must be equal to `n`: choices are not ranked."),
    refused(CHAT, "best_of", Numbers(&[1.0]), "Choices are not ranked."),
    // How tokens are drawn, in the order in which it applies.
    honoured(
        BOTH,
        "repetition_penalty",
        Number(0.01, 10.0),
        "the model's, else 1",
        "Divides the logits of tokens that are in the prompt or the answer, if positive; multiplies them otherwise.",
    ),
    honoured(
        BOTH,
        "frequency_penalty",
        Number(-2.0, 2.0),
        "0",
        "Subtracted from a token's logit for each time that it is in the answer.",
    ),
    honoured(
        BOTH,
        "presence_penalty",
        Number(-2.0, 2.0),
        "0",
        "Subtracted from a token's logit if it is in the answer.",
    ),
    honoured(BOTH, "logit_bias", LogitBias(MAX_LOGIT_BIAS), "none", "Added to the logits of these tokens."),
    honoured(
        BOTH,
        "temperature",
        Number(0.0, 2.0),
        "the model's, else 1",
        "Divides the logits; 0 takes the most likely token.",
    ),
    honoured(
        BOTH,
        "top_n_sigma",
        Number(-1.0, 100.0),
        "0",
        "Drops tokens whose logits are more standard deviations than this below the greatest; 0 and -1 drop none.",
    ),
    honoured(
        BOTH,
        "min_p",
        Number(0.0, 1.0),
        "the model's, else 0",
        "Drops tokens less likely than this fraction of the likeliest.",
    ),
    honoured(
        BOTH,
        "top_k",
        Integer(-1, i32::MAX as i64),
        "the model's, else all",
        "Keeps so many of the likeliest tokens; 0 and -1 keep all.",
    ),
    honoured(
        BOTH,
        "top_p",
        Number(0.0, 1.0),
        "the model's, else 1",
        "Keeps the likeliest tokens that together reach this probability.",
    ),
    honoured(
        BOTH,
        "seed",
        Integer(i64::MIN, i64::MAX),
        "random",
        "Decides every draw: the same seed and the same logits give the same token, see [the same answer again](#the-same-answer-again).",
    ),
    refused(BOTH, "use_beam_search", False, "Tokens are drawn."),
    refused(BOTH, "length_penalty", Numbers(&[1.0]), "Belongs to beam search."),
    renamed(BOTH, "allowed_token_ids", Empty, "logit_bias", "Not supported."),
    renamed(BOTH, "bad_words", Empty, "logit_bias", "Not supported."),
    refused(BOTH, "watermarking", False, "Not supported."),
    refused(BOTH, "repetition_detection", Null, "Not supported."),
    refused(COMPLETIONS, "thinking_token_budget", Null, "Belongs to chat."),
    // Where it ends.
    honoured(
        BOTH,
        "stop",
        Texts { max_len: MAX_STOP_STRINGS, max_chars: MAX_STOP_STRING_CHARS },
        "none",
        "Texts that end the answer and are not part of it. Which one it was is in `stop_reason`.",
    ),
    honoured(
        BOTH,
        "stop_token_ids",
        TokenIds(MAX_STOP_TOKENS),
        "none",
        "Tokens that end the answer, beside the model's own.",
    ),
    honoured(BOTH, "ignore_eos", Boolean, "`false`", "The model's own end tokens do not end the answer."),
    honoured(
        BOTH,
        "include_stop_str_in_output",
        Boolean,
        "`false`",
        "What ended the answer is part of it: the stop string, or the stop token's text.",
    ),
    honoured(BOTH, "skip_special_tokens", Boolean, "`true`", "Special tokens leave no text in the answer."),
    ignored(BOTH, "spaces_between_special_tokens", "There are none."),
    // What the answer has in it.
    honoured(BOTH, "stream", Boolean, "`false`", "Answer with server-sent events."),
    honoured(BOTH, "stream_options", Object(STREAM_OPTIONS), "none", "Only with `stream`."),
    honoured(
        CHAT,
        "logprobs",
        Boolean,
        "`false`",
        "Log-probabilities of the answer's tokens, before penalties, bias and temperature.",
    ),
    honoured(
        CHAT,
        "top_logprobs",
        Integer(0, TOP),
        "0",
        "Also those of so many of the likeliest tokens; needs `logprobs`.",
    ),
    honoured(
        COMPLETIONS,
        "logprobs",
        Integer(0, 5),
        "none",
        "Log-probabilities of the answer's tokens and of this many of the likeliest, the token's own always among them; with `echo`, of the prompt's, too.",
    ),
    renamed(COMPLETIONS, "top_logprobs", Null, "logprobs", "Belongs to chat."),
    honoured(
        BOTH,
        "prompt_logprobs",
        Integer(0, TOP),
        "none",
        "Log-probabilities of the prompt's tokens and of so many of the likeliest, in vLLM's shape; not with `stream`.",
    ),
    refused(BOTH, "logprob_token_ids", Empty, "Not supported."),
    honoured(COMPLETIONS, "echo", Boolean, "`false`", "Each choice begins with its prompt."),
    refused(CHAT, "echo", False, "Belongs to completions."),
    honoured(
        BOTH,
        "return_token_ids",
        Boolean,
        "`false`",
        "Also tell the ids: `token_ids` in each choice, `prompt_token_ids` once. A final stop token is among them.",
    ),
    honoured(
        BOTH,
        "return_tokens_as_token_ids",
        Boolean,
        "`false`",
        "Tokens in log-probabilities are written `token_id:7`.",
    ),
    refused(BOTH, "return_prompt_text", False, "Not supported."),
    ignored(BOTH, "return_token_offsets", "vLLM has it on other routes only."),
    ignored(BOTH, "stream_interval", "Tokens are sent as they come; a slow reader gets several at once."),
    // How the prompt is made.
    honoured(
        CHAT,
        "add_generation_prompt",
        Boolean,
        "`true`, unless the last message is continued",
        "The prompt ends where the assistant's answer begins.",
    ),
    honoured(
        CHAT,
        "continue_final_message",
        Boolean,
        "`false`",
        "The prompt ends inside the last message, which the model goes on with; not with `add_generation_prompt`.",
    ),
    honoured(CHAT, "chat_template_kwargs", Variables, "none", "More variables for the model's template."),
    refused(COMPLETIONS, "chat_template_kwargs", Empty, "Belongs to chat."),
    refused(COMPLETIONS, "continue_final_message", False, "Belongs to chat."),
    refused(BOTH, "chat_template", Null, "The model's own is used."),
    refused(BOTH, "documents", Empty, "Not supported."),
    honoured(
        COMPLETIONS,
        "add_special_tokens",
        Boolean,
        "`true`",
        "The tokenizer adds its own tokens to a prompt of text, such as a beginning of sequence.",
    ),
    refused(CHAT, "add_special_tokens", False, "The template writes them."),
    honoured(
        BOTH,
        "truncate_prompt_tokens",
        Truncation(MAX_TOKENS),
        "none",
        "Keeps the last so many tokens of the prompt; -1 as many as leave room for `max_tokens`, or without it for 16 tokens in completions and a quarter of the context in chat.",
    ),
    refused(BOTH, "truncation_side", Words(&["left"]), "A prompt is cut at its beginning."),
    refused(BOTH, "suffix", Empty, "The model cannot fill in the middle."),
    refused(BOTH, "prompt_embeds", Null, "Not supported."),
    // What the engine should know.
    honoured(BOTH, "request_id", Name, "`x-request-id`, else random", "The part of `id` behind its prefix."),
    honoured(
        BOTH,
        "cache_salt",
        Text(1024),
        "none",
        "Only requests with the same salt and the same API key share cached prompts.",
    ),
    honoured(
        BOTH,
        "priority",
        Integer(i32::MIN as i64, i32::MAX as i64),
        "0",
        "Lower ones are served before others of the same API key; of `--priority-keys` before those of all keys.",
    ),
    // Tools and formats.
    honoured(
        CHAT,
        "tools",
        Objects(TOOL),
        "none",
        "What the answer may call, see [tools.md](tools.md). Left out of the prompt where the model's template knows no tools.",
    ),
    honoured(
        CHAT,
        "tool_choice",
        Kind::ToolChoice,
        "`\"auto\"`",
        "`\"auto\"`, `\"none\"`, `\"required\"`, a function by its name, or `allowed_tools`. With `\"none\"` the template still gets the tools, and the answer calls none.",
    ),
    honoured(CHAT, "parallel_tool_calls", Boolean, "`true`", "`false` holds the answer to one call."),
    honoured(
        CHAT,
        "functions",
        Objects(FUNCTION),
        "none",
        "OpenAI's older tools, each as `tools[].function`; `tools` win over them.",
    ),
    honoured(
        CHAT,
        "function_call",
        Kind::ToolChoice,
        "`\"auto\"`",
        "OpenAI's older `tool_choice`, which wins over it: `\"auto\"`, `\"none\"` or a name.",
    ),
    refused(COMPLETIONS, "tools", Empty, "Belongs to chat."),
    refused(COMPLETIONS, "tool_choice", Words(CHOICES), "Belongs to chat."),
    refused(COMPLETIONS, "functions", Empty, "Belongs to chat."),
    refused(COMPLETIONS, "function_call", Words(CHOICES), "Belongs to chat."),
    honoured(
        CHAT,
        "reasoning_effort",
        Text(64),
        "the template's",
        "A variable of the template, if it knows it, and `enable_thinking`: `false` with `none`, else `true`. `chat_template_kwargs` win over both.",
    ),
    refused(COMPLETIONS, "reasoning_effort", Words(&["none"]), "Belongs to chat."),
    honoured(
        CHAT,
        "thinking_token_budget",
        Integer(0, MAX_TOKENS),
        "none",
        "Tokens of the reasoning, behind which it is closed by the model's own marker; a character that has begun is finished. See [reasoning](tools.md#reasoning).",
    ),
    honoured(
        CHAT,
        "include_reasoning",
        Boolean,
        "`true`",
        "With `false` the answer is told without its reasoning, where the model's format of reasoning is known.",
    ),
    refused(BOTH, "verbosity", Words(&["medium"]), "The model does not know it."),
    refused(BOTH, "modalities", ListOf("text"), "Text only."),
    refused(BOTH, "audio", Null, "Text only."),
    refused(BOTH, "web_search_options", Null, "The server looks nothing up."),
    refused(BOTH, "moderation", Null, "The server does not moderate."),
    refused(BOTH, "vllm_xargs", Empty, "There are no extensions."),
    refused(BOTH, "kv_transfer_params", Null, "One server does all."),
    refused(BOTH, "ec_transfer_params", Null, "One server does all."),
    // What serves OpenAI's own business.
    ignored(BOTH, "user", "Nobody is told."),
    ignored(BOTH, "safety_identifier", "Nobody is told."),
    ignored(BOTH, "metadata", "Nothing is stored."),
    ignored(BOTH, "store", "Nothing is stored."),
    ignored(BOTH, "service_tier", "There is one."),
    ignored(BOTH, "session_id", "Requests stand alone."),
    ignored(CHAT, "prediction", "A hint that may save time and cannot change the answer."),
    ignored(BOTH, "prompt_cache_key", "Cached prompts are found by themselves."),
    ignored(BOTH, "prompt_cache_options", "Cached prompts are found by themselves."),
    ignored(BOTH, "prompt_cache_retention", "Cached prompts stay while there is room."),
    ignored(BOTH, "media_io_kwargs", "Text only."),
    ignored(BOTH, "mm_processor_kwargs", "Text only."),
    ignored(BOTH, "mm_payload", "Text only."),
    ignored(BOTH, "return_mm_kwargs", "Text only."),
    ignored(BOTH, "routed_experts_prompt_start", "Belongs to an answer that is not given."),
];

/// The fields of `stream_options`.
pub const STREAM_OPTIONS: &[Param] = &[
    honoured(BOTH, "include_usage", Boolean, "`false`", "Tells the tokens used in a chunk before `[DONE]`."),
    honoured(
        BOTH,
        "continuous_usage_stats",
        Boolean,
        "`false`",
        "With `include_usage`: every chunk tells the tokens used so far, up to those that it shows.",
    ),
    ignored(BOTH, "include_obfuscation", "Chunks are not padded."),
];
