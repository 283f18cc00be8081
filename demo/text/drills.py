"""Exercises in what a small model learns last: to copy, to keep to bounds, to add and to spell."""

from random import Random

from demo.text.counting import LAST, bounded_counting, short_counting
from demo.text.facts import calendar, spelling, sum_of
from demo.text.wording import Exchange, request
from demo.text.words import NAMES, invented, thing

_WAYS = ("say {p}", "repeat {p}", "repeat after me: {p}", 'repeat "{p}"', "say the words {p}", "echo {p}")
_MAX_ITEMS = 12
_MAX_SUMS = 6


def _item(rng: Random) -> str:
    draw = rng.random()
    if draw < 0.35:
        return str(rng.randint(0, LAST))
    if draw < 0.6:
        return invented(rng)
    return rng.choice(NAMES) if draw < 0.7 else thing(rng)


def _row(rng: Random) -> Exchange:
    """Repeats words and numbers, some of them made up."""
    row = " ".join(_item(rng) for _ in range(rng.randint(1, _MAX_ITEMS)))
    return Exchange(request(rng, rng.choice(_WAYS).format(p=row)), row)


def _sums(rng: Random) -> Exchange:
    """Works out a few small sums."""
    asked, answers = zip(*(sum_of(rng) for _ in range(rng.randint(1, _MAX_SUMS))), strict=True)
    return Exchange(", ".join(asked) + rng.choice(("", "", "?")), ", ".join(answers) + ".")


def drill(rng: Random) -> Exchange:
    """One exercise; half of them are about numbers and their bounds."""
    return rng.choices((short_counting, _sums, _row, spelling), (8, 8, 7, 5))[0](rng)


def late_drill(rng: Random) -> Exchange:
    """One exercise for a model that knows the others well: to end a longer count where it was asked to."""
    sources = (bounded_counting, short_counting, _sums, _row, spelling, calendar)
    return rng.choices(sources, (8, 3, 4, 3, 2, 2))[0](rng)
