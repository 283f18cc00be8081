"""The step that is tried before the KV cache has its size, with a device whose memory a test counts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.checkpoints import write_checkpoint
from tests.models.engine_loop import load

from streamcore import _core
from streamcore.models.model import Model
from streamcore.runner.memory import block_bytes
from streamcore.runner.model_runner import ModelRunner
from streamcore.runner.placement import Placement
from streamcore.runner.trial import tried_step_bytes

GIB = 1 << 30


class Counted:
    """Memory that says what a test wants, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def begin(self) -> None:
        """See `DeviceMemory`."""
        self.asked.append("begin")

    def most_bytes(self) -> int:
        """See `DeviceMemory`."""
        self.asked.append("most")
        return GIB

    def end(self) -> None:
        """See `DeviceMemory`."""
        self.asked.append("end")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A small model."""
    return load(write_checkpoint(tmp_path), 128)


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """The plans that runners carry out: what each is of."""
    seen: list[dict[str, int]] = []
    launch = ModelRunner.launch

    def launched(runner: ModelRunner, plan: _core.StepPlan) -> None:
        names = (
            "num_tokens",
            "num_samples",
            "num_penalised_samples",
            "num_scored_samples",
            "num_scored_tokens",
        )
        seen.append({name: getattr(plan, name) for name in names} | {"num_padding": plan.num_padding})
        launch(runner, plan)

    monkeypatch.setattr(ModelRunner, "launch", launched)
    return seen


def tried(model: Model, **limits: Any) -> int:
    """What a trial returns, with steps of 64 tokens and 6 sequences."""
    chosen: dict[str, Any] = {"max_num_batched_tokens": 64, "max_num_seqs": 6, "max_model_len": 128} | limits
    placement = Placement(2, True, lambda work: work)
    return tried_step_bytes(model, Counted(), placement, block_size=16, **chosen)


def test_the_largest_steps_are_run(model: Model, plans: list[dict[str, int]]) -> None:
    """A step that is larger than those that were tried may find no memory, in the middle of answers."""
    tried(model)
    prompts, decodes, scored = plans
    assert prompts == {
        "num_tokens": 64, "num_samples": 6, "num_penalised_samples": 6, "num_scored_samples": 6, "num_scored_tokens": 0,
        "num_padding": 0,
    }  # fmt: skip
    assert decodes["num_tokens"] == decodes["num_samples"] == 6
    assert (scored["num_tokens"], scored["num_scored_tokens"]) == (64, 63)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_model_len": 4},
        {"max_num_seqs": 100},
        {"max_num_batched_tokens": 1},
        {"max_num_batched_tokens": 1000},
    ],
    ids=["short contexts", "more sequences than tokens", "one token", "more tokens than sequences hold"],
)
def test_any_limits_can_be_tried(model: Model, limits: dict[str, int]) -> None:
    """Limits that serve must not fail at the start for the sake of a measurement."""
    assert tried(model, **limits) > 0


def test_the_cache_of_the_trial_is_not_counted(model: Model) -> None:
    """It is given back: counted, it would be missing from the cache for good."""
    memory = Counted()
    placement = Placement(1, False, None)
    taken = tried_step_bytes(
        model, memory, placement, block_size=16, max_num_batched_tokens=64, max_num_seqs=4, max_model_len=128
    )
    one = block_bytes(model.config, 16, torch.float32)
    assert memory.asked == ["begin", "most", "end"]
    # Four prompts of 16 tokens with two more each, and a block each to spare.
    assert GIB - taken == 12 * one
