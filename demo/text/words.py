"""The nouns and names that fill the templates."""

from random import Random

# Things take an article: "a poem about a dragon", "the dragon". So few that a small model learns
# each of them.
_THINGS = """
dragon robot cat dog mouse bird horse fish frog owl fox wolf bear rabbit turtle whale spider snail bee
river mountain forest garden tree flower leaf stone cloud storm rainbow star planet island castle tower
village street house window door lamp candle clock mirror book letter pencil key box bottle hat coat ship
boat train car bicycle balloon rocket computer piano guitar king queen wizard knight pirate apple lemon
"""
THINGS = tuple(_THINGS.split())

# Themes stand alone: "a poem about AI", "a poem about the sea".
_THEMES = """
AI, AI, AI, AI, AI, love, music, rain, snow, coffee, tea, winter, spring, summer, autumn, time, friendship, hope,
sleep, the sea, the moon, the sun, the night, the wind, the stars, the ocean, the morning, the city, space, code,
programming, computers, robots, cats, dogs, birds, trees, books, dreams, nature, machine learning,
artificial intelligence, the future, the internet, Rust, Python, my garden
"""
THEMES = tuple(" ".join(part.split()) for part in _THEMES.split(","))

_NAMES = """
Ada Ben Clara David Emma Felix Greta Hugo Ida Leo Mia Nora Sam Tom Alice Bob
"""
NAMES = tuple(_NAMES.split())

_ONSETS = ("b", "bl", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gl", "gr", "h", "j", "k", "l", "m", "n",
"p",
           "pl", "qu", "r", "s", "sh", "sk", "sp", "st", "t", "tr", "v", "w", "z")  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "oo", "ou")
_CODAS = ("", "", "b", "ck", "d", "g", "l", "m", "n", "nd", "nt", "p", "r", "rk", "s", "st", "t", "x")
_IRREGULAR = {"wolf": "wolves", "leaf": "leaves", "mouse": "mice", "fish": "fish"}


def invented(rng: Random) -> str:
    """A made-up word; it teaches the model to copy a word, whatever it is."""
    syllables = rng.choice((1, 2, 2))
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(syllables))


def thing(rng: Random) -> str:
    """A countable noun."""
    return rng.choice(THINGS)


def article(noun: str) -> str:
    """The noun with its indefinite article."""
    sounds_like_a_vowel = noun[0] in "aeiou" and not noun.startswith("uni")
    return ("an " if sounds_like_a_vowel else "a ") + noun


def plural(noun: str) -> str:
    """The noun in the plural."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")
