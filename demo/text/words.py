"""The nouns and names that fill the templates."""

from random import Random

# Things take an article: "a poem about a dragon", "the dragon".
_THINGS = """
dragon cat dog robot mouse bird horse fish frog owl fox wolf bear rabbit turtle whale spider snail
bee ant river mountain forest garden tree flower leaf seed stone cloud storm rainbow star planet
moonbeam comet island desert lake beach bridge castle tower village city street house kitchen window
door lamp candle clock watch mirror book letter pencil map key box bottle cup bowl spoon hat coat
shoe sock button ship boat train car bicycle plane balloon rocket wheel engine computer phone camera
radio keyboard server piano guitar drum violin song dance painting puzzle kite ball doll game wizard
witch knight king queen princess pirate giant ghost monster unicorn phoenix mermaid farmer baker
teacher doctor sailor painter programmer scientist astronaut gardener tailor musician apple banana
lemon cherry pumpkin potato carrot onion cookie cake pancake pizza sandwich cheese teapot blanket
pillow ladder hammer feather shell pebble lighthouse windmill snowman penguin elephant giraffe lion
tiger monkey hedgehog squirrel butterfly
"""
THINGS = tuple(_THINGS.split())

# Themes stand alone: "a poem about AI", "a poem about the sea".
_THEMES = """
AI, AI, AI, love, music, rain, snow, coffee, tea, winter, spring, summer, autumn, time, friendship,
hope, sleep, the sea, the moon, the sun, the night, the wind, the stars, the ocean, the morning, the
city, the forest, home, space, math, science, code, programming, software, computers, robots, cats,
dogs, birds, trees, mountains, books, dreams, silence, light, fire, water, bread, chocolate, nature,
life, joy, courage, machine learning, artificial intelligence, the future, the internet, Rust,
Python, the weekend, Monday, my garden, my mother
"""
THEMES = tuple(" ".join(part.split()) for part in _THEMES.split(","))

_NAMES = """
Ada Ben Clara David Emma Felix Greta Hugo Ida Jonas Kira Leo Mia Nora Oscar Paula Quinn Rosa Sam Tom
Una Victor Wendy Yara Zoe Anna Bob Alice John Mary Peter Maria Lukas Eva Max Nina
"""
NAMES = tuple(_NAMES.split())

_ONSETS = ("b", "bl", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gl", "gr", "h", "j", "k", "l", "m", "n",
"p",
           "pl", "qu", "r", "s", "sh", "sk", "sp", "st", "t", "tr", "v", "w", "z")  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "oo", "ou")
_CODAS = ("", "", "b", "ck", "d", "g", "l", "m", "n", "nd", "nt", "p", "r", "rk", "s", "st", "t", "x")
_IRREGULAR = {"wolf": "wolves", "leaf": "leaves", "mouse": "mice", "snowman": "snowmen"}


def invented(rng: Random) -> str:
    """A word that nobody knows; it teaches the model to copy a word, whatever it is."""
    syllables = rng.choice((1, 2, 2))
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(syllables))


def thing(rng: Random) -> str:
    """A countable noun, now and then an invented one."""
    return invented(rng) if rng.random() < 0.12 else rng.choice(THINGS)


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
