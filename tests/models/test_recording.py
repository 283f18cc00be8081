"""A forward pass that was written down once must be the one that layers compute call by call."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.checkpoints import write_checkpoint
from tests.models.engine_loop import Answer, Ask, EngineLoop, load
from tests.models.family_checkpoints import VOCAB, write_reference
from tests.models.steps import random_prompt
from tests.models.test_families import VARIANTS

from streamcore.kernels import library
from streamcore.models.model import Model

pytestmark = pytest.mark.skipif(not library.packs_weights(), reason="torch multiplies here")

# The first of each family, and those that differ from it in what is recorded.
RECORDED = [
    *{name.split()[0]: name for name in reversed(VARIANTS)}.values(),
    "qwen2 window", "phi3 long", "olmo3 stretched", "qwen3_moe mixed", "mixtral window",
    "gpt_oss without biases",
]  # fmt: skip


def asks(**options: Any) -> list[Ask]:
    """Prompts of all lengths."""
    return [
        Ask(random_prompt(length, seed=length, vocab_size=VOCAB), 12, options)
        for length in (1, 2, 7, 16, 17, 40, 3)
    ]


def answers(model: Model, is_recorded: bool, **limits: Any) -> list[Answer]:
    """The answers of a runner with its recording, or of one that was deprived of it. Scores show
    every bit of the logits; without them the draw is recorded too.
    """
    loop = EngineLoop(model, **limits)
    assert loop.runner.recording is not None
    if not is_recorded:
        loop.runner.recording = None
    return loop.answer(asks(logprobs=4)) + loop.answer(asks(temperature=0.7, seed=3))


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_and_eager_give_the_same_bits(name: str, tmp_path: Path) -> None:
    """A number of rows in the wrong place, or memory that moved, is another answer in some batch;
    every limit is its own plan.
    """
    variant = VARIANTS[name]
    write_reference(tmp_path, variant)
    model = load(tmp_path, variant.max_len)
    plans: list[dict[str, Any]] = [
        {},
        {"max_num_seqs": 1},
        {"max_num_batched_tokens": 8, "max_num_seqs": 3},
        {"num_blocks": 9},
        {"capture_sizes": [4, 16]},
    ]
    for limits in plans:
        assert answers(model, True, **limits) == answers(model, False, **limits), limits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_crosses_once(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine crossings a layer once cost more than the arithmetic of a small model."""
    expect_one_crossing(load(write_checkpoint(tmp_path, torch_dtype=dtype), 256), monkeypatch)


@pytest.mark.parametrize("name", ["qwen3_moe", "mixtral", "gpt_oss"])
def test_a_step_of_experts_crosses_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which experts run is known only once the router has spoken, in the middle of the program."""
    write_reference(tmp_path, VARIANTS[name])
    expect_one_crossing(load(tmp_path, 256), monkeypatch)


def expect_one_crossing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner answers as before where no operation can be called by itself."""
    loop = EngineLoop(model)
    expected = loop.generate([random_prompt(9)], 8)

    def alone(number: int, address: int) -> None:
        raise AssertionError("an operation was called by itself")

    monkeypatch.setattr(library.compiled, "run", alone)
    assert loop.generate([random_prompt(9)], 8) == expected


@pytest.mark.parametrize(
    "name", ["qwen3", "gemma3_text", "olmo2", "granite", "ministral3", "gpt_oss", "mixtral"]
)
def test_layers_keep_what_operations_ask_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernels believe layers: a stride, a shape or a dtype that they do not expect would be
    foreign memory.
    """
    variant = VARIANTS[name]
    write_reference(tmp_path, variant)
    expected = EngineLoop(load(tmp_path, variant.max_len)).answer(asks(logprobs=4))
    monkeypatch.setenv("STREAMCORE_CHECK", "1")
    checked = EngineLoop(load(tmp_path, variant.max_len))
    assert checked.runner.recording is None
    assert checked.answer(asks(logprobs=4)) == expected


def test_a_recording_keeps_its_memory(tmp_path: Path) -> None:
    """A second runner on the same model, for longer steps and another context, must not move what
    the first has written down.
    """
    model = load(write_checkpoint(tmp_path), 64)
    first = EngineLoop(model, max_num_batched_tokens=16, max_model_len=64)
    expected = first.generate([random_prompt(9)], 8)
    model.prepare(256)
    EngineLoop(model, max_num_batched_tokens=2048).generate([random_prompt(100)], 4)
    torch.full((1 << 20,), torch.nan)
    assert first.generate([random_prompt(9)], 8) == expected
