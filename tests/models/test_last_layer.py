"""Of the last layer, tokens whose logits are not asked for have keys and values, and no more."""

from pathlib import Path
from typing import Any

import pytest
from tests.checkpoints import write_checkpoint
from tests.models.engine_loop import Ask, EngineLoop, load
from tests.models.family_checkpoints import VOCAB, write_reference
from tests.models.steps import random_prompt
from tests.models.test_families import VARIANTS
from tests.models.test_recording import RECORDED
from torch import Tensor

from streamcore.kernels import library

pytestmark = pytest.mark.skipif(not library.packs_weights(), reason="torch multiplies here")


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, [[12, 2], [2, 2]]),
        # The first token has none before it, and the last one's successor is drawn.
        ({"prompt_logprobs": 0}, [[12, 12], [2, 2]]),
    ],
)
def test_it_computes_what_is_wanted(
    options: dict[str, int], rows: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt's MLP in the last layer is as much work as in every other, for one row."""
    model = load(write_checkpoint(tmp_path), 64)
    loop = EngineLoop(model)
    loop.runner.recording = None
    gated_linear = model.ops.gated_linear
    seen: list[int] = []

    def noted(out: Tensor, gate_up: Tensor, x: Tensor, *rest: Any) -> None:
        seen.append(x.shape[0])
        gated_linear(out, gate_up, x, *rest)

    monkeypatch.setattr(model.ops, "gated_linear", noted)
    loop.answer([Ask(random_prompt(length, seed=length), 2, options) for length in (9, 3)])
    assert seen == [count for step in rows for count in step]


@pytest.mark.parametrize("name", RECORDED)
def test_what_is_scored_beside_it_changes_nothing(name: str, tmp_path: Path) -> None:
    """A prompt that is scored goes through the last layer whole."""
    variant = VARIANTS[name]
    write_reference(tmp_path, variant)
    model = load(tmp_path, variant.max_len)
    prompts = [random_prompt(length, seed=length, vocab_size=VOCAB) for length in (1, 2, 16, 17, 40)]
    plain, scored = (
        [
            (answer.tokens, answer.likelihoods)
            for answer in EngineLoop(model, max_num_batched_tokens=24).answer(
                [Ask(prompt, 4, {"logprobs": 4, **options}) for prompt in prompts]
            )
        ]
        for options in ({}, {"prompt_logprobs": 2})
    )
    assert plain == scored
