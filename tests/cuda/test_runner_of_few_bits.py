"""Whole steps of models whose weights stay in few bits, with the emulator as the device."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.checkpoints import write_checkpoint
from tests.cuda.host_library import missing
from tests.cuda.test_runner import (
    MIXTURE,
    answers,
    asks,
    captured_answers,
    emulated,
    emulated_placement,
    model_of,
)
from tests.models.engine_loop import Answer, EngineLoop, load
from tests.models.family_checkpoints import write_reference
from tests.models.format_variants import MATRICES
from tests.models.quantised import Quantised, awq, compressed, fp8, quantise, scaled

from streamcore.models import precision
from streamcore.models.folder import check_model_folder
from streamcore.models.load import load_model
from streamcore.models.model import Model

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

_FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "modules_to_not_convert": ["lm_head"]}
_AWQ = {"quant_method": "awq", "bits": 4, "zero_point": True, "version": "gemm"}
FORMATS = {
    "fp8 blocks": Quantised({**_FP8, "weight_block_size": [128, 128]}, fp8((128, 128))),
    "fp8 rows": MATRICES["compressed fp8 rows"],
    "4 bits": Quantised({**_AWQ, "group_size": 32}, awq(32)),
    "8 bits": Quantised(
        compressed({"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}, "int-quantized"),
        scaled("int", "channel"),
    ),
}


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A model whose heads the attention kernels take, with several groups in a row of the MLP's last matrix."""
    sizes: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
    return write_checkpoint(tmp_path / "checkpoint", hidden_size=64, intermediate_size=160, **sizes)


def quantised(plain: Path, name: str) -> Path:
    return quantise(plain, plain.parent / "formats", FORMATS[name]) / "quantised"


def kept(folder: Path) -> Model:
    """The model as a device has it."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(precision, "_multiplies_groups", lambda *_: True)
        model = model_of(folder, emulated())
    assert model.sizes.grouped > 0
    return model


def assert_near(actual: list[Answer], expected: list[Answer]) -> None:
    """The first token of each has nearly the same log-probabilities: those after it may be others."""
    for ours, theirs in zip(actual, expected, strict=True):
        (logprob, likeliest), (wanted, wanted_likeliest) = ours.likelihoods[0], theirs.likelihoods[0]
        assert logprob == pytest.approx(wanted, abs=0.03)
        values, wanted_values = ([value for _, value in listed] for listed in (likeliest, wanted_likeliest))
        assert values == pytest.approx(wanted_values, abs=0.03)


@pytest.mark.parametrize("name", FORMATS)
def test_the_kernels_compute_what_the_cpu_does(plain: Path, name: str) -> None:
    """A folder must not be another model on a GPU than the one that its format describes, which the CPU computes."""
    folder = quantised(plain, name)
    asked = asks(logprobs=3)
    assert_near(answers(kept(folder), asked), answers(load(folder, 256), asked))


@pytest.mark.parametrize("name", FORMATS)
def test_every_way_to_run_steps_gives_the_same_tokens(plain: Path, name: str) -> None:
    """A recorded step has the addresses of weights, scales and forms in it: all of them must be those of this model when
    it is run again, with other rows, two in flight.
    """
    model = kept(quantised(plain, name))
    asked = asks(temperature=1.0, top_p=0.9, seed=7, logprobs=1)
    ways: list[tuple[dict[str, Any], bool]] = [
        ({"max_num_batched_tokens": 8, "max_num_seqs": 3}, False),
        ({"capture_sizes": [4, 16]}, False),
        ({"capture_sizes": [4, 16]}, True),
    ]
    for limits, captures in ways:
        expected = answers(model, asked, **limits)
        loop = EngineLoop(model, num_blocks=64, placement=emulated_placement(2, captures=captures), **limits)
        # Log-probabilities too, bit for bit.
        assert loop.answer(asked) == expected
        graphs = loop.runner._graphs
        assert captures == (graphs is not None and graphs.num_replays > 0)


def test_experts_in_fp8_are_captured(tmp_path: Path) -> None:
    """Experts that are widened are torch's, and those wait for the host in every layer."""
    # Inputs of a product in fp8 are whole groups of 16 bytes.
    variant = replace(MIXTURE, fields={**MIXTURE.fields, "moe_intermediate_size": 48})
    write_reference(tmp_path / "checkpoint", variant)
    folder = quantise(tmp_path / "checkpoint", tmp_path / "formats", FORMATS["fp8 blocks"]) / "quantised"
    asked = asks(logprobs=1)
    assert_near(captured_answers(kept(folder), asked), answers(load(folder, 256), asked))


@pytest.mark.parametrize("name", FORMATS)
def test_weights_come_to_the_device(plain: Path, name: str) -> None:
    """A weight that stays in the host's memory is an address that no kernel can read."""
    folder = quantised(plain, name)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(precision, "_multiplies_groups", lambda *_: True)
        model = load_model(check_model_folder(folder), torch.device("meta"), torch.bfloat16)
    layers: Any = model.decoder.layers
    for layer in layers:
        for weight in (layer.attention.output.weight, layer.mlp.down.weight):
            assert weight.form is not None
            assert weight.data.device.type == "meta"
