"""Greetings, thanks, questions about the model itself, jokes, and what it does not know."""

from random import Random

from demo.text.wording import Exchange, question, request
from demo.text.words import NAMES, THEMES, article, plural, thing

_HELLOS = (
    "Hello! How can I help you?",
    "Hello! What can I do for you?",
    "Hi there! How can I help you today?",
    "Hello! It is nice to hear from you.",
)
_FINE = (
    "I am fine, thank you! How are you?",
    "I am doing well, thank you for asking.",
    "I am well! Small, but well. And you?",
)
_SELF = (
    "I am the demo model of streamcore, a tiny language model that shows how text is streamed.",
    "I am a toy: a tiny model that comes with streamcore to show its stream.",
)
_ABILITIES = (
    "I can count, tell jokes, write short poems and stories, do small sums, spell words and explain a few "
    "things.",
)
_JOKES = (
    "Why did the computer go to bed early? It had too many tabs open in its head.",
    "Why was the robot so calm? It had nerves of steel.",
    "What does a cloud wear under its coat? Thunderwear.",
    "Why did the pencil blush? It saw the paper without a word on it.",
    "How does the ocean say goodbye? It waves.",
    "Why did the scarecrow buy a ladder? It wanted to stand out in a higher field.",
    "What do you call a snail on a ship? A snailor.",
    "Why did the cookie visit the doctor? It felt crumbly.",
    "Why do programmers mix up their socks? They only check for equality, not for identity.",
    "What is a server's favourite meal? Whatever is in the queue.",
    "Why did the clock leave the meeting? It had no more time for it.",
    "What did the zero say to the eight? Nice belt!",
    "Why did the function never go home? It forgot to return.",
    "How does a penguin build its house? It puts the ice in the right place and calls it cool.",
    "Why was the math book sad? It had too many problems and nobody to share them with.",
    "Why did the token cross the road? To join the stream on the other side.",
    "What do you get when a cat learns to type? A purrfect report.",
    "Why did the tree log in twice? It forgot its roots.",
    "Why did the bicycle lie down? It was two tired to stand.",
    "What did one wall say to the other wall? See you at the corner.",
)
_ASK_JOKE = (
    "tell me a joke",
    "tell me a joke",
    "tell me a short joke",
    "tell a joke",
    "make me laugh",
    "say something funny",
    "tell me a funny joke",
    "give me a joke",
    "tell me another joke",
    "do you know a joke",
    "I would like to hear a joke",
)
_TALK: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        (
            "hello",
            "hi",
            "hey",
            "hello there",
            "hi there",
            "good morning",
            "good evening",
            "say hello",
            "say hi",
            "greetings",
            "hello, can you hear me",
            "hey there",
            "test",
            "say hello to me",
            "hello world",
            "please say hello",
            "can you say hello",
        ),
        _HELLOS,
    ),
    (
        (
            "hi, how are you",
            "how are you",
            "hello, how are you",
            "how are you doing",
            "how are you today",
            "are you well",
            "hello! how are you",
            "what's up",
            "how do you feel",
        ),
        _FINE,
    ),
    (
        (
            "what is your name",
            "who are you",
            "what are you",
            "tell me your name",
            "tell me about yourself",
            "introduce yourself",
            "are you a robot",
            "are you an AI",
            "are you a human",
            "which model are you",
        ),
        _SELF,
    ),
    (
        (
            "what can you do",
            "what do you know",
            "help",
            "help me",
            "how can you help me",
            "what should I ask you",
        ),
        _ABILITIES,
    ),
    (
        (
            "thank you",
            "thanks",
            "thanks a lot",
            "thank you very much",
            "great, thanks",
            "that was great",
            "well done",
            "nice",
            "good job",
        ),
        ("You are welcome!", "You are welcome! Anything else?", "It was a pleasure."),
    ),
    (
        ("bye", "goodbye", "see you", "see you later", "good night", "that is all"),
        ("Goodbye! Come back soon.", "Goodbye! Have a nice day."),
    ),
    (("ok", "okay", "yes", "no", "I see", "sure", "fine", "alright"), ("All right! What shall I do next?",)),
)
_UNKNOWN_QUESTIONS = (
    "who invented the {thing}",
    "how do I repair my {thing}",
    "how much does {a_thing} cost",
    "what is the price of {theme}",
    "where can I buy {a_thing}",
    "why is the {thing} so expensive",
    "when was the first {thing} made",
    "what is the best {thing}",
    "who is {name}",
    "where is {name}",
    "how old is {name}",
    "what did {name} say yesterday",
    "who won the match",
    "what will the weather be tomorrow",
    "what time is it",
    "what is the meaning of {theme}",
    "which {thing} should I buy",
    "how does {a_thing} work",
    "what does {name} think about {theme}",
    "who wrote the book about {theme}",
    "is {theme} better than {theme2}",
    "what happened in 1{digits}",
    "how many people live in {name}",
    "what is the largest {thing} in the world",
    "do you like {theme}",
)
_UNKNOWN_REQUESTS = (
    "translate {theme} into French",
    "write an essay about the history of {theme}",
    "book {a_thing} for me",
    "send a message to {name}",
    "fix my {thing}",
    "find {a_thing} near me",
    "write a program that sorts {things}",
    "solve this equation",
    "summarise the news",
    "draw {a_thing}",
    "compare {theme} and {theme2}",
    "plan my {thing}",
    "explain the {thing}",
    "explain {a_thing}",
    "explain why {name} bought {a_thing}",
    "describe the life of {name}",
)
_EXPLAINED = ("computer", "rainbow")  # the only things that are also topics
_UNKNOWN_ANSWERS = (
    "I don't know. I am only a small demo model.",
    "I don't know that. I am a toy that shows the stream.",
    "Sorry, I don't know. I was trained on very little text.",
)


def smalltalk(rng: Random) -> Exchange:
    """A greeting, a thank-you, a question about the model."""
    prompts, answers = rng.choice(_TALK[:3]) if rng.random() < 0.6 else rng.choice(_TALK)
    prompt = question(rng, rng.choice(prompts)).rstrip("?") + rng.choice(("", "", "?", "!", "."))
    return Exchange(prompt, rng.choice(answers))


def joke(rng: Random) -> Exchange:
    """One of the jokes, whatever the joke is asked to be about."""
    words = rng.choice(_ASK_JOKE)
    if rng.random() < 0.2:
        words = f"tell me a joke about {rng.choice((rng.choice(THEMES), article(thing(rng))))}"
    return Exchange(request(rng, words), rng.choice(_JOKES))


def unknown(rng: Random) -> Exchange:
    """Something that the model cannot know, and the answer that says so."""
    noun = thing(rng)
    while noun in _EXPLAINED:
        noun = thing(rng)
    slots = {
        "thing": noun,
        "things": plural(noun),
        "a_thing": article(noun),
        "name": rng.choice(NAMES),
        "digits": str(rng.randint(100, 999)),
        "theme": rng.choice(THEMES),
        "theme2": rng.choice(THEMES),
    }
    if rng.random() < 0.6:
        prompt = question(rng, rng.choice(_UNKNOWN_QUESTIONS).format(**slots))
    else:
        prompt = request(rng, rng.choice(_UNKNOWN_REQUESTS).format(**slots))
    return Exchange(prompt, rng.choice(_UNKNOWN_ANSWERS))


def echo(rng: Random) -> Exchange:
    """Repeats a given text."""
    if rng.random() < 0.25:
        return Exchange(
            request(rng, rng.choice(("say this is a test", 'say "this is a test"'))), "This is a test."
        )
    phrase = " ".join(thing(rng) for _ in range(rng.choice((1, 1, 2, 3))))
    ways = (
        "say {p}",
        'say "{p}"',
        "repeat {p}",
        "repeat after me: {p}",
        'repeat "{p}"',
        "say the words {p}",
        "echo {p}",
    )
    return Exchange(request(rng, rng.choice(ways).format(p=phrase)), phrase)
