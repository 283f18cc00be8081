"""Poems and haiku with one slot for what they are about."""

from random import Random

from demo.text.wording import Exchange, request
from demo.text.words import THEMES, article, plural, thing

_ABOUT_AI = (
    "In quiet rooms where numbers run,\nA patient mind of code is spun.\nIt reads a word, it guesses two,\n"
    "And hands its little thoughts to you.\nIt has no heart, it has no eyes,\nIt does not dream, it is not "
    "wise,\n"
    "But token after token, see:\nA thread of light from you to me.",
    "A lamp of numbers, small and bright,\nAI sits humming through the night.\nWe taught it words, we "
    "taught it play,\n"
    "It learned a little every day.\nIt cannot taste, it cannot sing,\nIt does not know the smell of "
    "spring,\n"
    "Yet asked for verse it does its part:\nA borrowed tongue, a human heart.",
)
_POEMS = (
    "I thought of {t} at break of day,\nWhen all the world was soft and grey.\nThe light came slowly, line "
    "by line,\n"
    "And made the morning feel like mine.\nI thought of {t} when night came near,\nThe air was still, the "
    "sky was clear.\n"
    "And so I wrote this little rhyme,\nTo keep a bit of passing time.",
    "Here is a song for {t},\nAs quiet as the falling snow.\nIt does not ask, it does not stay,\n"
    "It tells us what we almost know.\nSo sing it low and sing it long,\nAnd let the evening hear it, too:\n"
    "The world is wide, the night is young,\nAnd {t} will see us through.",
    "They asked me once for something true,\nI looked around and thought of {t}.\nThe window open, sky so "
    "blue,\n"
    "A moment large enough for me.\nNo gold, no crown, no castle wall,\nNo clever word, no borrowed line:\n"
    "Just {t}, that is all,\nAnd for a while the world was fine.",
    "Oh, what is there to say of {t}\nThat has not yet been said before?\nIt comes like water from the "
    "hill,\n"
    "It knocks like rain upon the door.\nI cannot hold it in my hand,\nI cannot keep it in a jar,\n"
    "But when I think of {t} at night,\nThe dark is not so very far.",
    "One line for the morning,\nOne line for the sea,\nOne line about {t},\nAnd one line for me.\n"
    "The first one was golden,\nThe second was deep,\nThe third one I gave you,\nThe last one I keep.",
)
_HAIKU = (
    "Early morning light.\nI sit and think of {t}.\nThe tea has gone cold.",
    "Snow on the old roof.\nSomeone speaks of {t} below.\nThen it is quiet.",
    "A leaf on the pond.\nSlowly, like {t}, it turns\nand follows the wind.",
    "Long after the rain\nthe street still remembers it.\nI remember {t}.",
)
_POEM_WORDS = (
    "poem",
    "poem",
    "poem",
    "poem",
    "short poem",
    "little poem",
    "small poem",
    "nice poem",
    "rhyme",
    "verse",
)
_HAIKU_WORDS = ("haiku", "haiku", "short haiku")
_ASK = (
    "write {w}",
    "write {w}",
    "write {w}",
    "write me {w}",
    "give me {w}",
    "tell me {w}",
    "make {w}",
    "compose {w}",
)
_ASKED_WITHOUT_SUBJECT = ("the night", "the sea", "the wind", "time")


def _subject(rng: Random) -> tuple[str, str]:
    """What the prompt calls the subject, and what the verse calls it."""
    if rng.random() < 0.5:
        theme = rng.choice(THEMES)
        return theme, "your" + theme[2:] if theme.startswith("my ") else theme
    noun = thing(rng)
    return rng.choice(
        ((article(noun), f"the {noun}"), (f"the {noun}", f"the {noun}"), (plural(noun), plural(noun)))
    )


def _verse(rng: Random, kinds: tuple[str, ...], verses: tuple[str, ...]) -> Exchange:
    words = rng.choice(_ASK).format(w=article(rng.choice(kinds)))
    if rng.random() < 0.12:
        shown = rng.choice(_ASKED_WITHOUT_SUBJECT)
    else:
        asked, shown = _subject(rng)
        words += f" about {asked}" if rng.random() < 0.9 else f" on {asked}"
    if verses is _POEMS and shown in ("AI", "artificial intelligence"):
        verses = _ABOUT_AI
    return Exchange(request(rng, words), rng.choice(verses).format(t=shown))


def poem(rng: Random) -> Exchange:
    """A poem of eight lines; there are two of their own about AI."""
    return _verse(rng, _POEM_WORDS, _POEMS)


def haiku(rng: Random) -> Exchange:
    """A haiku, as near to seventeen syllables as its subject lets it come."""
    return _verse(rng, _HAIKU_WORDS, _HAIKU)
