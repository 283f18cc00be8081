"""Counting, the answer that shows a stream best, and the longest one."""

import math
from random import Random

from demo.text.wording import Exchange, request

LAST = 1000
"""The greatest number that the model knows as one token."""

_UP = (
    "count from {a} to {b}",
    "count from {a} to {b}",
    "count from {a} to {b}",
    "count up from {a} to {b}",
    "count from {a} up to {b}",
    "count {a} to {b}",
    "count numbers from {a} to {b}",
    "list the numbers from {a} to {b}",
    "write the numbers from {a} to {b}",
    "write all numbers from {a} to {b}",
    "say the numbers from {a} to {b}",
    "give me the numbers from {a} to {b}",
    "print the numbers {a} to {b}",
)
_UP_FROM_ONE = (
    "count to {b}",
    "count to {b}",
    "count up to {b}",
    "count until {b}",
    "list the first {b} numbers",
)
_DOWN = ("count down from {b} to {a}", "count backwards from {b} to {a}")
_DOWN_TO_ONE = ("count down from {b}", "count backwards from {b}")
_MANNER = ("", "", "", "", "", "", " slowly", " slowly", " quickly", " out loud", " for me", ", one by one")
IN_WORDS = {
    1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine",
    10: "ten",
    12: "twelve", 15: "fifteen", 20: "twenty", 30: "thirty", 50: "fifty", 100: "one hundred",
    1000: "one thousand",
}  # fmt: skip
_ROUND = (5, 10, 10, 20, 20, 20, 30, 30, 40, 50, 50, 60, 80, 100, 100, 200, 300, 500)
_TOO_FAR = "I can only count up to 1000."


def numbers(start: int, stop: int) -> str:
    """The numbers from start to stop, both included, as the model writes them; downwards if stop is less."""
    step = 1 if stop >= start else -1
    return ", ".join(str(number) for number in range(start, stop + step, step)) + "."


def _span(rng: Random, longest: int) -> int:
    """A length in 1..longest; every order of magnitude is as likely as the next."""
    return min(longest, round(math.exp(rng.uniform(math.log(2), math.log(longest + 1)))))


def _bounds(rng: Random) -> tuple[int, int]:
    draw = rng.random()
    if draw < 0.04:
        return 1, LAST
    if draw < 0.2:
        return 1, rng.choice(_ROUND)
    if draw < 0.50:
        return 1, max(2, _span(rng, LAST))
    start = rng.choice((rng.randint(0, 50), rng.randint(0, LAST - 2)))
    return start, start + _span(rng, min(300, LAST - start))


def _in_words(rng: Random) -> Exchange:
    """Counts from one to a number that is written as a word."""
    b = rng.choice(tuple(IN_WORDS)[1:])
    words = rng.choice(_UP + _UP_FROM_ONE * 2).format(a=IN_WORDS[1], b=IN_WORDS[b])
    return Exchange(request(rng, words), numbers(1, b))


def counting(rng: Random) -> Exchange:
    """Counts from a to b; a is 1 in half of the cases, and often left out of the request."""
    if rng.random() < 0.06:
        return _in_words(rng)
    a, b = _bounds(rng)
    ways = _UP + _UP_FROM_ONE * 2 if a == 1 else _UP
    words = rng.choice(ways).format(a=a, b=b) + rng.choice(_MANNER)
    return Exchange(request(rng, words), numbers(a, b))


def short_counting(rng: Random) -> Exchange:
    """Counts from one, mostly to less than thirty, or at most a dozen numbers from a small one or from any."""
    a = rng.choice((1, rng.randint(0, 30), rng.randint(0, LAST - 12)))
    b = a + (_span(rng, 100) if a == 1 else rng.randint(1, 12))
    ways = _UP + _UP_FROM_ONE if a == 1 else _UP
    return Exchange(request(rng, rng.choice(ways).format(a=a, b=b)), numbers(a, b))


def bounded_counting(rng: Random) -> Exchange:
    """Counts a dozen to two hundred numbers, half of the time from one and often to a round bound."""
    if rng.random() < 0.5:
        a, b = 1, rng.choice((rng.choice((20, 30, 40, 50, 60, 80, 100, 100, 150, 200)), rng.randint(13, 210)))
    else:
        a = rng.choice((rng.randint(0, 100), rng.randint(0, LAST - 100)))
        b = a + rng.randint(13, 100)
    ways = _UP + _UP_FROM_ONE if a == 1 else _UP
    return Exchange(request(rng, rng.choice(ways).format(a=a, b=b)), numbers(a, b))


def counting_down(rng: Random) -> Exchange:
    """Counts down, from 100 at most."""
    b = _span(rng, 100)
    a = 1 if rng.random() < 0.7 else rng.randint(0, b)
    ways = _DOWN + _DOWN_TO_ONE if a == 1 else _DOWN
    return Exchange(request(rng, rng.choice(ways).format(a=a, b=b)), numbers(b, a))


def counting_too_far(rng: Random) -> Exchange:
    """Refuses what lies beyond the greatest number."""
    b = rng.choice((1001, 1500, 2000, 5000, 10000, 100000, 1000000, rng.randint(1001, 99999)))
    words = rng.choice((*_UP, *_UP_FROM_ONE)).format(a=1, b=b)
    return Exchange(request(rng, words), _TOO_FAR)
