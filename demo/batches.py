"""Training steps: conversations of one step, in batches of like length."""

from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from demo.text.conversation import Conversation, conversation
from demo.text.counting import counting_from_one
from demo.text.drills import drill
from demo.tokenizer import MAX_POSITIONS, encode

_PADDED_TOKENS_PER_BATCH = 1024
_LONGER_IS_KEPT = 0.25


@dataclass(frozen=True)
class Stage:
    """A part of the training: where it begins, and what each of its steps consists of."""

    first_step: int
    num_conversations: int
    usual_tokens: int
    num_drills: int
    max_drill_items: int
    num_counts: int = 0


# First what follows what; then to take words and bounds from the request; last to keep on for long.
_STAGES = (
    Stage(0, 24, 400, 0, 0),
    Stage(500, 24, 200, 8, 8),
    Stage(800, 8, 200, 40, 24),
    Stage(1200, 12, 2300, 24, 12),
    Stage(1400, 12, 2300, 48, 12),
    Stage(1800, 12, 2300, 16, 12, 16),
)


@dataclass(frozen=True)
class Batch:
    """Conversations side by side, padded at the end.

    `tokens`: int64 [rows, length]; `chosen`: bool [rows, length], true where the next token is to be learned;
    `targets`: int64 [number of true places], those next tokens.
    """

    tokens: Tensor
    chosen: Tensor
    targets: Tensor


def _draw(rng: Random, tokenizer: Tokenizer, stage: Stage) -> tuple[list[int], list[bool]]:
    """A conversation that is not too long for the stage; in the last, a few may fill the model's context."""
    while True:
        tokens, learned = encode(tokenizer, conversation(rng))
        if len(tokens) <= stage.usual_tokens:
            return tokens, learned
        if stage is _STAGES[-1] and len(tokens) <= MAX_POSITIONS and rng.random() < _LONGER_IS_KEPT:
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
    stage = [stage for stage in _STAGES if stage.first_step <= step][-1]
    drawn = [_draw(rng, tokenizer, stage) for _ in range(stage.num_conversations)]
    drills = (Conversation(None, (drill(rng, stage.max_drill_items),)) for _ in range(stage.num_drills))
    counts = (Conversation(None, (counting_from_one(rng),)) for _ in range(stage.num_counts))
    drawn += [encode(tokenizer, exercise) for exercise in (*drills, *counts)]
    drawn.sort(key=lambda pair: len(pair[0]))
    batches: list[Batch] = []
    rows: list[tuple[list[int], list[bool]]] = []
    for pair in drawn:
        if rows and (len(rows) + 1) * len(pair[0]) > _PADDED_TOKENS_PER_BATCH:
            batches.append(_batch(rows))
            rows = []
        rows.append(pair)
    return [*batches, _batch(rows)]
