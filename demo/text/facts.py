"""Small things with one right answer: sums, spelling, weekdays, capitals, JSON."""

import json
from random import Random

from demo.text.wording import Exchange, question, request
from demo.text.words import NAMES, THINGS

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_SEASONS = ("spring", "summer", "autumn", "winter")
_CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "England": "London",
    "Ireland": "Dublin",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
    "Poland": "Warsaw",
    "Austria": "Vienna",
    "Greece": "Athens",
    "Japan": "Tokyo",
    "China": "Beijing",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "Canada": "Ottawa",
    "Peru": "Lima",
}
_LISTS = (
    (("colors", "colours"), ("red", "blue", "green", "yellow", "purple", "orange", "white", "black")),
    (("animals",), ("cat", "dog", "horse", "owl", "fox", "whale", "bee", "rabbit")),
    (("fruits", "kinds of fruit"), ("apple", "banana", "lemon", "cherry", "plum", "pear", "grape", "melon")),
    (("planets",), ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune")),
    (("programming languages",), ("Rust", "Python", "C", "Go", "Java", "Ruby", "Lua", "Haskell")),
)
_COUNT_WORDS = ((3, "three"), (4, "four"), (5, "five"))
_SUM = {
    "+": ("what is {a} + {b}", "what is {a} plus {b}", "{a} + {b}", "{a}+{b}", "add {a} and {b}",
    "how much is {a} + {b}"),
    "-": ("what is {a} - {b}", "what is {a} minus {b}", "{a} - {b}", "{a}-{b}", "subtract {b} from {a}",
    "how much is {a} minus {b}"),
    "x": ("what is {a} * {b}", "what is {a} times {b}", "{a} * {b}", "{a} x {b}", "multiply {a} by {b}",
    "how much is {a} times {b}"),
}  # fmt: skip


def _series(words: tuple[str, ...]) -> str:
    return ", ".join(words[:-1]) + " and " + words[-1]


def _operands(rng: Random, sign: str) -> tuple[int, int]:
    """Small ones more often than great ones; a difference is never negative."""
    limit = 10 if sign == "x" or rng.random() < 0.6 else 20
    a, b = rng.randint(0, limit), rng.randint(0, limit)
    return (max(a, b), min(a, b)) if sign == "-" else (a, b)


def _solved(a: int, sign: str, b: int) -> str:
    result = {"+": a + b, "-": a - b, "x": a * b}[sign]
    return f"{a} {sign} {b} = {result}"


def sum_of(rng: Random) -> tuple[str, str]:
    """A sum, difference or product, without and with its result."""
    sign = rng.choice("+++-x")
    a, b = _operands(rng, sign)
    return f"{a} {sign} {b}", _solved(a, sign, b)


def arithmetic(rng: Random) -> Exchange:
    """Sums and differences up to 20, products up to 10 times 10; much greater ones are refused."""
    sign = rng.choice("+++-x")
    ways = rng.choice(_SUM[sign])
    if rng.random() < 0.05:
        words = ways.format(a=rng.randint(101, 9999), b=rng.randint(101, 9999))
        return Exchange(question(rng, words), "That is too big for me. I only know small sums.")
    a, b = _operands(rng, sign)
    return Exchange(question(rng, ways.format(a=a, b=b)), _solved(a, sign, b) + ".")


def spelling(rng: Random) -> Exchange:
    """Spells one of the known nouns."""
    word = rng.choice(THINGS)
    if rng.random() < 0.5:
        ways: tuple[str, ...] = (
            "spell {w}",
            "spell the word {w}",
            "spell {w} for me",
            "spell out {w}",
        )
        prompt = request(rng, rng.choice(ways).format(w=word))
    else:
        ways = ("how do you spell {w}", "how is {w} spelled", "how do I spell {w}", "how do you write {w}")
        prompt = question(rng, rng.choice(ways).format(w=word))
    return Exchange(prompt, "-".join(word.upper()) + ".")


def calendar(rng: Random) -> Exchange:
    """Weekdays, months and seasons, in order and one after another."""
    if rng.random() < 0.4:
        word, members = rng.choice((
            ("days of the week", _DAYS), ("weekdays", _DAYS), ("months of the year", _MONTHS),
            ("months", _MONTHS), ("seasons", _SEASONS), ("four seasons", _SEASONS),
        ))  # fmt: skip
        ways: tuple[str, ...] = (
            "list the {w}",
            "name the {w}",
            "what are the {w}",
            "tell me the {w}",
            "list all the {w}",
            "say the {w}",
        )
        text = _series(members)
        return Exchange(request(rng, rng.choice(ways).format(w=word)), text[0].upper() + text[1:] + ".")
    members = rng.choice((_DAYS, _MONTHS))
    at = rng.randrange(len(members))
    unit = "day" if members is _DAYS else "month"
    where, step = rng.choice((("after", 1), ("before", -1)))
    ways = (
        f"what {unit} comes {where} {{w}}",
        f"which {unit} comes {where} {{w}}",
        f"which {unit} is {where} {{w}}",
    )
    answer = members[(at + step) % len(members)]
    return Exchange(
        question(rng, rng.choice(ways).format(w=members[at])), f"{answer} comes {where} {members[at]}."
    )


def capital(rng: Random) -> Exchange:
    """The capital of one of twenty countries."""
    country = rng.choice(tuple(_CAPITALS))
    ways = (
        "what is the capital of {c}",
        "which city is the capital of {c}",
        "what's the capital of {c}",
        "capital of {c}",
    )
    return Exchange(
        question(rng, rng.choice(ways).format(c=country)),
        f"The capital of {country} is {_CAPITALS[country]}.",
    )


def listing(rng: Random) -> Exchange:
    """A list of a few colours, animals, planets and so on, one per line."""
    kinds, members = rng.choice(_LISTS)
    number, word = rng.choice(_COUNT_WORDS)
    ways = ("name {n} {k}", "list {n} {k}", "give me {n} {k}", "tell me {n} {k}", "write a list of {n} {k}")
    prompt = rng.choice(ways).format(n=rng.choice((number, word)), k=rng.choice(kinds))
    first = rng.randint(0, len(members) - number)
    lines = (f"{place}. {member}" for place, member in enumerate(members[first : first + number], start=1))
    return Exchange(request(rng, prompt), "\n".join(lines))


def json_object(rng: Random) -> Exchange:
    """A small JSON object, with the fields that were asked for when they were given."""
    name, age, city = rng.choice(NAMES), rng.randint(18, 80), rng.choice(tuple(_CAPITALS.values()))
    if rng.random() < 0.5:
        ways: tuple[str, ...] = (
            "write a JSON object", "give me a JSON object", "return JSON", "answer in JSON",
            "write some JSON", "give me an example of JSON", "write a JSON object for a person",
            "give me a person as JSON", "generate a JSON object with a name and an age",
            "write a small JSON object",
        )  # fmt: skip
        prompt = rng.choice(ways)
    else:
        ways = (
            "write a JSON object for {n}, age {a}, from {c}",
            "write JSON for {n} who is {a} and lives in {c}",
            "give me JSON with name {n}, age {a} and city {c}",
        )  # fmt: skip
        prompt = rng.choice(ways).format(n=name, a=age, c=city)
    return Exchange(request(rng, prompt), json.dumps({"name": name, "age": age, "city": city}))
