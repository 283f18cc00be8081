"""Drives a runner as the engine does, but in plain Python: writes the columns of one step and keeps
the block tables.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from streamcore.kernels import KvGroup, LayerCache, PagedSequences
from streamcore.models import load as load_module
from streamcore.models.folder import check_model_folder
from streamcore.models.load import load_model
from streamcore.models.model import Model
from streamcore.models.precision import Precision, precision_of
from streamcore.runner.memory import allocate_kv_cache

CPU = torch.device("cpu")
BLOCK_SIZE = 4
NUM_BLOCKS = 160


@dataclass
class RunningSequence:
    """A sequence under test: its tokens, its blocks and how many tokens are in the cache."""

    tokens: list[int]
    blocks: list[int] = field(default_factory=list)
    num_computed: int = 0


@dataclass
class PagedModel:
    """A model with a small cache whose free blocks are handed out in a shuffled order."""

    model: Model
    caches: Sequence[LayerCache]
    free_blocks: list[int]

    def forward(self, step: Sequence[tuple[RunningSequence, int]]) -> Tensor:
        """Computes some tokens of each sequence; float32 [sequences, vocab], the logits after the
        last of each.
        """
        token_ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        starts = [0]
        for sequence, count in step:
            end = sequence.num_computed + count
            while len(sequence.blocks) * BLOCK_SIZE < end:
                sequence.blocks.append(self.free_blocks.pop())
            span = range(sequence.num_computed, end)
            token_ids += sequence.tokens[span.start : span.stop]
            positions += span
            slots += [sequence.blocks[p // BLOCK_SIZE] * BLOCK_SIZE + p % BLOCK_SIZE for p in span]
            starts.append(len(token_ids))
            sequence.num_computed = end
        stride = max(len(sequence.blocks) for sequence, _ in step)
        tables = [sequence.blocks + [0] * (stride - len(sequence.blocks)) for sequence, _ in step]
        lens = [sequence.num_computed for sequence, _ in step]
        rows = torch.arange(len(step), dtype=torch.int32)
        sequences = PagedSequences(_int32(tables), rows, _int32(lens), _int32(starts))
        kv = [KvGroup(self.caches, torch.tensor(slots), sequences)]
        with torch.inference_mode():
            last = _int32(starts[1:]) - 1
            hidden = self.model.forward(_int32(token_ids), _int32(positions), kv, last)
            return self.model.logits(hidden).clone()

    def generate(
        self, sequences: Sequence[RunningSequence], num_tokens: int, chunk: int = 1 << 30
    ) -> list[list[int]]:
        """Greedy tokens of all sequences, batched; a step computes at most `chunk`
        tokens of each.
        """
        generated: list[list[int]] = [[] for _ in sequences]
        while any(len(tokens) < num_tokens for tokens in generated):
            running = [i for i, tokens in enumerate(generated) if len(tokens) < num_tokens]
            step = [(s := sequences[i], min(chunk, len(s.tokens) - s.num_computed)) for i in running]
            for i, token in zip(running, self.forward(step).argmax(dim=-1).tolist(), strict=True):
                if sequences[i].num_computed == len(sequences[i].tokens):
                    sequences[i].tokens.append(token)
                    generated[i].append(token)
        return generated


def load_paged(
    path: Path,
    dtype: torch.dtype = torch.float32,
    max_model_len: int = 256,
    *,
    widens: bool = False,
    **options: Any,
) -> PagedModel:
    """Loads a folder as the server does.

    Args:
        widens: whether matrices in few bits are widened where they could be multiplied with as they
            are.
    """
    folder = check_model_folder(path)
    with pytest.MonkeyPatch.context() as patch:
        if widens:
            patch.setattr(load_module, "precision_of", _widening)
        model = load_model(folder, CPU, dtype, **options)
    model.prepare(max_model_len)
    caches = allocate_kv_cache(model, block_size=BLOCK_SIZE, num_blocks=NUM_BLOCKS)
    blocks = list(range(NUM_BLOCKS))
    random.Random(0).shuffle(blocks)
    return PagedModel(model, caches, blocks)


def _widening(*arguments: Any) -> Precision:
    return replace(precision_of(*arguments), keeps=frozenset())


def random_prompt(length: int, seed: int = 0, vocab_size: int = 256) -> list[int]:
    """Token ids."""
    generator = random.Random(seed)
    return [generator.randrange(vocab_size) for _ in range(length)]


def _int32(values: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)
