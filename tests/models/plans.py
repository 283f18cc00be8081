"""Step plans written by hand, for tests of the runner without the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from streamcore.runner.step_inputs import StepBuffers


@dataclass(frozen=True)
class Plan:
    """A step plan as the engine hands it out."""

    num_tokens: int
    num_seqs: int
    num_samples: int
    block_table_stride: int
    max_query_len: int
    max_context_len: int
    num_device_tokens: int = 0
    id: int = 0


def step_columns(
    max_num_batched_tokens: int, max_num_seqs: int, max_blocks_per_seq: int
) -> list[tuple[str, str, int]]:
    """The columns of an engine with these limits, in its order."""
    tokens, seqs = max_num_batched_tokens, max_num_seqs
    return [
        ("token_ids", "int32", tokens),
        ("positions", "int32", tokens),
        ("slot_mapping", "int64", tokens),
        ("query_starts", "int32", seqs + 1),
        ("context_lens", "int32", seqs),
        ("block_tables", "int32", seqs * max_blocks_per_seq),
        ("logits_indices", "int32", seqs),
        ("sample_rows", "int32", seqs),
        ("temperature", "float32", seqs),
        ("top_p", "float32", seqs),
        ("top_k", "int32", seqs),
        ("uniform", "float32", seqs),
        ("device_token_indices", "int32", seqs),
        ("device_token_rows", "int32", seqs),
    ]


def write(buffers: StepBuffers, columns: Mapping[str, Sequence[float]]) -> None:
    """Writes the beginning of some columns."""
    for name, values in columns.items():
        column = buffers.column(name)
        column[: len(values)] = torch.tensor(values, dtype=column.dtype)
