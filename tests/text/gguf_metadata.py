"""What a converter writes of a tokenizer.json into a GGUF file: every id has a text and a kind, and
flags of single tokens are lost.
"""

from collections.abc import Mapping
from typing import Any

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def byte_level_metadata(tokenizer: Mapping[str, Any], pre: str, num_rows: int = 0) -> dict[str, Any]:
    """The entries of a byte-level tokenizer, for an embedding of at least `num_rows` rows."""
    merges = tokenizer["model"]["merges"]
    tokens, kinds = _tokens(tokenizer, num_rows)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in merges],
    }


def sentence_piece_metadata(
    tokenizer: Mapping[str, Any], scores: Mapping[str, float], ids: Mapping[str, int]
) -> dict[str, Any]:
    """The entries of a SentencePiece tokenizer; `scores` has those of its tokens, `ids` of its bos,
    eos and unknown tokens.
    """
    tokens, kinds = _tokens(tokenizer, 0)
    kinds[ids["unknown"]] = UNKNOWN
    for index, token in enumerate(tokens):
        if len(token) == 6 and token.startswith("<0x"):
            kinds[index] = BYTE
        if kinds[index] == USER_DEFINED:
            tokens[index] = token.replace("▁", " ")
    known = [
        scores.get(token, -1e9) if kind == NORMAL else -1000.0
        for token, kind in zip(tokens, kinds, strict=True)
    ]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.scores": known,
        **{f"tokenizer.ggml.{name}_token_id": index for name, index in ids.items()},
    }


def _tokens(tokenizer: Mapping[str, Any], num_rows: int) -> tuple[list[str], list[int]]:
    by_id = {index: (token, NORMAL) for token, index in tokenizer["model"]["vocab"].items()}
    for added in tokenizer["added_tokens"]:
        by_id[added["id"]] = (added["content"], CONTROL if added["special"] else USER_DEFINED)
    length = max(num_rows, max(by_id) + 1)
    pairs = [by_id.get(index, (f"[PAD{index}]", UNUSED)) for index in range(length)]
    return [token for token, _ in pairs], [kind for _, kind in pairs]


def scores_by_merges(tokenizer: Mapping[str, Any]) -> dict[str, float]:
    """Scores that give the same merges: a token that is made earlier has a higher one."""
    scores: dict[str, float] = {}
    for rank, pair in enumerate(tokenizer["model"]["merges"]):
        token = pair.replace(" ", "") if isinstance(pair, str) else "".join(pair)
        scores.setdefault(token, -float(rank))
    return scores
