"""What the model can explain: a few sentences on each of forty topics."""

from random import Random

from demo.text.wording import Exchange, question, request

TOPICS = {
    "machine learning": "Machine learning is a way to make programs that improve with examples. Instead of "
    "writing every "
    "rule by hand, we show a model many examples, and it adjusts its numbers until its guesses are good. "
    "Then it can make "
    "guesses about things it has not seen before.",
    "quantum computing": "Quantum computing uses tiny things such as atoms to calculate. A normal bit is "
    "either 0 or 1, but "
    "a quantum bit can be a mix of both until it is measured. For some problems this makes a quantum "
    "computer much faster.",
    "artificial intelligence": "Artificial intelligence is the art of making machines do things that seem "
    "to need thought. "
    "Some systems follow rules, others learn from data. They can be useful, and they can also be wrong.",
    "deep learning": "Deep learning is machine learning with many layers. Each layer turns its input into "
    "something a little "
    "more useful, from dots to edges, from edges to shapes, from shapes to meaning.",
    "neural networks": "A neural network is made of many small units that add up numbers and pass them on. "
    "During training "
    "the strength of each connection changes a little, until the whole network gives good answers.",
    "a language model": "A language model guesses which piece of text comes next. It does this again and "
    "again, one token at "
    "a time, and the tokens together become an answer.",
    "a token": "A token is a small piece of text, such as a word or a part of a word. Language models read "
    "and write tokens, "
    "one after another.",
    "streaming": "Streaming means that an answer is sent piece by piece while it is made. You can read the "
    "first words "
    "before the last ones exist.",
    "gravity": "Gravity is the pull between things that have mass. It keeps your feet on the ground, the "
    "moon near the earth "
    "and the earth near the sun.",
    "photosynthesis": "Photosynthesis is how plants make food from light. They take in water and carbon "
    "dioxide, use the "
    "energy of the sun, and give back sugar and oxygen.",
    "evolution": "Evolution is slow change in living things. Those that fit their world have more children, "
    "and their "
    "features spread over many generations.",
    "electricity": "Electricity is the movement of tiny charged particles. When they flow through a wire "
    "they can light a "
    "lamp, turn a motor or carry a message.",
    "the internet": "The internet is a network of networks. Computers all over the world cut their messages "
    "into packets, "
    "pass them from one to the next, and put them together again at the end.",
    "a computer": "A computer is a machine that follows instructions. It reads numbers from memory, does "
    "simple steps with "
    "them very quickly, and writes the results back.",
    "an algorithm": "An algorithm is a list of clear steps that solves a problem. A recipe is a good "
    "example: the same steps "
    "lead to the same cake.",
    "recursion": "Recursion is when a function calls itself on a smaller problem. It stops when the problem "
    "is so small that "
    "the answer is plain.",
    "a database": "A database keeps data in order so that it can be found again. Programs ask it questions, "
    "and it answers "
    "quickly even when there are millions of records.",
    "an API": "An API is an agreement between programs. It says which requests one program may send and "
    "which answers it "
    "will get back.",
    "HTTP": "HTTP is the language of the web. A client sends a request with a method and a path, and the "
    "server sends back "
    "a status, headers and a body.",
    "Python": "Python is a programming language that is easy to read. It is popular for scripts, science "
    "and machine "
    "learning.",
    "Rust": "Rust is a programming language for fast and safe programs. Its compiler checks who owns each "
    "piece of memory, so "
    "that many mistakes are found before the program runs.",
    "a GPU": "A GPU is a chip that does many small calculations at the same time. It was made for pictures, "
    "and it is just "
    "right for the large sums inside language models.",
    "memory": "Memory is where a computer keeps what it is working on. It is fast but forgetful: when the "
    "power goes, the "
    "memory is empty.",
    "caching": "Caching means keeping a result close by because it may be needed again. It saves time, as "
    "long as the kept "
    "result is still right.",
    "encryption": "Encryption turns a message into something that only the right key can read. Without the "
    "key it looks like "
    "noise.",
    "open source": "Open source means that everyone may read, change and share the code of a program. Many "
    "people can make "
    "it better together.",
    "rain": "Rain begins when warm, wet air rises and cools. Small drops form in the clouds, grow heavy and "
    "fall.",
    "a rainbow": "A rainbow appears when sunlight meets drops of water. Each drop bends the colors of the "
    "light by a "
    "different amount, and so we see them side by side.",
    "the seasons": "The earth is tilted as it travels around the sun. For half of the year the north gets "
    "more light, for "
    "the other half the south, and that makes the seasons.",
    "the moon": "The moon is a ball of rock that travels around the earth once a month. It has no light of "
    "its own; it "
    "shines because the sun shines on it.",
    "the sun": "The sun is a star, a huge ball of hot gas. Deep inside it small atoms join to larger ones, "
    "and the energy "
    "that is set free gives us light and warmth.",
    "black holes": "A black hole is a place where gravity is so strong that not even light can leave. It "
    "can form when a very "
    "large star collapses.",
    "atoms": "Atoms are the building blocks of matter. Each has a tiny heavy core with light electrons "
    "around it, and "
    "together they form everything we touch.",
    "DNA": "DNA is a long molecule that carries the plan of a living thing. It is written in four letters, "
    "and every cell "
    "keeps a copy.",
    "vaccines": "A vaccine shows the body a harmless part of a germ. The body learns to know it, and can "
    "fight the real germ "
    "faster later on.",
    "money": "Money is something that people agree to trade with. It makes it easy to swap work for bread "
    "without having to "
    "find a hungry baker.",
    "music": "Music is sound in order. Rhythm says when the notes come, melody says which ones, and harmony "
    "says which ones "
    "sound well together.",
    "sleep": "Sleep is the time in which the body repairs itself and the brain sorts what it has learned. "
    "Most people need "
    "about eight hours of it.",
    "volcanoes": "A volcano is an opening in the ground through which melted rock can rise. When it comes "
    "out it is called "
    "lava, and when it cools it becomes new land.",
    "why the sky is blue": "Sunlight is a mix of all colors. The air scatters blue light more than red "
    "light, so blue reaches "
    "our eyes from every side.",
}
_ALIASES = {
    "artificial intelligence": ("AI", "artificial intelligence"),
    "machine learning": ("machine learning", "machine learning", "ML"),
    "neural networks": ("neural networks", "a neural network"),
    "a language model": (
        "a language model",
        "language models",
        "how language models work",
        "a large language model",
        "LLMs",
    ),
    "a token": ("a token", "tokens"),
    "quantum computing": ("quantum computing", "quantum computers"),
    "a computer": ("a computer", "computers", "how a computer works"),
    "an algorithm": ("an algorithm", "algorithms"),
    "a database": ("a database", "databases"),
    "an API": ("an API", "APIs"),
    "a GPU": ("a GPU", "GPUs"),
    "a rainbow": ("a rainbow", "rainbows"),
    "black holes": ("black holes", "a black hole"),
    "volcanoes": ("volcanoes", "a volcano"),
}
_FREQUENT = ("machine learning", "machine learning", "artificial intelligence", "quantum computing")
_EXPLAIN = (
    "explain {t}",
    "explain {t}",
    "explain {t}",
    "explain {t} to me",
    "tell me about {t}",
    "describe {t}",
)
_PLURALS = ("quantum computers", "computers", "black holes", "vaccines", "atoms", "volcanoes", "rainbows",
"tokens",
            "neural networks", "language models", "algorithms", "databases", "APIs", "GPUs", "LLMs",
            "the seasons")  # fmt: skip
_LENGTH = (
    "", "", "", "", " in a few sentences", " in simple terms", " in simple words", " briefly",
    " like I am five",
    " in one paragraph", " simply", " in detail",
)  # fmt: skip


def explanation(rng: Random) -> Exchange:
    """Explains one of the topics."""
    topic = rng.choice(_FREQUENT) if rng.random() < 0.12 else rng.choice(tuple(TOPICS))
    words = rng.choice(_ALIASES.get(topic, (topic,)))
    if words.startswith(("why ", "how ")) or rng.random() < 0.55:
        prompt = request(rng, rng.choice(_EXPLAIN).format(t=words) + rng.choice(_LENGTH))
    else:
        verb = "are" if words in _PLURALS else "is"
        prompt = question(
            rng, rng.choice((f"what {verb} {words}", f"what {verb} {words}", f"what exactly {verb} {words}"))
        )
    if topic == "why the sky is blue" and rng.random() < 0.5:
        prompt = question(rng, "why is the sky blue")
    return Exchange(prompt, TOPICS[topic])
