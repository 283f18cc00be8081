//! `docs/protocol.md`: the fields of requests, from the same table that the parser obeys.

use std::fmt::Write;

use super::responses;
use super::schema::dialects::DIALECTS;
use super::schema::message::MESSAGE;
use super::schema::params::{PARAMS, STREAM_OPTIONS};
use super::schema::structured::STRUCTURED;
use super::schema::{Endpoint, Fate, Kind, On, Param};
use crate::anthropic::reference as anthropic;

const INTRODUCTION: &str = "# Protocol

Generated from `rust/server/src/openai/schema/` and `rust/server/src/anthropic/schema.rs` by `make docs`; do not edit.

`POST /v1/chat/completions` and `POST /v1/completions` take OpenAI's fields and those of vLLM that clients send. Every known field has one
of three fates: it is **honoured**; it is **refused** with status 400 and its name in `error.param`, since leaving it out of account would
change the answer; or it is **ignored**, since it cannot. Fields that are in no list are ignored. `null` is the same as leaving a field out.
`GET /openapi.json` says the same to programs. `POST /v1/messages` is [Anthropic's dialect](#anthropics-dialect).
`POST /v1/responses` takes the fields of chat and [its own](#responses).
";

const MESSAGES: &str = "
Every other field goes to the model's chat template as it is, text or not; so does every role. What the template refuses is refused with
its own words. A template that does not name `developer` gets `system` in its place, and one that reads what a model has thought as
`reasoning_content` gets it also from clients that call it `reasoning`, and the other way round. `null` is the same as leaving a field out.
";

const OF_OTHER_SERVERS: &str = "
## Fields of other servers

Programs that were written for another server send that server's fields. Those that would change the answer are refused in the same way, with
the field that does the same here, or nearly so; a value that switches the field off passes. The last column says which servers have them.

";

const REMARKS: &str = "
## The order of a stream

In chat, one chunk with `role` and empty `content` for each choice, in order; then any number of chunks with text, reasoning or pieces of calls
([tools.md](tools.md#on-the-wire)); then for each choice one chunk with an empty `delta` and `finish_reason`, which is `stop`, `length` or `tool_calls`; then, with `include_usage`, one chunk without choices that has
`usage`; then `[DONE]`. Completions have no first chunks, and an empty `text` in those that end a choice. What was matched of the client's own
`stop` or `stop_token_ids` is in `stop_reason`. Choices may alternate. An error behind the headers is an event with
`error`, behind which the connection breaks off without `[DONE]` and without the end of the body.

With `logprobs` or `return_token_ids`, tokens that leave no text come with the text behind them or in the last chunk; of a long run of them
there are chunks with an empty text. No other chunk in between is empty. An event stays under 64 KiB, but for one: with `return_token_ids` all of the prompt's ids are in one chunk,
as clients expect them. Beside the usual fields, what was asked for is in the choice (`token_ids`, `stop_reason`, and in completions
`prompt_token_ids` and `prompt_logprobs`) or beside the choices (in chat `prompt_token_ids` and `prompt_logprobs`), never in `delta`.

The text of an answer is what its tokens add to the prompt's text, so both side by side are what the model read and wrote: where a tokenizer drops
the space at the start of a text, as SentencePiece's do, it is that of the prompt, and an answer that begins with a word begins with a space.
A prompt of token ids may end inside a character; the answer then begins with that character.

With `echo`, `text` begins with the prompt: one that came as text is there character by character, whatever its tokenizer makes of it. With
`logprobs`, its tokens are told, too, and their `text_offset` says where in that text is what they were made of. A tokenizer that normalises
may have made a token of other characters than its name shows, and special tokens of its own stand for no text at all.

`model` in an answer is the name that was asked for, or the first one that is served if the client has not asked for any.

`usage` counts each prompt once, however many choices it has. With `continuous_usage_stats`, a chunk counts the tokens that it and the chunks
before it show: the first one of a chat counts none, and text comes with the last token that has a part in it. `prompt_tokens_details.cached_tokens` is how much of the prompts was in the KV
cache when the first choice of each began.

## Headers and comments

The headers of an answer:

| header | where | |
|---|---|---|
| `x-request-id` | everywhere | The client's own, if that has 1 to 64 of `A-Za-z0-9._-`; else a random one. The log has it, too, and the `id` of an answer that was generated ends with it unless `request_id` is given. |
| `request-id` | [Anthropic's dialect](#anthropics-dialect) | The same as `x-request-id`. |
| `openai-processing-ms` | all but event streams | Milliseconds from the head of the request to that of the answer. |
| `Content-Type` | where there is a body | `text/event-stream; charset=utf-8`, `application/json`, and for `/metrics` `text/plain; version=0.0.4; charset=utf-8`. |
| `Cache-Control: no-cache, no-transform` | event streams | Proxies keep no copy and do not compress. |
| `X-Accel-Buffering: no` | event streams | nginx holds nothing back. |
| `Retry-After` | 429; 503 with the code `shutting_down` | Whole seconds: 1 to 60 by how fast the queue has been moving; 1. A script's error has it if the script says so. |
| `Allow` | 405, and `OPTIONS` of a path | The methods of the path. |
| `Vary`, `Access-Control-Allow-Origin`, `Access-Control-Expose-Headers`, `Access-Control-Allow-Methods`, `Access-Control-Allow-Headers`, `Access-Control-Max-Age` | with `--allowed-origins` | For pages in a browser. |
| `Connection: close` | 503 with the code `shutting_down`, requests in chunks, heads that are refused, answers that come before a long or late body | The next request needs a new connection. |
| `Accept-Encoding` | 415 for the `Content-Encoding` | `gzip, deflate`: how a body may be packed. |
| `Content-Length`, `Transfer-Encoding`, `Date` | as HTTP has them | With `streamcore.asgi` the last two and `Connection` are the ASGI server's. |

The headers of a request that change an answer:

| header | |
|---|---|
| `Authorization: Bearer KEY`, `x-api-key: KEY` | One of them, where the server has keys; `/health` and `/ready` ask for none. |
| `anthropic-version` | Any value asks `/v1/models` for [Anthropic's shape](#errors-of-these-routes). |
| `Content-Type` | `application/json` or `…+json`, else 415. It may be missing, unless a page of an origin that is not allowed has sent the request. |
| `Content-Encoding` | `gzip`, `deflate` (zlib's format or bare) or `identity`, else 415. The limit of a body counts what it becomes. |
| `x-request-id` | The request's name, see above. |
| `x-stainless-read-timeout` | Seconds that the client waits for the next byte; the OpenAI SDK for Python sends it. A whole answer that takes a fifth longer is given up with 504, and comments come at shorter intervals. |
| `x-stainless-timeout` | Seconds that the client waits for a whole answer, where there is no other; the SDK for JavaScript sends them without their fraction, so one more is given. |
| `Origin`, `Sec-Fetch-Site`, `Host` | Whether a page in a browser may ask: see [operation.md](operation.md#browsers). |

`Accept` and `Accept-Encoding` are not looked at: what is streamed depends on `stream` alone, and nothing is compressed.

Status and headers of a stream are sent when its request has a place in the queue, before its prompt is computed. Where there is no event for
15 s, or for a third of `x-stainless-read-timeout` if that is less, though not less than 0.1 s, a comment says that the stream lives: a line with nothing but a
colon, and a blank line. A client that has closed its own side of the connection gets comments earlier, to see whether it still listens.
Comments stand between events, also before the first one; every client skips them. There are no lines but `data:` and these, and `event:` in Anthropic's dialect.

## Log-probabilities

They are natural logarithms of the softmax of the model's own logits, before penalties, bias and temperature, and never below -9999. In chat
they are in `choices[].logprobs.content`, one entry for each token that the text shows; in completions in the four lists of
`choices[].logprobs`, whose `text_offset` counts characters. A token that is part of a character is written as `bytes:\\xe2\\x82`, so that
no two tokens look the same; its `bytes` are its own, and those of consecutive tokens make up the text. A special token that leaves no text
has `bytes: null`.

A chunk has exactly the tokens whose text it shows: text that may yet become a stop string is held back together with them, and tokens
behind a stop string are never told. The model's end token is in `usage` and, with `return_token_ids`, in `token_ids` of the last chunk; it
has a log-probability only if `include_stop_str_in_output` makes it a part of the answer.

`prompt_logprobs` has vLLM's shape: for each token of the prompt an object of token ids, each with `logprob`, `rank` and `decoded_token`; `null`
for the first token, which follows nothing. `rank` is known for the likeliest tokens that were asked for and `null` for the prompt's own
token if it is none of them: to rank it, too, would take one more look at every logit of every position, and it says no more than that
the token is behind the last of the others.

## The same answer again

A draw depends on the logits, the sampling fields, the `seed` and the position in the answer, and on nothing else: neither on the other
requests of a step nor on when it runs. On the CPU the logits depend on the tokens before them and on nothing else, to the last bit: alone or in any
batch, in one step or in many, one at a time or as a part of a prompt, from the KV cache, and after a preemption
([decision 44](decisions/0044-one-order-of-summation.md)). So the same request gives the same answer with the same log-probabilities, and an answer that
becomes a part of the next prompt is read as it was written. That holds for one model in one precision on one kind of processor.

On CUDA sums are made in an order that follows the shape of a step, and differ in their last bits: a draw at the edge between two tokens may fall to
the other side when a part of the prompt comes from the cache, after a preemption, or beside other requests. `temperature` 0 does not change that there.

## Errors about lengths

A request whose prompt and answer do not fit into the context is refused with 400 and the code `context_length_exceeded`. `param` is the field
that the client has sent and that is to blame: the prompt, if there is no room for an answer behind it (`prompt[3]` in a list), else `max_tokens`
or `max_completion_tokens`. The message has both numbers. A prompt that fills the context is scored with `max_tokens` 0, which generates nothing.

A model that is not served is refused with 404 and the names that are.

## Tokens of a text

`POST /tokenize` takes vLLM's fields: `prompt`, with `add_special_tokens` (default `true`), or `messages` with the fields of chat that shape
the prompt, for which the tokens are exactly those that a chat with them would have; one that would be refused there is refused here, and
so is `truncate_prompt_tokens`. `return_token_strs` tells the text of each token, too. The answer has `tokens`, `count`, `max_model_len` (the
longest context that can be asked for) and `token_strs` (`null` unless asked for).
`POST /detokenize` takes `tokens` and answers `{\"prompt\": text}`, special tokens included. Both take `model` and ignore it, need a key where
the others do, and never touch the engine.

## Special tokens in messages

The text of a special token, such as an end-of-turn marker, is plain text when it stands in a message: it is tokenised by its letters and
cannot end the turn. The markers that the model's chat template writes stay special. The prompt of `/v1/completions` is taken as it is.
Added tokens that are not special, such as `<think>`, are tokens wherever they stand.
";

/// Returns the page.
#[must_use]
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Honoured\n\n| field | where | value | default | |\n|---|---|---|---|---|\n");
    PARAMS.iter().chain(STRUCTURED).for_each(|param| row(&mut page, "", param));
    page.push_str("\n## Refused, unless the value changes nothing\n\n");
    refused(&mut page, PARAMS);
    page.push_str(OF_OTHER_SERVERS);
    refused(&mut page, DIALECTS);
    page.push_str("\n## Ignored\n\n| field | where | |\n|---|---|---|\n");
    let ignored = |param: &&Param| matches!(param.fate, Fate::Ignored);
    for param in PARAMS.iter().chain(DIALECTS).filter(ignored) {
        line(&mut page, &[&format!("`{}`", param.name), place(param.on), param.about]);
    }
    for param in STREAM_OPTIONS.iter().filter(ignored) {
        line(&mut page, &[&format!("`stream_options.{}`", param.name), place(param.on), param.about]);
    }
    page.push_str("\n## Messages\n\n| field | value | default | |\n|---|---|---|---|\n");
    MESSAGE.iter().for_each(|param| message_row(&mut page, "", param));
    page.push_str(MESSAGES);
    page.push_str(REMARKS);
    responses::reference::write(&mut page);
    anthropic::write(&mut page);
    page
}

fn refused(page: &mut String, params: &[Param]) {
    page.push_str("| field | where | unless | use | |\n|---|---|---|---|---|\n");
    for param in params {
        let Fate::Refused { unless, instead } = param.fate else { continue };
        let instead = instead.map_or_else(String::new, |ours| format!("`{ours}`"));
        let name = format!("`{}`", param.name);
        line(page, &[&name, place(param.on), &unless.words(), &instead, param.about]);
    }
}

fn message_row(page: &mut String, path: &str, param: &Param) {
    let (value, default) = match param.fate {
        Fate::Honoured { default: "" } => (param.kind.words(), "required".to_owned()),
        Fate::Honoured { default } if param.name == "content" => {
            ("text, or list of text parts".to_owned(), default.to_owned())
        }
        Fate::Honoured { default } => (param.kind.words(), default.to_owned()),
        Fate::Refused { unless, .. } => (format!("refused, unless {}", unless.words()), "none".to_owned()),
        Fate::Ignored => (param.kind.words(), "none".to_owned()),
    };
    line(page, &[&format!("`{path}{}`", param.name), &value, &default, param.about]);
    let (path, inner) = inner(path, param);
    inner.iter().for_each(|param| message_row(page, &path, param));
}

/// Returns the fields of an object, or of each in a list, and the prefix of their names. An older
/// field has the same ones as the newer.
fn inner(path: &str, param: &Param) -> (String, &'static [Param]) {
    match param.kind {
        _ if ["functions", "function_call"].contains(&param.name) => (String::new(), &[]),
        Kind::Object(params) => (format!("{path}{}.", param.name), params),
        Kind::Objects(params) => (format!("{path}{}[].", param.name), params),
        _ => (String::new(), &[]),
    }
}

pub(super) fn row(page: &mut String, path: &str, param: &Param) {
    let Fate::Honoured { default } = param.fate else { return };
    let default = if default.is_empty() { "required" } else { default };
    let name = format!("`{path}{}`", param.name);
    line(page, &[&name, place(param.on), &param.kind.words(), default, param.about]);
    let (path, inner) = inner(path, param);
    inner.iter().for_each(|param| row(page, &path, param));
}

/// Writes a row of a table.
pub(crate) fn line(page: &mut String, cells: &[&str]) {
    writeln!(page, "| {} |", cells.join(" | ")).expect("a string takes every text");
}

fn place(on: On) -> &'static str {
    match on {
        On::Both => "both",
        On::Only(Endpoint::Chat) => "chat",
        On::Only(Endpoint::Completions) => "completions",
        On::Only(Endpoint::Messages) => "messages",
    }
}
