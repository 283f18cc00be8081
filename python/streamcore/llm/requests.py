"""The bodies that prompts and conversations become: the fields of the routes, which check them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from operator import index
from typing import Any, TypeAlias

from streamcore.errors import InvalidRequestError
from streamcore.llm.sampling_params import SamplingParams

Prompt: TypeAlias = str | Sequence[int]
"""A text, or the ids of its tokens."""
Message: TypeAlias = Mapping[str, Any]
"""`role` and `content`, as in OpenAI's protocol."""
Conversation: TypeAlias = Sequence[Message]

_OF_TEMPLATES = ("add_generation_prompt", "continue_final_message", "chat_template_kwargs")


@dataclass(frozen=True)
class Request:
    """One request to the routes."""

    target: bytes
    asked: Any
    """The prompt or conversation as it was given."""
    body: bytes
    num_choices: int


def completion_request(model: str, prompt: Prompt, params: SamplingParams, *, stream: bool) -> Request:
    """Ask for the continuation of a prompt.

    Raises:
        InvalidRequestError: it is neither text nor token ids, or has something that cannot be
            written down.
    """
    if not is_prompt(prompt):
        hint = ": use `.tolist()`" if hasattr(prompt, "tolist") else ""
        message = f"prompt is {_kind(prompt, Integral)}, it must be a text or a list of token ids{hint}"
        raise InvalidRequestError(message, param="prompt")
    given = params.given()
    fields = {"prompt": prompt if isinstance(prompt, str) else [index(token) for token in prompt], **given}
    return _request(b"/v1/completions", model, prompt, fields, stream)


def chat_request(
    model: str,
    messages: Conversation,
    params: SamplingParams,
    template: Mapping[str, Any],
    *,
    stream: bool,
) -> Request:
    """Ask for the next message of a conversation.

    Args:
        template: the fields that say how the conversation becomes a prompt.

    Raises:
        InvalidRequestError: it is no conversation, or has something that cannot be written down.
        TypeError: a name in `template` is unknown.
    """
    # The routes let unknown names pass, for clients of other servers.
    for name in template:
        if name not in _OF_TEMPLATES:
            raise TypeError(f"unknown argument `{name}`, known are {', '.join(_OF_TEMPLATES)}")
    if not is_conversation(messages):
        message = f"conversation is {_kind(messages, Mapping)}, it must be a list of messages"
        raise InvalidRequestError(message, param="messages")
    given = params.given()
    if "logprobs" in given:
        given |= {"logprobs": True, "top_logprobs": given["logprobs"]}
    fields = {"messages": [dict(message) for message in messages], **template, **given}
    return _request(b"/v1/chat/completions", model, messages, fields, stream)


def prompts_of(asked: Any) -> list[Any]:
    """The prompts of a call, each of which may still be none."""
    return [asked] if is_prompt(asked) or _is_one(asked) else list(asked)


def conversations_of(asked: Any) -> list[Any]:
    """The conversations of a call, each of which may still be none."""
    return [asked] if is_conversation(asked) or _is_one(asked) else list(asked)


def is_prompt(asked: object) -> bool:
    """Whether this is a text, or a list of token ids. Bytes are numbers to Python, but no program
    means them as token ids.
    """
    if not isinstance(asked, Sequence) or isinstance(asked, bytes | bytearray | memoryview):
        return isinstance(asked, str)
    return isinstance(asked, str) or (bool(asked) and all(isinstance(token, Integral) for token in asked))


def is_conversation(asked: object) -> bool:
    """Whether this is a list of messages."""
    return isinstance(asked, Sequence) and bool(asked) and all(isinstance(one, Mapping) for one in asked)


def _is_one(asked: object) -> bool:
    """Whether something is not meant as many: its parts would not be what was meant either."""
    if hasattr(asked, "tolist"):
        # Texts may come in an array.
        parts = asked.tolist()
        return not (isinstance(parts, list) and all(isinstance(part, str) for part in parts))
    return isinstance(asked, str | bytes | bytearray | Mapping) or not isinstance(asked, Iterable)


def _kind(asked: object, part: type) -> str:
    """What something is that should be a sequence of such parts."""
    name = type(asked).__qualname__
    if type(asked).__module__ != "builtins":
        return f"{type(asked).__module__}.{name}"
    if not isinstance(asked, list | tuple):
        return name
    wrong = [type(one).__qualname__ for one in asked if not isinstance(one, part)]
    return f"a {name} of {wrong[0]}" if wrong else f"an empty {name}"


def _request(target: bytes, model: str, asked: Any, fields: Mapping[str, Any], stream: bool) -> Request:
    how = {"model": model, "stream": stream, "return_token_ids": True, "return_tokens_as_token_ids": True}
    try:
        body = json.dumps({**fields, **how}, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"request cannot be written as JSON: {error}") from error
    num_choices = fields.get("n", 1)
    return Request(target, asked, body, num_choices if isinstance(num_choices, int) else 1)
