"""Training steps: conversations of one step, in batches of like length."""

from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from demo.text.conversation import Conversation, conversation
from demo.text.drills import drill, late_drill
from demo.tokenizer import encode

_PADDED_TOKENS_PER_BATCH = 1024
NUM_CONVERSATIONS = 14
"""How many conversations a step draws."""
NUM_DRILLS = 22
"""How many exercises a step draws."""
LATE = 1500
"""The step from which the exercises are those for a model that knows the rest."""
MAX_TOKENS = 2200
"""How long a conversation may be: a count from 1 to 1000 fits, with its request."""


@dataclass(frozen=True)
class Batch:
    """Conversations side by side, padded at the end.

    `tokens`: int64 [rows, length]; `chosen`: bool [rows, length], true where the next token is to be learned;
    `targets`: int64 [number of true places], those next tokens.
    """

    tokens: Tensor
    chosen: Tensor
    targets: Tensor


def _draw(rng: Random, tokenizer: Tokenizer) -> tuple[list[int], list[bool]]:
    """A conversation that is not too long."""
    while True:
        tokens, learned = encode(tokenizer, conversation(rng))
        if len(tokens) <= MAX_TOKENS:
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
    drawn = [_draw(rng, tokenizer) for _ in range(NUM_CONVERSATIONS)]
    exercise = late_drill if step >= LATE else drill
    exercises = (Conversation(None, (exercise(rng),)) for _ in range(NUM_DRILLS))
    drawn += [encode(tokenizer, exercise) for exercise in exercises]
    drawn.sort(key=lambda pair: len(pair[0]))
    batches: list[Batch] = []
    rows: list[tuple[list[int], list[bool]]] = []
    for pair in drawn:
        if rows and (len(rows) + 1) * len(pair[0]) > _PADDED_TOKENS_PER_BATCH:
            batches.append(_batch(rows))
            rows = []
        rows.append(pair)
    return [*batches, _batch(rows)]
