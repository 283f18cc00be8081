//! `docs/protocol.md`: what a request may have in it, from the same table that the parser obeys.

use std::fmt::Write;

use super::schema::params::{PARAMS, STREAM_OPTIONS};
use super::schema::{Endpoint, Fate, On, Param};

const INTRODUCTION: &str = "# Protocol

Generated from `rust/server/src/openai/schema/params.rs` by `make docs`; do not edit.

`POST /v1/chat/completions` and `POST /v1/completions` take OpenAI's fields and those of vLLM that clients send. Every known field has one
of three fates: it is **honoured**; it is **refused** with status 400 and its name in `error.param`, since leaving it out of account would
change the answer; or it is **ignored**, since it cannot. Fields that are in no list are ignored. `null` is the same as leaving a field out.
`GET /openapi.json` says the same to programs.
";

const REMARKS: &str = "
## The order of a stream

In chat, one chunk with `role` and empty `content` for each choice, in order; then any number of chunks with text; then for each choice one
chunk with an empty `delta` and `finish_reason`, which is `stop` or `length`; then, with `include_usage`, one chunk without choices that has
`usage`; then `[DONE]`. Completions have no first chunks, and an empty `text` in those that end a choice. What was matched of the client's own
`stop` or `stop_token_ids` is in `stop_reason`. Choices may alternate. An error behind the headers is an event with `error`, then `[DONE]`.

With `logprobs` or `return_token_ids`, tokens that leave no text come with the text behind them or in the last chunk; of a long run of them
there are chunks with an empty text. No other chunk in between is empty. An event stays under 64 KiB, but for one: with `return_token_ids` all of the prompt's ids are in one chunk,
as clients expect them. Beside the usual fields, what was asked for is in the choice (`token_ids`, `stop_reason`, and in completions
`prompt_token_ids` and `prompt_logprobs`) or beside the choices (in chat `prompt_token_ids` and `prompt_logprobs`), never in `delta`.

The text of an answer is what its tokens add to the prompt's text, so both side by side are what the model read and wrote: where a tokenizer drops
the space at the start of a text, as SentencePiece's do, it is that of the prompt, and an answer that begins with a word begins with a space.
A prompt of token ids may end inside a character; the answer then begins with that character.

`usage` counts each prompt once, however many choices it has. `prompt_tokens_details.cached_tokens` is how much of the prompts was in the KV
cache when the first choice of each began.

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

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Honoured\n\n| field | where | value | default | |\n|---|---|---|---|---|\n");
    for param in PARAMS {
        row(&mut page, "", param);
        if param.name == "stream_options" {
            STREAM_OPTIONS.iter().for_each(|option| row(&mut page, "stream_options.", option));
        }
    }
    page.push_str(
        "\n## Refused, unless the value changes nothing\n\n| field | where | unless | |\n|---|---|---|---|\n",
    );
    for param in PARAMS {
        let Fate::Refused { unless } = param.fate else { continue };
        line(&mut page, &[&format!("`{}`", param.name), place(param.on), &unless.words(), param.about]);
    }
    page.push_str("\n## Ignored\n\n| field | where | |\n|---|---|---|\n");
    let ignored = |param: &&Param| matches!(param.fate, Fate::Ignored);
    for param in PARAMS.iter().filter(ignored) {
        line(&mut page, &[&format!("`{}`", param.name), place(param.on), param.about]);
    }
    for param in STREAM_OPTIONS.iter().filter(ignored) {
        line(&mut page, &[&format!("`stream_options.{}`", param.name), place(param.on), param.about]);
    }
    page.push_str(REMARKS);
    page
}

fn row(page: &mut String, path: &str, param: &Param) {
    let Fate::Honoured { default } = param.fate else { return };
    let default = if default.is_empty() { "required" } else { default };
    let name = format!("`{path}{}`", param.name);
    line(page, &[&name, place(param.on), &param.kind.words(), default, param.about]);
}

fn line(page: &mut String, cells: &[&str]) {
    writeln!(page, "| {} |", cells.join(" | ")).expect("a string takes every text");
}

fn place(on: On) -> &'static str {
    match on {
        On::Both => "both",
        On::Only(Endpoint::Chat) => "chat",
        On::Only(Endpoint::Completions) => "completions",
    }
}
