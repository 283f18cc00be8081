//! The section of `docs/protocol.md` on responses.

use super::params::RESPONSES;
use crate::openai::reference::{line, row};
use crate::openai::schema::Fate;

const INTRODUCTION: &str = "
## Responses

`POST /v1/responses` is a dialect of chat: what comes in is written as a chat and obeys its rules, with errors in the names of the fields that
were sent. All fields of chat in the lists above hold here, but for these:

";

const ITEMS: &str = "
### Items of a response

| `type` in `input` | becomes |
|---|---|
| `message`, or none | A message. `content` is a text, or parts of `input_text`, `output_text` or `refusal`. `role` is `user`, `assistant`, `system` or `developer`. |
| `reasoning` | The thought of the model's turn that follows: its `content`, else its `summary`, else its `encrypted_content`. |
| `function_call` | A call of the model's turn. Calls, the thought and the message before them are one turn. |
| `custom_tool_call` | A call with the argument `input`. |
| `function_call_output`, `custom_tool_call_output` | What a tool has answered, as text or parts. |
| `item_reference` | The item of a stored response that has this `id`. |

Any other type is refused, and so are parts that are no text.

`output` has items of `reasoning`, `message` and `function_call` in the order in which the model has written them; one that has neither a
message nor a call has an empty message. A thought is `content` of `reasoning_text`, or, with `reasoning.summary`, one `summary_text`. With
`reasoning.encrypted_content` in `include` it is also in `encrypted_content`, in base64 and no secret: that is what clients send back that send
nothing else. An item that was cut off is `incomplete`; the arguments of such a call are no whole JSON.

`POST /v1/responses/input_tokens` takes the same fields, refuses what `/v1/responses` refuses, but no prompt for its length, generates and keeps nothing, and answers
`{\"object\": \"response.input_tokens\", \"input_tokens\": …}`: the tokens of the whole prompt, before `truncation` takes its beginning. `POST /v1/responses/compact` is refused with 404,
`unsupported_route`: OpenAI's answer to it is a summary that only its own servers can read, and the server makes none.

### Tools of a response

Functions are honoured. Tools that only add to what a model can do are left out, and a model that is not told of them calls none: `apply_patch`,
`custom`, `image_generation`, `local_shell`, `namespace`, `shell`, `tool_search`, `web_search` and its previews. The `tools` of the answer are
those that are left. Tools whose results the answer would have to be about, such as `file_search`, `mcp`, `code_interpreter` and `computer`, are refused, and so
is a `tool_choice` of anything but a function.

### Events of a response

Each event has a line with its name, which is also its `type`, and a `sequence_number` that counts from 0. `response.created` and
`response.in_progress` come as soon as the request has a place in the queue; in the background, `response.queued` stands between them. Each
`response.output_item.added` and each part in it has its `done` before the next begins. The last event is `response.completed`,
`response.incomplete` (`incomplete_details.reason` is `max_output_tokens`; a response that was cancelled has the status `cancelled` and no reason) or `response.failed`; each
has the whole response, and behind it the stream ends, without `[DONE]`. A whole response that fails is an error of HTTP, as in chat.

`response.function_call_arguments.*`, `response.output_text.*`, `response.reasoning_text.*` and, for a summary,
`response.reasoning_summary_text.*` tell what grows. Events that tell the whole response or a whole text are as long as that.

### Stored responses

The server keeps responses in its memory, unless `store` is `false` or `--max-stored-responses` is 0: as many as that option says, 256 MiB of
them, each for a day after it was last asked for. The key's own that was not asked for the longest makes room. What still runs is never given up for
others: without room beside it a new response is not kept (`store` in it is `false`), and one in the background is refused with 429. An id cannot be guessed, and what
belongs to another API key is not found.

| | |
|---|---|
| `GET /v1/responses/{id}` | The response as it is now. |
| `GET /v1/responses/{id}?stream=true&starting_after=N` | Its events behind number N, or all: those so far at once, the others as they come. Only of a response that was created with `stream`. The bytes are the same as the first time. |
| `GET /v1/responses/{id}/input_items` | Its own input, with `limit` (1 to 100, 20 by default), `order` (`desc` by default) and `after`. |
| `POST /v1/responses/{id}/cancel` | Ends a response that runs in the background. One that has ended stays as it is. |
| `DELETE /v1/responses/{id}` | Forgets it, and ends it if it runs in the background. |

A response in the background goes on when its client leaves. Any other one ends then: it is kept as `cancelled`, with what it has said so far. What a drain of the server
or its end cuts off is `failed`. A script's cut leaves a response `cancelled`.
";

/// Appends the section.
pub(in crate::openai) fn write(page: &mut String) {
    page.push_str(INTRODUCTION);
    page.push_str("| field | where | value | default | |\n|---|---|---|---|---|\n");
    RESPONSES.iter().for_each(|param| row(page, "", param));
    page.push_str("\n| not honoured | unless | use | |\n|---|---|---|---|\n");
    for param in RESPONSES {
        let (unless, instead) = match param.fate {
            Fate::Honoured { .. } => continue,
            Fate::Ignored => ("ignored".to_owned(), String::new()),
            Fate::Refused { unless, instead } => {
                (unless.words(), instead.map_or_else(String::new, |ours| format!("`{ours}`")))
            }
        };
        line(page, &[&format!("`{}`", param.name), &unless, &instead, param.about]);
    }
    page.push_str(ITEMS);
}
