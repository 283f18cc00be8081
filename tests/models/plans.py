"""Step plans written by hand, for tests of the runner without the engine."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor

from streamcore import _core

_SIZES = [name for name in _core.StepPlan.__dict__ if name.startswith(("num_", "max_"))]


def plan(**sizes: int) -> _core.StepPlan:
    """A step plan as the engine hands it out; sizes are 0 unless they are named."""
    assert sizes.keys() <= set(_SIZES)
    return cast(_core.StepPlan, SimpleNamespace(id=0, **(dict.fromkeys(_SIZES, 0) | sizes)))


def engine_config(
    max_num_batched_tokens: int,
    max_num_seqs: int,
    max_model_len: int,
    *,
    block_size: int = 1,
    num_blocks: int | None = None,
    num_mask_words: int = 0,
) -> _core.EngineConfig:
    """The limits of an engine; its cache holds one sequence unless it is named."""
    return _core.EngineConfig(
        block_size=block_size,
        num_blocks=num_blocks or -(-max_model_len // block_size),
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        num_mask_words=num_mask_words,
    )


def write(host: Mapping[str, Tensor], columns: Mapping[str, Sequence[float]]) -> None:
    """Writes the beginning of some columns."""
    for name, values in columns.items():
        column = host[name]
        column[: len(values)] = torch.tensor(values, dtype=column.dtype)
