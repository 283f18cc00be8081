"""Rotary tables against `transformers`, far into the context."""

from typing import Any

import pytest
import torch
from tests.checkpoints import LLAMA_3_1_8B
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from streamcore.layers.rotary_table import _ROWS_AT_ONCE, cos_sin_table
from streamcore.models.opening import open_config

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
LLAMA3 = LLAMA_3_1_8B["rope_scaling"]

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {"rope_scaling": None},
    "linear": {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    "dynamic": {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
    "dynamic beyond": {
        "rope_scaling": {"rope_type": "dynamic", "factor": 2.0},
        "max_position_embeddings": 4096,
    },
    "llama3 8B": {},
    "llama3 3.2": {"rope_scaling": {**LLAMA3, "factor": 32.0}, "head_dim": 64},
    "yarn": {"rope_scaling": YARN},
    "yarn kept above": {"rope_scaling": {**YARN, "beta_fast": 64, "beta_slow": 4, "truncate": False}},
    "yarn factor": {"rope_scaling": {**YARN, "attention_factor": 0.75}},
    "yarn mscale": {"rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5}},
    "yarn short": {"rope_scaling": {**YARN, "original_max_position_embeddings": 128}, "rope_theta": 10000.0},
    "yarn step": {"rope_scaling": {**YARN, "beta_fast": 1e-9, "beta_slow": 1e-9}, "rope_theta": 10000.0},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_tables_equal_the_reference(name: str) -> None:
    """A model that was stretched to a long context falls apart there when a frequency is slightly
    off.
    """
    fields = {key: value for key, value in {**LLAMA_3_1_8B, **VARIANTS[name]}.items() if value is not None}
    config = open_config(fields)[1]
    max_len = 20000
    positions = torch.tensor([*range(64), 4095, 8191, 8192, max_len - 1])
    table = cos_sin_table(config.rope, config.head_dim, max_len)
    assert table.shape == (max_len, config.head_dim)
    cos, sin = LlamaRotaryEmbedding(LlamaConfig(**fields))(torch.zeros(1), positions[None])
    half = config.head_dim // 2
    expected = torch.cat((cos[0, :, :half], sin[0, :, :half]), dim=-1)
    # A frequency rounded to float32 is off by 1e-7 of itself, an angle by that times the position.
    torch.testing.assert_close(table[positions], expected, atol=5e-3, rtol=0)
    torch.testing.assert_close(table[:64], expected[:64], atol=2e-5, rtol=0)


def test_making_a_table_takes_no_more_memory_than_it_does() -> None:
    """A model of ten million positions once needed several times its table to start."""
    sizes: dict[int, int] = {}
    kept: list[torch.Tensor] = []

    def note(_mode: object, function: Any, _types: object, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            kept.append(made)
            sizes[made.untyped_storage().data_ptr()] = made.untyped_storage().nbytes()
        return made

    with type("Notes", (TorchDispatchMode,), {"__torch_dispatch__": note})():
        table = cos_sin_table(open_config(LLAMA_3_1_8B)[1].rope, 128, 20 * _ROWS_AT_ONCE)
    pieces = sorted(sizes.values())
    assert pieces.pop() == table.nbytes
    assert pieces.pop() <= table.nbytes // 20
