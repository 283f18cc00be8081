"""Tokenizers out of GGUF files against those that the files were made from: another cut, and the
model reads words that it was not trained with.
"""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from tests.text.gguf_metadata import (
    byte_level_metadata,
    scores_by_merges,
    sentence_piece_metadata,
)
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import generate_merges  # type: ignore[attr-defined]

from streamcore.errors import ModelLoadError
from streamcore.models.gguf.byte_level import PRE_TOKENIZERS
from streamcore.models.gguf.text_files import text_folder, tokenizer_json
from streamcore.models.gguf.vocabulary import Vocabulary, read_vocabulary

ROOT = Path(__file__).parents[2]

# As the tokenizer.json of the models have them.
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = CL100K.replace("{1,3}", "")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = O200K.replace(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace("{1,3}", "")
PATTERNS = {
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "smaug-bpe", "dbrx"), CL100K),
    **{"qwen2": QWEN2, "deepseek-r1-qwen": QWEN2, "gpt-4o": O200K, "tekken": TEKKEN},
    **dict.fromkeys(("smollm", "starcoder", "refact"), "digits"),
    "gpt-2": None,
}
BEGINS = ("llama-bpe", "llama3", "llama-v3", "tekken")
WHOLE = (*BEGINS, "smaug-bpe", "gpt-4o")


def texts() -> list[str]:
    """Texts of many kinds."""
    fixed = [
        *("", " ", "a", " a", "  two", "a   b", "tabs\t\tx", "\n\nnew\n\n\nlines ", "\r\n a\r\nb\n "),
        *("1234567 12 1", "x=3.14159e-10;", "don't I'LL we'Ve 's 'RE''", "helloWorldFooBAR HTTPServer"),
        *(
            "naïve café e\u0301 \u212b",
            "日本語テキスト 한국어 中文",
            "🙂👩‍👩‍👧 ok",
            "\ufeffbom",
            "ПРИВЕТ мир",
            "مرحبا ไทย",
        ),
        *(
            "\u00a0nbsp\u2003em\u3000",
            "▁ ▁▁x",
            "\x00\x07\x1b",
            "a" * 300,
            "</div><table>",
            "https://a.b/c?d=e&f=g",
        ),
        *(
            "<s> </s> <|im_end|> <unk>",
            "<|im_start|>user\nhi<|im_end|>\n",
            "[PAD300]",
            "<0x41>",
            "<|end|>  a",
        ),
    ]
    dice = random.Random(0)
    letters = "abc AB12 \n\t.,'\"éß中日ก🙂-_/\\<>|{}[]()=+*&^%$#@!~`;:?"
    mixed = ["".join(dice.choice(letters) for _ in range(dice.randrange(1, 60))) for _ in range(300)]
    page = (ROOT / "README.md").read_text()
    return fixed + mixed + [page[begin : begin + 300] for begin in range(0, len(page), 300)]


def corpus() -> list[str]:
    """What small tokenizers are trained on."""
    pages = [ROOT / "README.md", ROOT / "docs" / "architecture.md"]
    return [*(page.read_text() for page in pages), "日本語 中文 café naïve 12345 don't I'LL " * 20]


def vocabulary_of(metadata: dict[str, Any]) -> Vocabulary:
    """The vocabulary of a file that nothing is wrong with."""
    problems: list[str] = []
    vocabulary = read_vocabulary(metadata, len(metadata["tokenizer.ggml.tokens"]), problems)
    assert problems == []
    assert vocabulary is not None
    return vocabulary


def read_back(metadata: dict[str, Any]) -> Tokenizer:
    """The tokenizer of a file."""
    return Tokenizer.from_str(json.dumps(tokenizer_json(vocabulary_of(metadata), "llama")))


def assert_same(read: Tokenizer, original: Tokenizer, *, adds_special: bool = False) -> None:
    """Every text gives the same ids, and the ids the same text."""
    for text in texts():
        ids = original.encode(text, add_special_tokens=adds_special).ids
        assert read.encode(text, add_special_tokens=adds_special).ids == ids, text
        assert read.decode(ids, skip_special_tokens=False) == original.decode(ids, skip_special_tokens=False)


def train_byte_level(pre: str) -> Tokenizer:
    """A small tokenizer as published ones are."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre in WHOLE))
    pattern = PATTERNS[pre]
    first: list[Any] = []
    if pattern == "digits":
        first = [pre_tokenizers.Digits(individual_digits=True)]
    elif pattern is not None:
        first = [pre_tokenizers.Split(Regex(pattern), "isolated")]
    uses_regex = pattern in (None, "digits")
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=uses_regex)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*first, cut])
    if pattern == QWEN2:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens(["<tool_call>", "<|end|>"])
    return tokenizer


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_byte_level_ids_are_the_originals(pre: str) -> None:
    """For every name of a pre-tokenizer that is read."""
    original = train_byte_level(pre)
    metadata = byte_level_metadata(json.loads(original.to_str()), pre, num_rows=640)
    assert_same(read_back(metadata | {"tokenizer.ggml.add_bos_token": False}), original)


def test_places_without_a_token_have_no_text() -> None:
    """Rows beyond the vocabulary are called [PAD300] and so on; a text with that in it is a text."""
    original = train_byte_level("qwen2")
    metadata = byte_level_metadata(json.loads(original.to_str()), "qwen2", num_rows=640)
    assert "[PAD639]" in metadata["tokenizer.ggml.tokens"]
    assert read_back(metadata).token_to_id("[PAD639]") is None


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_texts_begin_as_the_file_says(pre: str) -> None:
    """Where it does not, as models with that pre-tokenizer do; Llama answers nonsense without it."""
    metadata = byte_level_metadata(json.loads(train_byte_level(pre).to_str()), pre)
    metadata["tokenizer.ggml.bos_token_id"] = 1
    plain = read_back(metadata).encode("hi", add_special_tokens=False).ids
    for said in (None, True, False):
        entry = {} if said is None else {"tokenizer.ggml.add_bos_token": said}
        begins = pre in BEGINS if said is None else said
        assert read_back(metadata | entry).encode("hi").ids == ([1] if begins else []) + plain
    around = {f"tokenizer.ggml.add_{name}_token": True for name in ("bos", "eos")}
    with_end = around | {"tokenizer.ggml.eos_token_id": 2}
    assert read_back(metadata | with_end).encode("hi").ids == [1, *plain, 2]


def sentence_piece(*, adds_space: bool) -> tuple[Tokenizer, dict[str, float]]:
    """A small tokenizer as Hugging Face makes it of a SentencePiece model, and the model's scores."""
    space = [normalizers.Prepend("▁")] if adds_space else []
    normalizer = normalizers.Sequence([*space, normalizers.Replace(" ", "▁")])
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=500, show_progress=False, max_token_length=12)
    trained.train_from_iterator([line for page in corpus() for line in page.split("\n")], trainer)
    special = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    user = ["▁▁", "▁▁▁", "▁▁▁▁", "\n", "\n\n", "<table>"]
    learnt = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    pieces = [token for token, _ in learnt if token not in user]
    # Letters come last in SentencePiece's models, merges in the order in which they were learnt.
    pieces = [token for token in pieces if len(token) > 1] + [token for token in pieces if len(token) == 1]
    vocab = {token: index for index, token in enumerate([*special, *bytes_, *user, *pieces])}
    scores = {token: -float(rank) for rank, token in enumerate(pieces)}
    all_scores = {token: scores.get(token, 0.0) for token in vocab if token not in special + bytes_}
    merges = generate_merges(vocab, all_scores)
    model = models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    original = Tokenizer(model)
    original.normalizer = normalizer
    strip = [decoders.Strip(" ", 1, 0)] if adds_space else []
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    original.decoder = decoders.Sequence(steps)
    original.add_special_tokens(special)
    original.add_tokens([AddedToken(token, normalized=False) for token in user])
    return original, scores


@pytest.mark.parametrize("adds_space", [True, False])
def test_sentence_piece_ids_are_the_originals(adds_space: bool) -> None:
    """Scores become merges, bytes stand for what has no token, added tokens keep their spaces."""
    original, scores = sentence_piece(adds_space=adds_space)
    ids = {"unknown": 0, "bos": 1, "eos": 2}
    metadata = sentence_piece_metadata(json.loads(original.to_str()), scores, ids)
    metadata["tokenizer.ggml.add_space_prefix"] = adds_space
    read = read_back(metadata)
    assert_same(read, original)
    assert read.encode("hi").ids[0] == 1


def test_phi3_tokens_take_the_spaces_behind_them() -> None:
    """Its template puts a line break behind each; files do not say that it belongs to the token."""
    original, scores = sentence_piece(adds_space=True)
    original.add_special_tokens(["<|user|>", "<|endoftext|>"])
    metadata = sentence_piece_metadata(
        json.loads(original.to_str()), scores, {"unknown": 0, "bos": 1, "eos": 2}
    )
    tokens = tokenizer_json(vocabulary_of(metadata), "phi3")["added_tokens"]
    assert {token["content"]: token["rstrip"] for token in tokens if token["special"]} == {
        **{"<unk>": False, "<s>": False, "</s>": True, "<|user|>": True, "<|endoftext|>": False}
    }


def special_metadata(*tokens: str, **ids: int) -> dict[str, Any]:
    """A vocabulary that ends with special tokens; `ids` count from the first of them."""
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    tokenizer.add_special_tokens(list(tokens))
    metadata = byte_level_metadata(json.loads(tokenizer.to_str()), "qwen2")
    return metadata | {f"tokenizer.ggml.{name}_token_id": 3 + index for name, index in ids.items()}


@pytest.mark.parametrize(
    ("tokens", "ids", "ends"),
    [
        (("<|endoftext|>", "<|im_start|>", "<|im_end|>"), {"eos": 2}, [2, 0]),
        (("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"), {"eos": 0, "eot": 2}, [0, 2, 1]),
        (("<eos>", "<end_of_turn>"), {"eos": 0}, [0, 1]),
        (("<|endoftext|>", "<|return|>", "<|end|>", "<|call|>"), {"eos": 1}, [1, 3, 0]),
        (("<|endoftext|>", "<|user|>", "<|end|>"), {"eos": 0}, [0, 2]),
        (("</s>", "<x>"), {"eos": 0, "eom": 1}, [0, 1]),
    ],
    ids=["chatml", "llama3", "gemma", "harmony", "phi", "named"],
)
def test_answers_end_where_turns_end(tokens: tuple[str, ...], ids: dict[str, int], ends: list[int]) -> None:
    """Files name one end, often that of a document; a chat would go on with the user's next question."""
    vocabulary = vocabulary_of(special_metadata(*tokens, **ids))
    assert vocabulary.ends == [3 + index for index in ends]


def test_files_of_a_folder(tmp_path: Path) -> None:
    """The server reads templates, names and defaults of sampling in the files of a model folder."""
    metadata = special_metadata("<s>", "</s>", "<pad>", bos=0, eos=1, padding=2) | {
        "tokenizer.chat_template": "{{ bos_token }}ä",
        "tokenizer.chat_template.tool_use": "tools",
        "tokenizer.chat_template.../../x": "a name that leads elsewhere",
        "tokenizer.chat_templates": ["tool_use"],
        "general.sampling.temp": 0.6,
        "general.sampling.top_k": 20,
    }
    with text_folder(metadata, vocabulary_of(metadata)) as folder:
        files = {
            str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()
        }
    assert not folder.exists()
    assert sorted(files) == [
        "additional_chat_templates/tool_use.jinja",
        "chat_template.jinja",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert files["chat_template.jinja"] == "{{ bos_token }}ä"
    assert json.loads(files["generation_config.json"]) == {
        "eos_token_id": [4],
        "temperature": 0.6,
        "top_k": 20,
    }
    config = json.loads(files["tokenizer_config.json"])
    assert (config["bos_token"], config["eos_token"], config["pad_token"]) == ("<s>", "</s>", "<pad>")


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokenizer is written to a temporary folder for a moment, of which a user has not heard."""
    metadata = special_metadata("</s>", eos=0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with (
        pytest.raises(ModelLoadError, match="cannot be written to a temporary folder"),
        text_folder(metadata, vocabulary_of(metadata)),
    ):
        pass


REAL = {"llama3_1": "llama-bpe", "qwen3": "qwen2", "gptoss": "gpt-4o", "llama2": None, "gemma3": None}


@pytest.mark.parametrize("name", REAL)
def test_real_tokenizers_survive_a_file(name: str) -> None:
    """Those of well-known models, which `make test-tokenizers` points to."""
    if "STREAMCORE_TOKENIZERS" not in os.environ:
        pytest.skip("STREAMCORE_TOKENIZERS is not set")
    path = Path(os.environ["STREAMCORE_TOKENIZERS"]) / name / "tokenizer.json"
    original, as_json = Tokenizer.from_file(str(path)), json.loads(path.read_text())
    if (pre := REAL[name]) is not None:
        metadata = byte_level_metadata(as_json, pre) | {"tokenizer.ggml.add_bos_token": False}
    else:
        ids = {"unknown": 3, "bos": 2, "eos": 1} if name == "gemma3" else {"unknown": 0, "bos": 1, "eos": 2}
        metadata = sentence_piece_metadata(as_json, scores_by_merges(as_json), ids)
        metadata["tokenizer.ggml.add_space_prefix"] = name == "llama2"
    assert_same(read_back(metadata), original)
