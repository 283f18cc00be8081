"""Step plans written by hand, for tests of the runner without the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from streamcore import _core
from streamcore.runner.step_inputs import StepBuffers


@dataclass(frozen=True)
class Plan:
    """A step plan as the engine hands it out."""

    num_tokens: int
    num_seqs: int
    num_samples: int
    num_padding: int = 0
    num_block_updates: int = 0
    num_new_rows: int = 0
    num_device_tokens: int = 0
    id: int = 0
    num_counted_tokens: int = 0
    num_penalised_samples: int = 0
    num_masked_samples: int = 0
    num_biases: int = 0
    num_scored_samples: int = 0
    num_scored_tokens: int = 0
    max_top_logprobs: int = 0


def step_columns(
    max_num_batched_tokens: int, max_num_seqs: int, max_blocks_per_seq: int, num_mask_words: int = 4
) -> list[tuple[str, str, int]]:
    """The columns of an engine with these limits."""
    return _core.EngineConfig(
        block_size=1,
        num_blocks=max_blocks_per_seq,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        max_model_len=max_blocks_per_seq,
        num_mask_words=num_mask_words,
    ).step_columns()


def write(buffers: StepBuffers, columns: Mapping[str, Sequence[float]]) -> None:
    """Writes the beginning of some columns."""
    for name, values in columns.items():
        column = buffers.column(name)
        column[: len(values)] = torch.tensor(values, dtype=column.dtype)
