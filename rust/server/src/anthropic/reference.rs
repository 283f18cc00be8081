//! Writes the section of `docs/protocol.md` on this dialect, from the table that the reader obeys.

use super::schema::{BLOCKS, OWN, shared};
use crate::openai::reference::line;
use crate::openai::schema::{Fate, Kind, Param};

const INTRODUCTION: &str = "
## Anthropic's dialect

`POST /v1/messages` and `POST /v1/messages/count_tokens` take what Anthropic's clients send, and answer as they expect. The prompt, the limits, the queue, the parsers
of calls and reasoning, and what holds an answer to a schema are those of chat. The fields have the three fates as well; those of other servers that chat refuses
are refused here. Neither the header `anthropic-version` nor `anthropic-beta` changes an answer of these routes, so no beta is refused: what it would add is a
field or a block, which has its own fate.

";

const AS_IN_CHAT: &str = "\nAs in chat, and with the same ranges: ";

const REMARKS: &str = "
### The answer

`content` has blocks of the types `thinking`, `text` and `tool_use`, in the order in which the model has written them. The `signature` of a thought says nothing: clients
send back only thoughts that have one. The `input` of a call is as the model has written it; one that is no object in JSON, because it breaks off or is malformed, is
`{\"INVALID_JSON\": text}` in a whole answer.

`stop_reason` is `tool_use` if the model stopped and at least one call is complete; `stop_sequence` with the one that was found in `stop_sequence`; `max_tokens` where the
answer was cut off, also by the end of the context; else `end_turn`. `usage.input_tokens` are the tokens of the prompt that were computed, `cache_read_input_tokens`
those that were in the KV cache; `output_tokens_details.thinking_tokens` is there where the model's format of reasoning is known.

A stream has `message_start` with the first token, each block's `content_block_start`, `content_block_delta` and `content_block_stop`, `message_delta` with the reason
and the usage, and `message_stop`. A thought ends with a `signature_delta`. Where nothing is generated for as long as in chat, there is a `ping`; before `message_start`, and
to clients that have closed their side, it is a comment. An error behind the headers is the event `error`, behind which the body ends without `message_stop`.

`/v1/messages/count_tokens` takes the same fields, of which only `messages` is required, refuses what `/v1/messages` refuses, and answers `{\"input_tokens\": …}`.

### Errors of these routes

`{\"type\": \"error\", \"error\": {\"type\", \"message\"}, \"request_id\"}`, whatever is wrong on a path under `/v1/messages`, and on `/v1/models` and `/v1/models/{id}` if the request has the header
`anthropic-version`, which is then answered in Anthropic's shape. The messages are those of chat, and so are the statuses but one.

| status | `error.type` |
|---|---|
| 400, 405, 408, 415 | `invalid_request_error` |
| 401 | `authentication_error` |
| 403 | `permission_error` |
| 404 | `not_found_error` |
| 413 | `request_too_large` |
| 429 | `rate_limit_error`: the queue is full, `Retry-After` says when to come back |
| 500, 503 | `api_error` |
| 504 | `timeout_error` |
| 529 | `overloaded_error`: the server is shutting down, where chat has 503 |
";

/// Writes the section.
pub fn write(page: &mut String) {
    page.push_str(INTRODUCTION);
    page.push_str("| field | value | default | |\n|---|---|---|---|\n");
    let is_honoured = |param: &&Param| matches!(param.fate, Fate::Honoured { .. });
    OWN.iter().filter(is_honoured).for_each(|param| row(page, "", param));
    page.push_str(AS_IN_CHAT);
    let names: Vec<_> = shared().map(|param| format!("`{}`", param.name)).collect();
    page.push_str(&names.join(", "));
    page.push_str(".\n\nBlocks, by their `type`; any other is refused by it:\n\n");
    page.push_str("| field | value | default | |\n|---|---|---|---|\n");
    for (kind, params) in BLOCKS {
        params.iter().for_each(|param| row(page, &format!("{kind}: "), param));
    }
    page.push_str("\n| refused | unless | use | |\n|---|---|---|---|\n");
    for param in OWN {
        let Fate::Refused { unless, instead } = param.fate else { continue };
        let instead = instead.map_or_else(String::new, |ours| format!("`{ours}`"));
        line(page, &[&format!("`{}`", param.name), &unless.words(), &instead, param.about]);
    }
    page.push_str("\n| ignored | |\n|---|---|\n");
    for param in OWN.iter().filter(|param| matches!(param.fate, Fate::Ignored)) {
        line(page, &[&format!("`{}`", param.name), param.about]);
    }
    page.push_str(REMARKS);
}

fn row(page: &mut String, path: &str, param: &Param) {
    let (value, default) = match param.fate {
        Fate::Honoured { default: "" } => (param.kind.words(), "required"),
        Fate::Honoured { default } => (param.kind.words(), default),
        Fate::Refused { .. } => ("refused".to_owned(), ""),
        Fate::Ignored => ("ignored".to_owned(), ""),
    };
    line(page, &[&format!("`{path}{}`", param.name), &value, default, param.about]);
    let (path, inner) = match param.kind {
        Kind::Object(params) => (format!("{path}{}.", param.name), params),
        Kind::Objects(params) => (format!("{path}{}[].", param.name), params),
        _ => return,
    };
    inner.iter().for_each(|param| row(page, &path, param));
}
