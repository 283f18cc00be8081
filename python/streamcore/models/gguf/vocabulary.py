"""Reads the vocabulary of a GGUF file: its tokens, what each is, and those that have a use."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamcore.models.fields import Fields, shown
from streamcore.models.gguf.byte_level import PRE_TOKENIZERS

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
_KINDS = range(7)

BYTE_LEVEL, SENTENCE_PIECE = "gpt2", "llama"
_MODELS = (BYTE_LEVEL, SENTENCE_PIECE)
_PREFIX = "tokenizer.ggml."
_NAMED = ("bos", "eos", "eot", "eom", "unknown", "padding")
# What files of SentencePiece models may leave out.
_SENTENCE_PIECE_IDS = {"unknown": 0, "bos": 1, "eos": 2}

_ENDS = (
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
)
"""Tokens with which models end a turn. Files name one end, where generation_config.json had
several.
"""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a model."""

    model: str
    """`BYTE_LEVEL` or `SENTENCE_PIECE`."""
    pre_tokenizer: str
    """How text is cut before it is merged, by a name; only for `BYTE_LEVEL`."""
    tokens: list[str]
    kinds: list[int]
    scores: list[float]
    """For `SENTENCE_PIECE`: what is merged first."""
    merges: list[tuple[str, str]]
    """For `BYTE_LEVEL`."""
    ids: Mapping[str, int]
    """Tokens that have a use: `bos`, `eos`, `eot`, `eom`, `unknown`, `padding`."""
    adds_bos: bool
    adds_eos: bool
    adds_space: bool
    """Whether a text begins with a space that it does not have."""

    def named(self, name: str) -> str | None:
        """The text of a token that has a use."""
        index = self.ids.get(name)
        return None if index is None else self.tokens[index]

    @property
    def used(self) -> dict[str, int]:
        """The tokens that a text can have, with their ids: places that nothing was put in are left
        out.
        """
        tokens = zip(self.tokens, self.kinds, strict=True)
        return {token: index for index, (token, kind) in enumerate(tokens) if kind != UNUSED and token}

    @property
    def ends(self) -> list[int]:
        """Ids of the tokens that end an answer."""
        ids = [self.ids[name] for name in ("eos", "eot", "eom") if name in self.ids]
        kinds = (CONTROL, USER_DEFINED)
        added = {token: index for token, index in self.used.items() if self.kinds[index] in kinds}
        # In harmony, gpt-oss's format, this one ends a message, and more may follow.
        if {"<|return|>", "<|call|>"} <= added.keys():
            added.pop("<|end|>", None)
        return list(dict.fromkeys([*ids, *(added[end] for end in _ENDS if end in added)]))


def read_vocabulary(metadata: Mapping[str, Any], num_rows: int, problems: list[str]) -> Vocabulary | None:
    """Reads the vocabulary.

    Args:
        metadata: of the file.
        num_rows: of the embedding.
        problems: gets everything that is wrong; then there is no vocabulary.
    """
    fields = Fields(metadata)
    model = metadata.get(f"{_PREFIX}model")
    if model is None and f"{_PREFIX}tokens" not in metadata:
        problems.append("it holds no tokenizer")
        return None
    if model not in _MODELS:
        fields.refuse(f"{_PREFIX}model", model, f"supported are {', '.join(_MODELS)}")
    pre = metadata.get(f"{_PREFIX}pre", "default")
    if model == BYTE_LEVEL and (not isinstance(pre, str) or pre not in PRE_TOKENIZERS):
        fields.refuse(f"{_PREFIX}pre", pre, f"supported are {', '.join(PRE_TOKENIZERS)}")
    if model == SENTENCE_PIECE and metadata.get(f"{_PREFIX}remove_extra_whitespaces"):
        fields.refuse(f"{_PREFIX}remove_extra_whitespaces", True, "texts are read as they are")
    tokens = _tokens(fields, num_rows)
    kinds = _numbers(fields, "token_type", len(tokens), NORMAL)
    if unknown := set(kinds) - set(_KINDS):
        fields.refuse(f"{_PREFIX}token_type", unknown.pop(), "it must be a number from 1 to 6")
    is_pieces = model == SENTENCE_PIECE
    if is_pieces and f"{_PREFIX}scores" not in metadata:
        fields.problems.append(f"has no `{_PREFIX}scores`")
    ids = _ids(fields, tokens, _SENTENCE_PIECE_IDS if is_pieces else {})
    if f"{_PREFIX}token_type" not in metadata:
        kinds = [CONTROL if index in ids.values() else NORMAL for index in range(len(tokens))]
    vocabulary = Vocabulary(
        str(model),
        str(pre),
        tokens,
        kinds,
        _numbers(fields, "scores", len(tokens), 0.0),
        [] if is_pieces else _merges(fields, tokens),
        ids,
        fields.boolean(f"{_PREFIX}add_bos_token", is_pieces or _adds_bos(pre)),
        fields.boolean(f"{_PREFIX}add_eos_token", False),
        is_pieces and fields.boolean(f"{_PREFIX}add_space_prefix", True),
    )
    for flag, name in ((vocabulary.adds_bos, "bos"), (vocabulary.adds_eos, "eos")):
        if flag and name not in ids:
            fields.problems.append(f"has no `{_PREFIX}{name}_token_id`, which each text is to get")
    problems += [f"its tokenizer {problem}" for problem in fields.problems]
    return vocabulary


def _adds_bos(pre: object) -> bool:
    """Whether texts begin with a token of their own where the file does not say."""
    pre_tokenizer = PRE_TOKENIZERS.get(pre) if isinstance(pre, str) else None
    return pre_tokenizer is not None and pre_tokenizer.adds_bos


def _tokens(fields: Fields, num_rows: int) -> list[str]:
    name = f"{_PREFIX}tokens"
    tokens = fields.raw.get(name)
    if not isinstance(tokens, list) or not any(tokens) or not all(isinstance(t, str) for t in tokens):
        fields.refuse(name, tokens, "it must be a list of texts")
        return []
    if len(tokens) > num_rows:
        fields.problems.append(f"has {len(tokens)} tokens, `token_embd.weight` has {num_rows} rows")
    # Places without a token have none; any number of them may be so.
    token, count = Counter(token for token in tokens if token).most_common(1)[0]
    if count > 1:
        fields.problems.append(f"has the token {shown(token)} {count} times")
    return tokens


def _numbers(fields: Fields, name: str, count: int, default: Any) -> list[Any]:
    """A list with a number for each token."""
    values = fields.raw.get(_PREFIX + name)
    if values is None:
        return [default] * count
    numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    if not numbers or len(values) != count:
        length = len(values) if isinstance(values, list) else shown(values)
        fields.problems.append(
            f"has `{_PREFIX}{name}` of {length}, it must have a number for each of {count} tokens"
        )
        return [default] * count
    return list(values)


def _ids(fields: Fields, tokens: list[str], default: Mapping[str, int]) -> dict[str, int]:
    ids = {}
    for name in _NAMED:
        key = f"{_PREFIX}{name}_token_id"
        index = fields.raw.get(key, default.get(name))
        if index is None:
            continue
        if type(index) is not int or not 0 <= index < len(tokens):
            fields.refuse(key, index, f"it must be the number of one of {len(tokens)} tokens")
        else:
            ids[name] = index
    return ids


def _merges(fields: Fields, tokens: list[str]) -> list[tuple[str, str]]:
    name = f"{_PREFIX}merges"
    lines = fields.raw.get(name)
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        fields.refuse(name, lines, "it must be a list of texts")
        return []
    known = set(tokens)
    merges = []
    for line in lines:
        first, space, second = line.partition(" ")
        if not space or not {first, second, first + second} <= known:
            fields.refuse(name, line, "it must be two tokens that make a third")
            return []
        merges.append((first, second))
    return merges
