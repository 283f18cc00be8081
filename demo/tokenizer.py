"""The tokenizer: byte-level BPE in which each number from 0 to 1000 is one token.

Counting is then a step from one token to the next, and 1 to 1000 with its commas takes 2000 tokens. A greater
number is spelled in digits.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from demo.text.conversation import Conversation, conversation
from demo.text.counting import LAST
from demo.text.wording import Exchange

BOS, START, END = "<|bos|>", "<|start|>", "<|end|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|start|>' + message['role'] + '\\n' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}"
)
MAX_POSITIONS = 4096

# A space or a comma before a number stays apart from it: a number is the same token wherever it
# stands.
_PIECES = r",? (?=\p{N})|\p{N}+| ?\p{L}+(?:'\p{L}+)?| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_VOCAB_SIZE = 2816
_TRAINING_CONVERSATIONS = 20_000


def _texts(seed: int) -> Iterator[str]:
    """Prompts and answers, and the roles; without long counts, which have nothing to teach about words."""
    rng = Random(f"tokenizer {seed}")
    yield from ("system", "user", "assistant") * 100
    for _ in range(_TRAINING_CONVERSATIONS):
        drawn = conversation(rng)
        yield from (text[:1500] for turn in drawn.exchanges for text in (turn.prompt, turn.answer))


def _trained_words(seed: int) -> dict[str, object]:
    """Trains the BPE on everything but numbers; returns its `model` object as in tokenizer.json."""
    tokenizer = Tokenizer(models.BPE())
    numberless = pre_tokenizers.Split(Regex(r"\p{N}"), "removed")
    split = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, numberless, byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCAB_SIZE - (LAST - 9) - 3,  # the ten digits are bytes already
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed), trainer)
    model: dict[str, object] = json.loads(tokenizer.to_str())["model"]
    return model


def build(seed: int) -> Tokenizer:
    """Makes the tokenizer; the same seed gives the same one."""
    words = _trained_words(seed)
    vocab, merges = words["vocab"], words["merges"]
    assert isinstance(vocab, dict)
    assert isinstance(merges, list)
    for number in range(10, LAST + 1):
        vocab[str(number)] = len(vocab)
    # With `ignore_merges` a piece that is in the vocabulary is taken whole: so a number becomes one
    # token.
    model = models.BPE(vocab=vocab, merges=[tuple(pair) for pair in merges], ignore_merges=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(_PIECES), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in (BOS, START, END)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, special_id(tokenizer, BOS))]
    )
    return tokenizer


def special_id(tokenizer: Tokenizer, text: str) -> int:
    """The id of a special token; the tokenizer must be one that `build` made."""
    token = tokenizer.token_to_id(text)
    assert token is not None, f"no special token {text}"
    return token


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END,
        "model_max_length": MAX_POSITIONS,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def encode(tokenizer: Tokenizer, drawn: Conversation) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation as the chat template writes it, and which of them the model writes."""
    bos, start, end = (special_id(tokenizer, text) for text in (BOS, START, END))

    def ids(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    tokens, learned = [bos], [False]

    def put(new: list[int], produced: bool) -> None:
        tokens.extend(new)
        learned.extend([produced] * len(new))

    if drawn.plain:
        put([*ids(drawn.plain), end], True)
    if drawn.system is not None:
        put([start, *ids("system\n" + drawn.system), end], False)
    for turn in drawn.exchanges:
        put([start, *ids("user\n" + turn.prompt), end, start, *ids("assistant\n")], False)
        put([*ids(turn.answer), end], True)
    return tokens, learned


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Token ids of a single user message, ready for the answer."""
    tokens, learned = encode(tokenizer, Conversation(None, (Exchange(prompt, ""),)))
    return tokens[: learned.index(True)]
