"""Whole steps of a small model with the emulator as the device: the product's runner and its kernels, from plans to tokens."""

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.checkpoints import write_checkpoint
from tests.cuda.emulated import EmulatedOps
from tests.cuda.emulator import Emulator
from tests.cuda.host_library import host_library, missing
from tests.cuda.recorded import RecordedSteps
from tests.models.engine_loop import Answer, Ask, EngineLoop
from tests.models.family_checkpoints import Variant, write_reference
from tests.models.steps import CPU, random_prompt

from streamcore.kernels import LinearWeight, library
from streamcore.kernels.few_rows import MAX_ROWS
from streamcore.kernels.ops import Ops
from streamcore.kernels.reference import ReferenceOps
from streamcore.models import precision
from streamcore.models.folder import check_model_folder
from streamcore.models.load import load_model
from streamcore.models.model import Model
from streamcore.operands import Activation
from streamcore.runner.device_sampler import DeviceSampler
from streamcore.runner.limits import choose_capture_sizes
from streamcore.runner.placement import Placement, is_capturable

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


class WithFewRows(EmulatedOps):
    """Products of many rows are torch's, which sums in another order. Here all are the kernel's, so that a row does not
    depend on its batch.
    """

    def linear(
        self, out: torch.Tensor, x: torch.Tensor, weight: LinearWeight, bias: torch.Tensor | None
    ) -> None:
        """See `Ops`."""
        for rows in some_rows(x):
            super().linear(out[rows], x[rows], weight, bias)

    def gated_linear(
        self,
        out: torch.Tensor,
        gate_up: torch.Tensor,
        x: torch.Tensor,
        weight: LinearWeight,
        bias: torch.Tensor | None,
        activation: Activation,
    ) -> None:
        """See `Ops`."""
        for rows in some_rows(x):
            super().gated_linear(out[rows], gate_up[rows], x[rows], weight, bias, activation)


def some_rows(x: torch.Tensor) -> list[slice]:
    return [slice(first, first + MAX_ROWS) for first in range(0, x.shape[0], MAX_ROWS)]


@cache
def emulated() -> EmulatedOps:
    """The device."""
    emulator = Emulator(host_library("fast"))
    emulator.begin()
    return WithFewRows(emulator)


def model_of(folder: Path, ops: Ops, kv_cache_dtype: str = "auto") -> Model:
    # As on a device: the CPU's own kernels would have the weights packed, and widened.
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(library, "packs_weights", lambda: False)
        changed.setattr(precision, "_reads_narrow_cache", lambda *arguments: True)
        checked = check_model_folder(folder)
        model = load_model(checked, CPU, torch.float16, kv_cache_dtype=kv_cache_dtype)
    model.ops = ops
    model.prepare(256)
    return model


MIXTURE = Variant(
    "qwen3_moe",
    {
        **{"hidden_size": 64, "head_dim": 64, "num_hidden_layers": 2, "norm_topk_prob": True},
        **{"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40},
    },
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose heads the attention kernels take."""
    return write_checkpoint(
        tmp_path, hidden_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=64
    )


def asks(**options: Any) -> list[Ask]:
    """Prompts that are decoded, prefilled in one step and in chunks."""
    return [Ask(random_prompt(length, seed=length), 6, dict(options)) for length in (1, 3, 17, 40, 70)]


def answers(model: Model, asked: list[Ask], **limits: Any) -> list[Answer]:
    return EngineLoop(model, num_blocks=64, **limits).answer(asked)


@pytest.mark.parametrize("cache", ["auto", "fp8"])
def test_the_kernels_compute_the_model(folder: Path, cache: str) -> None:
    """The first token of a server with a GPU must be the model's."""
    asked = asks(logprobs=3)
    actual = answers(model_of(folder, emulated(), cache), asked)
    expected = answers(model_of(folder, ReferenceOps(), cache), asked)
    for ours, theirs in zip(actual, expected, strict=True):
        (logprob, likeliest), (wanted, wanted_likeliest) = ours.likelihoods[0], theirs.likelihoods[0]
        assert logprob == pytest.approx(wanted, abs=0.02)
        assert [value for _, value in likeliest] == pytest.approx(
            [value for _, value in wanted_likeliest], abs=0.02
        )


def emulated_placement(depth: int, *, captures: bool) -> Placement:
    """Memory apart from the host's; steps are recorded as a device's graphs would."""
    return Placement(depth, True, RecordedSteps(emulated()) if captures else None)


@pytest.mark.parametrize(
    "limits",
    [{"max_num_batched_tokens": 8, "max_num_seqs": 3}, {"capture_sizes": [4, 16]}, {"num_blocks": 9}],
    ids=["small steps", "padding", "preemption"],
)
@pytest.mark.parametrize("captures", [False, True], ids=["eager", "recorded"])
@pytest.mark.parametrize("cache", ["auto", "fp8"])
def test_every_way_to_run_steps_gives_the_same_tokens(
    folder: Path, limits: dict[str, Any], captures: bool, cache: str
) -> None:
    """A token that the next step takes from the device before the host has seen it must be the one that was drawn, and a
    recorded step must read the columns of its own plan: it is a list of calls with the addresses of the first time.
    """
    model = model_of(folder, emulated(), cache)
    asked = asks(temperature=1.0, top_p=0.9, seed=7, logprobs=1)
    expected = EngineLoop(model, **({"num_blocks": 64} | limits)).answer(asked)
    placement = emulated_placement(2, captures=captures)
    loop = EngineLoop(model, **({"num_blocks": 64} | limits), placement=placement)
    # Log-probabilities too, bit for bit.
    assert loop.answer(asked) == expected
    assert ("capture_sizes" in limits) == (loop.num_padding > 0)
    graphs = loop.runner._graphs
    assert captures == (graphs is not None and graphs.num_replays > 0)
    if isinstance(placement.capture, RecordedSteps):
        assert placement.capture.num_calls > 0


def test_the_kernels_draw_and_score_as_the_cpu_does(folder: Path) -> None:
    """What a client may ask of a token must not depend on where it is drawn."""
    model = model_of(folder, emulated())
    options: list[dict[str, Any]] = [
        {"repetition_penalty": 1.5, "logprobs": 3},
        {"frequency_penalty": 1.0, "presence_penalty": 0.5, "temperature": 0.7, "seed": 3},
        {
            "logit_bias": [(5, 8.0), (7, -100.0)],
            "prompt_logprobs": 2,
            "top_p": 0.8,
            "temperature": 1.0,
            "seed": 4,
        },
        {"min_tokens": 5, "stop_token_ids": list(range(100)), "logprobs": 20},
        {"temperature": 1.0, "seed": 5, "min_p": 0.01},
    ]
    asked = [Ask(random_prompt(20 + i, seed=i), 8, chosen) for i, chosen in enumerate(options)]
    placement = emulated_placement(2, captures=True)
    by_kernel = EngineLoop(model, num_blocks=64, placement=placement)
    assert by_kernel.runner._sampler is not None
    actual = by_kernel.answer(asked)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(DeviceSampler, "where_possible", lambda *_: None)
        by_torch = EngineLoop(model, num_blocks=64, placement=placement)
    for ours, theirs in zip(actual, by_torch.answer(asked), strict=True):
        assert ours.tokens == theirs.tokens
        for mine, other in zip(
            ours.likelihoods + ours.prompt_likelihoods,
            theirs.likelihoods + theirs.prompt_likelihoods,
            strict=True,
        ):
            assert mine[0] == pytest.approx(other[0], abs=1e-4)
            assert [token for token, _ in mine[1]] == [token for token, _ in other[1]]
            assert [value for _, value in mine[1]] == pytest.approx(
                [value for _, value in other[1]], abs=1e-4
            )


def captured_answers(model: Model, asked: list[Ask]) -> list[Answer]:
    """What a model answers whose steps can be captured: the same in captured ones, with padding, two in flight."""
    model.measure()
    model.prepare(256)
    assert is_capturable(model)
    expected = answers(model, asked)
    loop = EngineLoop(
        model, num_blocks=64, capture_sizes=[4, 16], placement=emulated_placement(2, captures=True)
    )
    assert loop.answer(asked) == expected
    assert loop.num_padding > 0
    return expected


def test_a_model_with_experts_is_captured(tmp_path: Path) -> None:
    """Experts that the host has to choose are a wait in every layer of every step."""
    write_reference(tmp_path, MIXTURE)
    model, torchs = model_of(tmp_path, emulated()), model_of(tmp_path, ReferenceOps())
    asked = asks(logprobs=1)
    for ours, theirs in zip(captured_answers(model, asked), answers(torchs, asked), strict=True):
        first, wanted = ([logprob for logprob, _ in answer.likelihoods[:1]] for answer in (ours, theirs))
        assert first == pytest.approx(wanted, abs=0.02)


def test_padding_changes_nothing(folder: Path) -> None:
    """Rows that are there to fill a captured size must leave the cache and the tokens of others alone."""
    model = model_of(folder, emulated())
    asked = asks(logprobs=2)
    padded = EngineLoop(model, num_blocks=64, capture_sizes=[8, 16])
    assert padded.answer(asked) == answers(model, asked)
    assert padded.num_padding > 0


def test_sizes_are_few_and_padding_is_little() -> None:
    """Each size is memory and time at the start; each row of padding is computed in full."""
    sizes = choose_capture_sizes(256, 8192)
    assert sizes[:6] == [1, 2, 4, 8, 16, 24]
    assert sizes[-1] == 256
    assert len(sizes) < 40
    assert all(after - before <= max(8, before // 8) for before, after in pairwise(sizes) if before >= 8)
    assert choose_capture_sizes(3, 8192) == [1, 2, 3]
    assert choose_capture_sizes(256, 1) == [1]
