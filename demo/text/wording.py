"""The many ways in which people word one request."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Exchange:
    """One turn of a conversation: what the user writes and what the model should answer."""

    prompt: str
    answer: str


_BEFORE = (
    "",
    "",
    "",
    "",
    "",
    "please ",
    "can you ",
    "could you ",
    "could you please ",
    "I want you to ",
    "now ",
)
_QUESTIONS = ("can you ", "could you ")


def capitalised(text: str) -> str:
    """The text with its first letter in upper case and the rest as it was."""
    return text[:1].upper() + text[1:]


def _cased(rng: Random, text: str) -> str:
    return capitalised(text) if rng.random() < 0.66 else text


def request(rng: Random, imperative: str) -> str:
    """Words an imperative ("tell me a joke") politely or not, with or without punctuation."""
    before = rng.choice(_BEFORE)
    after = " please" if before == "" and rng.random() < 0.1 else ""
    end = (
        rng.choice(("?", "?", ""))
        if before.startswith(_QUESTIONS)
        else rng.choice(("", "", "", ".", ".", "!"))
    )
    return _cased(rng, before + imperative + after) + end


def question(rng: Random, words: str) -> str:
    """Words a question with or without its capital and its question mark."""
    return _cased(rng, words) + rng.choice(("?", "?", "?", ""))
