"""The memory of a step, which the KV cache is not given, against what steps then take."""

from pathlib import Path

import pytest
from tests.checkpoints import write_checkpoint
from tests.models.engine_loop import Ask, EngineLoop, load
from tests.models.family_checkpoints import VOCAB, write_reference
from tests.models.steps import random_prompt
from tests.models.test_families import VARIANTS

from streamcore.layers.experts import Experts
from streamcore.models.model import Model
from streamcore.runner.memory import step_bytes

NUM_TOKENS, NUM_SEQS = 48, 3


def largest_steps(model: Model, *, is_eager: bool, prompt_logprobs: int | None = None) -> EngineLoop:
    """A loop that has run steps as large as its limits allow."""
    model.prepare(64, NUM_TOKENS, NUM_SEQS)
    loop = EngineLoop(model, max_num_seqs=NUM_SEQS, max_num_batched_tokens=NUM_TOKENS, max_model_len=64)
    if is_eager:
        loop.runner.recording = None
    options = {"prompt_logprobs": prompt_logprobs}
    loop.answer([Ask(random_prompt(NUM_TOKENS, seed, VOCAB), 3, options) for seed in range(NUM_SEQS)])
    return loop


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3_text", "olmo2", "phi3 long", "granite"])
def test_a_step_takes_what_was_measured(name: str, tmp_path: Path) -> None:
    """Memory that was not kept free for it ends the server in the middle of its first
    long prompt.
    """
    if name == "llama":
        write_checkpoint(tmp_path)
    else:
        write_reference(tmp_path, VARIANTS[name])
    model = load(tmp_path, 64)
    per_token, per_wanted = model.measure()
    assert per_token > 0
    assert per_wanted >= 4 * VOCAB
    largest_steps(model, is_eager=True)
    assert model._scratch.num_bytes == NUM_TOKENS * per_token + NUM_SEQS * per_wanted
    loop = largest_steps(model, is_eager=False, prompt_logprobs=2)
    recording = loop.runner.recording
    if recording is not None:
        assert recording._step.scratch.num_bytes == NUM_TOKENS * per_token + NUM_SEQS * per_wanted
        taken = model._scratch.num_bytes + recording._step.scratch.num_bytes
        assert taken <= step_bytes(model, NUM_TOKENS, NUM_SEQS)


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "qwen3_moe"])
def test_experts_count_with_all_that_they_make(name: str, tmp_path: Path) -> None:
    """What experts hand to each other is not in the scratch memory, and is the largest
    part of it.
    """
    write_reference(tmp_path, VARIANTS[name])
    model = load(tmp_path, 64)
    per_token, per_wanted = model.measure()
    largest_steps(model, is_eager=True)
    beside = per_token * NUM_TOKENS + per_wanted * NUM_SEQS - model._scratch.num_bytes
    layer: Experts = model.decoder.layers[-1].mlp  # type: ignore[attr-defined]
    widest = max(expert.gate_up.num_outputs for expert in layer.experts)
    num_rows = NUM_TOKENS * layer.rule.num_used
    assert beside >= num_rows * 4 * (model.config.hidden_size + widest)


def test_measuring_leaves_no_trace(tmp_path: Path) -> None:
    """It runs a pass of one token, for which rotary tables are made: they must not stay
    that short.
    """
    model = load(write_checkpoint(tmp_path), 64)
    expected = EngineLoop(model).generate([random_prompt(40)], 8)
    model.measure()
    model.prepare(64)
    assert EngineLoop(model).generate([random_prompt(40)], 8) == expected
