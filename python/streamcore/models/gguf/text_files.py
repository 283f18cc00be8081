"""Writes what a GGUF file says about text as the files of a model folder, which the
server reads.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from streamcore.errors import ModelLoadError
from streamcore.models.gguf import sentence_piece
from streamcore.models.gguf.byte_level import BYTES, PRE_TOKENIZERS
from streamcore.models.gguf.vocabulary import (
    BYTE,
    CONTROL,
    SENTENCE_PIECE,
    UNKNOWN,
    USER_DEFINED,
    Vocabulary,
)

_TEMPLATE = "tokenizer.chat_template"
# Names become names of files.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}


@contextmanager
def text_folder(metadata: Mapping[str, Any], vocabulary: Vocabulary) -> Iterator[Path]:
    """A folder with the files, for the length of a `with` block."""
    with ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="streamcore-")))
            _write(folder, metadata, vocabulary)
        except OSError as error:
            why = f"the tokenizer of the GGUF file cannot be written to a temporary folder: {error}"
            raise ModelLoadError(why, "`TMPDIR` names another place for it") from error
        yield folder


def _write(folder: Path, metadata: Mapping[str, Any], vocabulary: Vocabulary) -> None:
    for file, value in (
        ("tokenizer.json", tokenizer_json(vocabulary, metadata.get("general.architecture"))),
        ("tokenizer_config.json", _tokenizer_config(vocabulary)),
        ("generation_config.json", _generation_config(metadata, vocabulary)),
    ):
        (folder / file).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    _write_templates(folder, metadata)


def tokenizer_json(vocabulary: Vocabulary, architecture: object) -> dict[str, Any]:
    """The tokenizer in the format of the `tokenizers` library."""
    parts = _pieces(vocabulary) if vocabulary.model == SENTENCE_PIECE else _bytes(vocabulary)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(vocabulary, architecture),
        "post_processor": _post_processor(vocabulary),
        **parts,
    }


def _bytes(vocabulary: Vocabulary) -> dict[str, Any]:
    pre_tokenizer = PRE_TOKENIZERS[vocabulary.pre_tokenizer]
    whole = {"ignore_merges": pre_tokenizer.takes_whole_words}
    return {
        "normalizer": pre_tokenizer.normalizer(),
        "pre_tokenizer": pre_tokenizer.steps(),
        "decoder": BYTES,
        "model": {**_bpe(vocabulary.used, vocabulary.merges), **whole},
    }


def _pieces(vocabulary: Vocabulary) -> dict[str, Any]:
    space = sentence_piece.SPACE
    to_sign = {"type": "Replace", "pattern": {"String": " "}, "content": space}
    to_space = {"type": "Replace", "pattern": {"String": space}, "content": " "}
    before = [{"type": "Prepend", "prepend": space}] if vocabulary.adds_space else []
    after = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if vocabulary.adds_space else []
    bytes_and_text = [{"type": "ByteFallback"}, {"type": "Fuse"}]
    model = _bpe(sentence_piece.pieces(vocabulary), sentence_piece.merges(vocabulary))
    has_bytes = BYTE in vocabulary.kinds
    unknown = vocabulary.named("unknown")
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*before, to_sign]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [to_space, *bytes_and_text, *after]},
        "model": {**model, "unk_token": unknown, "fuse_unk": True, "byte_fallback": has_bytes},
    }


def _bpe(tokens: dict[str, int], merges: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": tokens,
        "merges": merges,
    }


def _added_tokens(vocabulary: Vocabulary, architecture: object) -> list[dict[str, Any]]:
    """Tokens that are looked for in a text before anything else, and stand for themselves."""
    is_pieces = vocabulary.model == SENTENCE_PIECE
    # Phi-3's tokens take the spaces behind them; files do not say so.
    takes_spaces = is_pieces and architecture == "phi3"
    plain = ("<unk>", "<s>", "<|endoftext|>")
    tokens = sentence_piece.pieces(vocabulary) if is_pieces else vocabulary.used
    return [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": takes_spaces and token not in plain,
            "normalized": False,
            "special": vocabulary.kinds[index] != USER_DEFINED,
        }
        for token, index in tokens.items()
        if vocabulary.kinds[index] in (UNKNOWN, CONTROL, USER_DEFINED)
    ]


def _post_processor(vocabulary: Vocabulary) -> dict[str, Any] | None:
    """What is put around each text."""
    around = {"bos": vocabulary.adds_bos, "eos": vocabulary.adds_eos}
    tokens = {name: vocabulary.tokens[vocabulary.ids[name]] for name, is_added in around.items() if is_added}
    if not tokens:
        return None

    def sequence(letter: str, kind: int) -> list[dict[str, Any]]:
        before, after = (
            [{"SpecialToken": {"id": tokens[name], "type_id": kind}}] if name in tokens else []
            for name in around
        )
        return [*before, {"Sequence": {"id": letter, "type_id": kind}}, *after]

    special = {
        token: {"id": token, "ids": [vocabulary.ids[name]], "tokens": [token]}
        for name, token in tokens.items()
    }
    return {
        "type": "TemplateProcessing",
        "single": sequence("A", 0),
        "pair": sequence("A", 0) + sequence("B", 1),
        "special_tokens": special,
    }


def _tokenizer_config(vocabulary: Vocabulary) -> dict[str, Any]:
    named = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    texts = {f"{short}_token": vocabulary.named(name) for short, name in named.items()}
    return {"tokenizer_class": "PreTrainedTokenizerFast", **texts}


def _generation_config(metadata: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    sampling = {
        field: metadata[f"general.sampling.{name}"]
        for name, field in _SAMPLING.items()
        if f"general.sampling.{name}" in metadata
    }
    return {"eos_token_id": vocabulary.ends, **sampling}


def _write_templates(folder: Path, metadata: Mapping[str, Any]) -> None:
    for key, template in metadata.items():
        if not key.startswith(_TEMPLATE) or not isinstance(template, str):
            continue
        name = key.removeprefix(_TEMPLATE).removeprefix(".")
        if key == _TEMPLATE:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        elif _PLAIN_NAME.fullmatch(name):
            more = folder / "additional_chat_templates"
            more.mkdir(exist_ok=True)
            (more / f"{name}.jinja").write_text(template, encoding="utf-8")
