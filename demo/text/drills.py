"""Exercises in taking words and bounds from the request: what a small model learns last without them."""

from random import Random

from demo.text.counting import LAST, short_counting
from demo.text.wording import Exchange, request
from demo.text.words import NAMES, thing

_WAYS = ("say {p}", "repeat {p}", "repeat after me: {p}", 'repeat "{p}"', "say the words {p}", "echo {p}")


def _item(rng: Random) -> str:
    draw = rng.random()
    if draw < 0.3:
        return str(rng.randint(0, LAST))
    return rng.choice(NAMES) if draw < 0.4 else thing(rng)


def drill(rng: Random, max_items: int) -> Exchange:
    """Repeats a row of at most so many words and numbers, or counts a few numbers between any bounds."""
    if rng.random() < 0.5:
        return short_counting(rng)
    row = " ".join(_item(rng) for _ in range(rng.randint(2, max_items)))
    return Exchange(request(rng, rng.choice(_WAYS).format(p=row)), row)
