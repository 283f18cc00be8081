"""How byte-level tokenizers cut text before they merge, by the names that llama.cpp has for that.

A name stands here only if the tokenizer of the models that have it is known; a guess would give
prompts that the model was not trained with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_MARKS_AND_SPACES = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+"
_LLAMA3 = rf"{_WORDS}|\p{{N}}{{1,3}}|{_MARKS_AND_SPACES}"
_QWEN2 = rf"{_WORDS}|\p{{N}}|{_MARKS_AND_SPACES}"

_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_MARKS_AND_PATHS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _cased(end: str, digits: str) -> str:
    """Words that begin where small letters are followed by large ones."""
    words = (f"{_UPPER}*{_LOWER}+", f"{_UPPER}+{_LOWER}*")
    alternatives = [rf"[^\r\n\p{{L}}\p{{N}}]?{word}{end}" for word in words]
    return "|".join([*alternatives, digits, _MARKS_AND_PATHS])


_GPT4O = _cased(f"{_CONTRACTIONS}?", r"\p{N}{1,3}")
_TEKKEN = _cased("", r"\p{N}")


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """How text is cut."""

    pattern: str | None = None
    """What a piece is; None for GPT-2's pieces."""
    has_single_digits: bool = False
    """Whether each digit is a piece, before GPT-2's pieces are cut."""
    is_composed: bool = False
    """Whether letters and their accents are put together first (NFC)."""
    takes_whole_words: bool = False
    """Whether a piece that is a token is one, however its merges lead elsewhere."""
    adds_bos: bool = False
    """Whether texts begin with a token of their own, where the file does not say."""

    def normalizer(self) -> dict[str, Any] | None:
        """That of tokenizer.json."""
        return {"type": "NFC"} if self.is_composed else None

    def steps(self) -> dict[str, Any]:
        """The `pre_tokenizer` of tokenizer.json."""
        steps: list[dict[str, Any]] = []
        if self.pattern is not None:
            pattern = {"Regex": self.pattern}
            steps.append({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False})
        elif self.has_single_digits:
            steps.append({"type": "Digits", "individual_digits": True})
        steps.append({**BYTES, "use_regex": self.pattern is None})
        return {"type": "Sequence", "pretokenizers": steps}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}

_OF_LLAMA3 = PreTokenizer(_LLAMA3, takes_whole_words=True, adds_bos=True)
_OF_QWEN2 = PreTokenizer(_QWEN2, is_composed=True)
_OF_STARCODER = PreTokenizer(has_single_digits=True)

PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    "llama-bpe": _OF_LLAMA3,
    "llama3": _OF_LLAMA3,
    "llama-v3": _OF_LLAMA3,
    "smaug-bpe": PreTokenizer(_LLAMA3, takes_whole_words=True),
    "dbrx": PreTokenizer(_LLAMA3),
    "qwen2": _OF_QWEN2,
    "deepseek-r1-qwen": _OF_QWEN2,
    "gpt-4o": PreTokenizer(_GPT4O, takes_whole_words=True),
    "tekken": PreTokenizer(_TEKKEN, takes_whole_words=True, adds_bos=True),
    "smollm": _OF_STARCODER,
    "starcoder": _OF_STARCODER,
    "refact": _OF_STARCODER,
    "gpt-2": PreTokenizer(),
}
"""By `tokenizer.ggml.pre`. Llama 3's own, its vocabulary without a first token (SmolLM3), OpenAI's
cl100k (OLMo 2, Phi-4), Qwen's, OpenAI's o200k (gpt-oss, Phi-4-mini), Mistral's, and those that cut
as GPT-2 does, with single digits (SmolLM2, Granite) or without.
"""
