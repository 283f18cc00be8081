"""Training steps: conversations of one step, in batches of like length."""

from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from demo.text.conversation import conversation
from demo.tokenizer import MAX_POSITIONS, encode

_CONVERSATIONS_PER_STEP = 24
_PADDED_TOKENS_PER_BATCH = 2048
_SHORT_STEPS = 500
"""For so many steps the model learns what follows what, on short texts; then also to keep on for long."""
_SHORT_TOKENS, _USUAL_TOKENS = 400, 2300
_LONGER_IS_KEPT = 0.25


@dataclass(frozen=True)
class Batch:
    """Conversations side by side, padded at the end.

    `tokens`: int64 [rows, length]; `chosen`: bool [rows, length], true where the next token is to be learned;
    `targets`: int64 [number of true places], those next tokens.
    """

    tokens: Tensor
    chosen: Tensor
    targets: Tensor


def _draw(rng: Random, tokenizer: Tokenizer, step: int) -> tuple[list[int], list[bool]]:
    """A conversation not too long for the step; one in four of the very long is let through later."""
    while True:
        tokens, learned = encode(tokenizer, conversation(rng))
        if len(tokens) <= (_SHORT_TOKENS if step < _SHORT_STEPS else _USUAL_TOKENS):
            return tokens, learned
        if step >= _SHORT_STEPS and len(tokens) <= MAX_POSITIONS and rng.random() < _LONGER_IS_KEPT:
            return tokens, learned


def _batch(rows: list[tuple[list[int], list[bool]]]) -> Batch:
    length = max(len(tokens) for tokens, _ in rows) - 1
    tokens = torch.zeros(len(rows), length, dtype=torch.int64)
    following = torch.zeros(len(rows), length, dtype=torch.int64)
    chosen = torch.zeros(len(rows), length, dtype=torch.bool)
    for row, (ids, learned) in enumerate(rows):
        size = len(ids) - 1
        tokens[row, :size] = torch.tensor(ids[:-1])
        following[row, :size] = torch.tensor(ids[1:])
        chosen[row, :size] = torch.tensor(learned[1:])
    return Batch(tokens, chosen, following[chosen])


def step_batches(tokenizer: Tokenizer, seed: int, step: int) -> list[Batch]:
    """The batches whose gradients one optimizer step adds up; they depend on the seed and the step alone."""
    rng = Random(f"step {seed} {step}")
    drawn = [_draw(rng, tokenizer, step) for _ in range(_CONVERSATIONS_PER_STEP)]
    drawn.sort(key=lambda pair: len(pair[0]))
    batches: list[Batch] = []
    rows: list[tuple[list[int], list[bool]]] = []
    for pair in drawn:
        if rows and (len(rows) + 1) * len(pair[0]) > _PADDED_TOKENS_PER_BATCH:
            batches.append(_batch(rows))
            rows = []
        rows.append(pair)
    return [*batches, _batch(rows)]
