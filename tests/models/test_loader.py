"""Weights from files into stacked parameters."""

import io
from pathlib import Path

import pytest
import torch
from tests.checkpoints import TINY, random_weights, write_checkpoint
from tests.models.steps import CPU, RunningSequence, load_paged, random_prompt
from torch import Tensor

from streamcore import kernels
from streamcore.config import ServeConfig
from streamcore.errors import ConfigError, ModelLoadError
from streamcore.layers.decoder import DecoderLayer
from streamcore.layers.linear import Linear
from streamcore.layers.mlp import GatedMlp
from streamcore.models.folder import check_model_folder
from streamcore.models.load import load_model
from streamcore.models.model import Model
from streamcore.models.precision import precision_of
from streamcore.models.progress import terminal_progress
from streamcore.runner.load import load_runner


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Model:
    """The model of a folder."""
    return load_model(check_model_folder(folder), CPU, dtype)


def products(linear: Linear) -> Tensor:
    """What a linear layer makes of each unit vector: its weight, transposed, and the bias added to
    every row.
    """
    out = torch.empty(linear.weight.num_inputs, linear.weight.num_outputs)
    kernels.ops_for(CPU).linear(out, torch.eye(linear.weight.num_inputs), linear.weight, linear.bias)
    return out


def test_projections_are_stacked_in_order(tmp_path: Path) -> None:
    """Rows in another order would be another model that still runs."""
    decoder = load(write_checkpoint(tmp_path, attention_bias=True, mlp_bias=True)).decoder
    weights = random_weights({**TINY, "attention_bias": True, "mlp_bias": True})
    layer = decoder.layers[1]
    assert isinstance(layer, DecoderLayer)
    assert isinstance(layer.mlp, GatedMlp)

    def stacked(prefix: str, names: str) -> Tensor:
        weight, bias = (
            torch.cat([weights[f"model.layers.1.{prefix}.{name}.{kind}"] for name in names.split()])
            for kind in ("weight", "bias")
        )
        return weight.t() + bias

    assert torch.equal(products(layer.attention.qkv), stacked("self_attn", "q_proj k_proj v_proj"))
    assert torch.equal(products(layer.mlp.gate_up), stacked("mlp", "gate_proj up_proj"))
    assert torch.equal(products(decoder.head), weights["lm_head.weight"].t())


def test_shards_load_as_one_file_does(tmp_path: Path) -> None:
    """How the weights were cut into files says nothing about the model."""
    prompt = random_prompt(9)
    folders = [write_checkpoint(tmp_path / str(num_shards), num_shards=num_shards) for num_shards in (1, 4)]
    single, sharded = (load_paged(folder).forward([(RunningSequence(prompt), 9)]) for folder in folders)
    assert torch.equal(single, sharded)


def test_weights_are_converted(tmp_path: Path) -> None:
    """A bfloat16 checkpoint that runs in float32 must keep its numbers exactly."""
    decoder = load(write_checkpoint(tmp_path, torch_dtype="bfloat16")).decoder
    expected = random_weights({**TINY, "torch_dtype": "bfloat16"})["model.norm.weight"]
    assert decoder.norm.weight.dtype == torch.float32
    assert torch.equal(decoder.norm.weight, expected.float())


def test_a_cache_in_eight_bits_is_half_of_one_in_sixteen(tmp_path: Path) -> None:
    """An operator asks for it to get twice the context in the same memory."""
    folder = check_model_folder(write_checkpoint(tmp_path, max_position_embeddings=2**31 - 1))
    context_lens = []
    for kv_cache_dtype in ("auto", "fp8"):
        config = ServeConfig(dtype="bfloat16", kv_cache_dtype=kv_cache_dtype, kv_cache_memory_bytes=1 << 20)
        context_lens.append(load_runner(config, folder).engine_config.max_seq_len)
    assert context_lens[1] == 2 * context_lens[0]


def test_a_cache_that_no_kernel_reads_is_refused(tmp_path: Path) -> None:
    """A cache of another type than asked for would be found out by the bill for memory."""
    folder = check_model_folder(write_checkpoint(tmp_path))
    with pytest.raises(
        ConfigError, match="`--kv-cache-dtype` is fp8, which needs the CPU's kernels, not cuda"
    ):
        precision_of(folder, torch.device("cuda"), torch.bfloat16, "fp8")


def test_a_file_that_vanishes_is_an_error_of_the_folder(tmp_path: Path) -> None:
    """Between the check and the load a folder may change: that is one message too, not
    a traceback.
    """
    folder = check_model_folder(write_checkpoint(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="cannot be read"):
        load_model(folder, CPU, torch.float32)


def test_a_context_that_the_cache_cannot_hold_takes_no_memory(tmp_path: Path) -> None:
    """A model that names two billion positions must start in a small cache: rotary table and block
    tables end with it.
    """
    folder = write_checkpoint(tmp_path, max_position_embeddings=2**31 - 1)
    config = ServeConfig(kv_cache_memory_bytes=1 << 20)
    loaded = load_runner(config, check_model_folder(folder))
    assert loaded.engine_config.max_seq_len == 2048
    assert loaded.runner._model.max_len == 2048
    assert loaded.runner._rows.block_tables.shape[1] == 128


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    """Loading takes minutes for large models: a person should see it move, a log file should stay
    empty.
    """
    assert terminal_progress(io.StringIO()) is None
    terminal = _Terminal()
    load_model(
        check_model_folder(write_checkpoint(tmp_path)), CPU, torch.float32, terminal_progress(terminal)
    )
    lines = terminal.getvalue().split("\r")
    assert lines[-1] == "loading weights 100 % of 0.00 GB\n"
    assert len(lines) > 3
