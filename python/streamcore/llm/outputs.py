"""What comes back, and how it is read from the answers of the routes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Json = Mapping[str, Any]

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class TokenLogprob:
    """How likely the model found one token."""

    token_id: int
    logprob: float
    """Natural logarithm of its probability, before temperature, penalties and bias; at least -9999.
    """
    top: dict[int, float]
    """The log-probabilities of the likeliest tokens, as many as were asked for, and of the token
    itself.
    """


@dataclass(frozen=True)
class Completion:
    """One answer to a prompt."""

    index: int
    """From 0 to `n` - 1."""
    text: str
    token_ids: list[int]
    """All tokens that were generated, a final stop token among them."""
    finish_reason: FinishReason
    """`length`: `max_tokens` or the context is used up."""
    stop_reason: str | int | None
    """Which of the request's stop strings or stop tokens ended it, if one did."""
    logprobs: list[TokenLogprob] | None
    """Of each token that the text shows, if they were asked for."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one request."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Tokens of the prompt that were in the KV cache already."""


@dataclass(frozen=True)
class GenerationOutput:
    """The answers to one prompt or conversation."""

    prompt: Any
    """As it was given."""
    prompt_token_ids: list[int]
    prompt_logprobs: list[TokenLogprob | None] | None
    """Of each token of the prompt, if they were asked for; the first has none."""
    outputs: list[Completion]
    """`n` of them."""
    usage: Usage


@dataclass(frozen=True)
class Delta:
    """What is new in a stream."""

    index: int
    """Which of the `n` answers it belongs to."""
    text: str
    """May be empty where an answer ends, or of tokens without text."""
    token_ids: list[int]
    finish_reason: FinishReason | None
    """In the last delta of each answer."""
    stop_reason: str | int | None
    logprobs: list[TokenLogprob] | None


def generation_output(prompt: object, answer: Json) -> GenerationOutput:
    """Read a whole answer, of chat or completions."""
    choices = answer["choices"]
    # The prompt's own come once in a chat, and in each choice of completions.
    told = {**choices[0], **answer}
    token_ids = told["prompt_token_ids"]
    usage = answer["usage"]
    return GenerationOutput(
        prompt=prompt,
        prompt_token_ids=token_ids,
        prompt_logprobs=_prompt_logprobs(token_ids, told.get("prompt_logprobs")),
        outputs=[_completion(choice) for choice in choices],
        usage=Usage(
            usage["prompt_tokens"],
            usage["completion_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
        ),
    )


def deltas(chunk: Json) -> list[Delta]:
    """Read one event of a stream; the opening of a chat's answers says nothing new."""
    found = [_delta(choice) for choice in chunk["choices"]]
    return [delta for delta in found if delta.text or delta.token_ids or delta.finish_reason]


def _completion(choice: Json) -> Completion:
    return Completion(
        index=choice["index"],
        text=choice["message"]["content"] if "message" in choice else choice["text"],
        token_ids=choice["token_ids"],
        finish_reason=choice["finish_reason"],
        stop_reason=choice.get("stop_reason"),
        logprobs=_logprobs(choice["logprobs"]),
    )


def _delta(choice: Json) -> Delta:
    return Delta(
        index=choice["index"],
        text=choice["delta"].get("content", "") if "delta" in choice else choice["text"],
        token_ids=choice.get("token_ids", []),
        finish_reason=choice["finish_reason"],
        stop_reason=choice.get("stop_reason"),
        logprobs=_logprobs(choice["logprobs"]),
    )


def _logprobs(told: Json | None) -> list[TokenLogprob] | None:
    """Those of either route: chat has an object for each token, completions have lists."""
    if told is None:
        return None
    if "content" in told:
        return [
            _token_logprob(
                _token_id(entry["token"]),
                entry["logprob"],
                {_token_id(top["token"]): top["logprob"] for top in entry["top_logprobs"]},
            )
            for entry in told["content"]
        ]
    tokens: Sequence[str] = told["tokens"]
    tops = told["top_logprobs"] or [{}] * len(tokens)
    return [
        _token_logprob(_token_id(token), logprob, {_token_id(name): value for name, value in top.items()})
        for token, logprob, top in zip(tokens, told["token_logprobs"], tops, strict=True)
    ]


def _prompt_logprobs(
    token_ids: Sequence[int], told: Sequence[Json | None] | None
) -> list[TokenLogprob | None] | None:
    if told is None:
        return None
    found: list[TokenLogprob | None] = []
    for token_id, entry in zip(token_ids, told, strict=True):
        top = {int(name): score["logprob"] for name, score in (entry or {}).items()}
        found.append(_token_logprob(token_id, top[token_id], top) if top else None)
    return found


def _token_logprob(token_id: int, logprob: float, top: dict[int, float]) -> TokenLogprob:
    top.setdefault(token_id, logprob)
    return TokenLogprob(token_id, logprob, top)


def _token_id(name: str) -> int:
    """Tokens are asked for by their ids: `token_id:7`."""
    return int(name.removeprefix("token_id:"))
