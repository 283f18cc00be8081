"""What a request asks for beside its prompt."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """The fields of the protocol by their names; `docs/protocol.md` says what each means and what
    it may be.

    None leaves a field to its default, which for the sampling is the model's own. Values are
    checked when they are used, by the rules of the server.

    Raises:
        TypeError: a name is unknown; says which one may have been meant.
    """

    n: int | None = None
    max_tokens: int | None = None
    """Most tokens to generate; else 16 for a prompt, and in a chat what the context has room for.
    """
    min_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    top_n_sigma: float | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Mapping[int, float] | None = None
    stop: str | Sequence[str] | None = None
    stop_token_ids: Sequence[int] | None = None
    ignore_eos: bool | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    logprobs: int | None = None
    """Return the log-probability of each token, and of this many of the likeliest: up to 5 for a
    prompt, up to 20 in a chat.
    """
    prompt_logprobs: int | None = None
    """The same for the tokens of the prompt, up to 20; not in a stream."""
    structured_outputs: Mapping[str, Any] | None = None
    """What the answer is held to: one of `json`, `regex`, `choice`, `grammar`, `json_object`,
    `structural_tag`.
    """
    truncate_prompt_tokens: int | None = None
    add_special_tokens: bool | None = None
    """Not in a chat, whose template writes them."""
    cache_salt: str | None = None
    priority: int | None = None

    def __new__(cls, *_: object, **values: Any) -> "SamplingParams":
        """Refuse unknown names."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f", did you mean `{close[0]}`?" if close else ""
                raise TypeError(f"unknown sampling parameter `{name}`{hint}")
        return super().__new__(cls)

    def given(self) -> dict[str, Any]:
        """The fields that have a value."""
        return {
            field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None
        }


def params_of(given: object) -> SamplingParams:
    """What is given with a request, where None stands for the defaults.

    Raises:
        TypeError: it is something else.
    """
    if given is None:
        return _DEFAULTS
    if not isinstance(given, SamplingParams):
        raise TypeError(f"`params` is {given!r}, it must be SamplingParams")
    return given


_DEFAULTS = SamplingParams()
