"""Weights from files into stacked parameters."""

import io
from pathlib import Path

import pytest
import torch
from tests.checkpoints import TINY, random_weights, write_checkpoint
from tests.models.steps import CPU
from torch import Tensor

from streamcore.config import ServeConfig
from streamcore.errors import ModelLoadError
from streamcore.models.folder import check_model_folder
from streamcore.models.loader import load_parameters
from streamcore.models.progress import terminal_progress
from streamcore.runner.launch import load_runner


def load(folder: Path, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The parameters of a folder."""
    return load_parameters(check_model_folder(folder), CPU, dtype)


def test_projections_are_stacked_in_order(tmp_path: Path) -> None:
    """Rows in another order would be another model that still runs."""
    parameters = load(write_checkpoint(tmp_path, attention_bias=True, mlp_bias=True))
    weights = random_weights({**TINY, "attention_bias": True, "mlp_bias": True})

    def stacked(prefix: str, names: str, kind: str) -> Tensor:
        return torch.cat([weights[f"model.layers.1.{prefix}.{name}.{kind}"] for name in names.split()])

    for kind in ("weight", "bias"):
        qkv = stacked("self_attn", "q_proj k_proj v_proj", kind)
        assert torch.equal(parameters[f"layers.1.qkv.{kind}"], qkv)
        gate_up = stacked("mlp", "gate_proj up_proj", kind)
        assert torch.equal(parameters[f"layers.1.gate_up.{kind}"], gate_up)
    assert torch.equal(parameters["lm_head.weight"], weights["lm_head.weight"])


def test_shards_load_as_one_file_does(tmp_path: Path) -> None:
    """How the weights were cut into files says nothing about the model."""
    single = load(write_checkpoint(tmp_path / "single"))
    sharded = load(write_checkpoint(tmp_path / "sharded", num_shards=4))
    assert single.keys() == sharded.keys()
    assert all(torch.equal(single[name], sharded[name]) for name in single)


def test_weights_are_converted(tmp_path: Path) -> None:
    """A bfloat16 checkpoint that runs in float32 must keep its numbers exactly."""
    parameters = load(write_checkpoint(tmp_path, torch_dtype="bfloat16"))
    expected = random_weights({**TINY, "torch_dtype": "bfloat16"})["model.norm.weight"]
    assert parameters["norm.weight"].dtype == torch.float32
    assert torch.equal(parameters["norm.weight"], expected.float())


def test_a_file_that_vanishes_is_an_error_of_the_folder(tmp_path: Path) -> None:
    """Between the check and the load a folder may change: that is one message too, not a traceback."""
    folder = check_model_folder(write_checkpoint(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="cannot be read"):
        load_parameters(folder, CPU, torch.float32)


def test_a_context_that_the_cache_cannot_hold_takes_no_memory(tmp_path: Path) -> None:
    """A model that names two billion positions must start in a small cache: rotary table and block tables end with it."""
    folder = write_checkpoint(tmp_path, max_position_embeddings=2**31 - 1)
    config = ServeConfig(kv_cache_memory_bytes=1 << 20)
    engine_config, runner = load_runner(config, check_model_folder(folder))
    assert engine_config.max_seq_len == 2048
    assert runner._model.max_len == 2048
    assert runner._rows.block_tables.shape[1] == 128


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    """Loading takes minutes for large models: a person should see it move, a log file should stay empty."""
    assert terminal_progress(io.StringIO()) is None
    terminal = _Terminal()
    load_parameters(
        check_model_folder(write_checkpoint(tmp_path)), CPU, torch.float32, terminal_progress(terminal)
    )
    lines = terminal.getvalue().split("\r")
    assert lines[-1] == "loading weights 100 % of 0.00 GB\n"
    assert len(lines) > 3
