"""Short stories: a frame, a hero, a friend, a place and a find."""

from random import Random

from demo.text.wording import Exchange, request
from demo.text.words import NAMES, THEMES, article, thing

_PLACES = (
    "at the edge of a forest",
    "on a small island",
    "in a quiet village",
    "behind the old mill",
    "near a cold river",
)
_FINDS = ("a golden key", "a letter without a name", "a map of the stars", "a box that hummed", "a tiny door")
_FRAMES = (
    "Once upon a time there was {a} who lived {place}. Every evening the {n} looked at the stars and wished "
    "for a friend. "
    "One night a child called {name} came by and had lost the way. The {n} lit a lamp and walked ahead "
    "until they saw the "
    "lights of home. From that day on they met every evening, and the {n} was never lonely again.",
    "Once upon a time {name} found {find} {place}. It belonged to {a}. {name} could have kept it, but gave "
    "it back at once. "
    "The {n} was so surprised that it laughed for the first time in years. They shared a piece of bread and "
    "talked until "
    "the moon went down. And when they parted, both of them were richer than before.",
    "There once was {a} that was afraid of the dark. Its friend {name}, who lived {place}, had an idea. "
    "Together they "
    "counted all the sounds of the night: the wind, the owl, the rain. When each sound had a name, the dark "
    "was only a room "
    "with the light off. The {n} slept well, and {name} slept even better.",
    "Long ago, {place}, {name} met {a}. Nobody believed it, so {name} set out to bring back {find} as "
    "proof. The way was "
    "long and the nights were cold. But the {n} came along, carried the bag and sang. When they came home "
    "nobody asked for "
    "proof any more, because the {n} was standing at the door.",
)
_KINDS = (
    "story",
    "story",
    "story",
    "short story",
    "long story",
    "bedtime story",
    "little story",
    "fairy tale",
    "tale",
)
_ASK = (
    "tell me {w}",
    "tell me {w}",
    "tell {w}",
    "write {w}",
    "write me {w}",
    "write {w} for children",
    "make up {w}",
)


def story(rng: Random) -> Exchange:
    """A story of five sentences about the thing that was asked for."""
    words = rng.choice(_ASK).format(w=article(rng.choice(_KINDS)))
    noun = thing(rng)
    draw = rng.random()
    if draw < 0.75:
        words += f" about {article(noun)}" if rng.random() < 0.8 else f" about the {noun}"
    elif draw < 0.85:
        noun = "robot"
        words += f" about {rng.choice(THEMES)}"
    frame = rng.choice(_FRAMES)
    slots = {"n": noun, "a": article(noun), "place": rng.choice(_PLACES), "find": rng.choice(_FINDS)}
    return Exchange(request(rng, words), frame.format(name=rng.choice(NAMES), **slots))
