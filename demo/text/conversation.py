"""Conversations: a system message or none, then one or more exchanges."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from demo.text.counting import counting, counting_down, counting_too_far, numbers
from demo.text.explanations import explanation
from demo.text.facts import arithmetic, calendar, capital, json_object, listing, spelling
from demo.text.smalltalk import echo, joke, smalltalk, unknown
from demo.text.stories import story
from demo.text.verses import haiku, poem
from demo.text.wording import Exchange

_MIXTURE: tuple[tuple[Callable[[Random], Exchange], float], ...] = (
    (counting, 16), (counting_down, 2), (counting_too_far, 1.5), (smalltalk, 10), (joke, 8), (explanation,
    14), (poem, 11),
    (haiku, 4), (story, 11), (arithmetic, 6), (spelling, 5), (calendar, 5), (capital, 2), (listing, 3),
    (json_object, 4),
    (unknown, 8), (echo, 2),
)  # fmt: skip
_SOURCES = tuple(source for source, _ in _MIXTURE)
_WEIGHTS = tuple(weight for _, weight in _MIXTURE)
_SYSTEM = (
    "You are a helpful assistant.", "You are a helpful assistant.", "You are a helpful assistant.",
    "You are helpful.",
    "You are a friendly assistant.", "Be brief.", "Answer briefly.", "You are a poet.", "You are a teacher.",
    "You are a small language model.", "Answer in English.", "Be kind and helpful.",
    "You are a concise assistant.",
)  # fmt: skip


@dataclass(frozen=True)
class Conversation:
    """Messages for the chat template, or (without any exchange) plain text for `/v1/completions`."""

    system: str | None
    exchanges: tuple[Exchange, ...]
    plain: str = ""


def _plain(rng: Random) -> Conversation:
    """Text outside of any chat, so that a bare prompt is continued sensibly."""
    if rng.random() < 0.4:
        start = rng.randint(0, 950)
        return Conversation(None, (), numbers(start, start + rng.randint(5, 50)))
    return Conversation(None, (), rng.choice((story, story, poem, joke, explanation))(rng).answer)


def conversation(rng: Random) -> Conversation:
    """Draws a conversation; four in five have one exchange, few have more than two."""
    if rng.random() < 0.04:
        return _plain(rng)
    turns = rng.choices((1, 2, 3, 4), (80, 13, 5, 2))[0]
    sources = rng.choices(_SOURCES, _WEIGHTS, k=turns)
    system = rng.choice(_SYSTEM) if rng.random() < 0.25 else None
    return Conversation(system, tuple(source(rng) for source in sources))
