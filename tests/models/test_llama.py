"""The forward pass against `transformers`, on small random checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version
from tests.checkpoints import LLAMA_3_1_8B, write_checkpoint
from tests.models.steps import RunningSequence, load_paged, random_prompt
from torch import Tensor
from transformers import LlamaForCausalLM

LLAMA_3_1_TINY = {
    **LLAMA_3_1_8B,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "tied": {"tie_word_embeddings": True},
    "multi-head": {"num_key_value_heads": 4},
    "multi-query": {"num_key_value_heads": 1},
    "kv heads not named": {"num_key_value_heads": None},
    "head_dim derived": {"head_dim": None},
    "head_dim wider than hidden": {"head_dim": 32},
    "attention_bias": {"attention_bias": True},
    "mlp_bias": {"mlp_bias": True},
    "theta": {"rope_theta": 500000.0},
    "linear": {"rope_scaling": {"type": "linear", "factor": 4.0}},
    "dynamic": {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
    "llama3": {
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
    "yarn": {
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    },
    "yarn with all settings": {
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 64,
            "attention_factor": 0.8,
            "beta_fast": 16,
            "beta_slow": 2,
            "truncate": False,
        },
    },
    "newer form": {
        "rope_theta": None,
        "torch_dtype": None,
        "dtype": "float32",
        "rope_parameters": {"rope_type": "linear", "rope_theta": 20000.0, "factor": 2.0},
    },
}


def reference_model(folder: Path) -> Any:
    """The same checkpoint in `transformers`."""
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def reference_logits(folder: Path, tokens: list[int]) -> Tensor:
    """float32 [tokens, vocab] of `transformers`."""
    model = reference_model(folder)
    with torch.inference_mode():
        logits: Tensor = model(torch.tensor([tokens])).logits[0].float()
    return logits


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_equal_the_reference(name: str, tmp_path: Path) -> None:
    """A wrong detail of an architecture would give fluent but wrong answers for the models that use
    it.
    """
    if name == "newer form" and Version(transformers.__version__) < Version("5"):
        pytest.skip("this release of the reference does not know the form")
    folder = write_checkpoint(tmp_path, **VARIANTS[name])
    prompt = random_prompt(40)
    expected = reference_logits(folder, prompt)
    paged = load_paged(folder)
    sequence = RunningSequence(prompt)
    # A whole prefill, then chunks, then single tokens: the same arithmetic.
    for count in (17, 8, 9, 1, 1, 1, 1, 1, 1):
        logits = paged.forward([(sequence, count)])
        torch.testing.assert_close(logits[0], expected[sequence.num_computed - 1], atol=2e-4, rtol=2e-4)


def test_llama_3_1_is_understood_as_published(tmp_path: Path) -> None:
    """The most used checkpoint of the family must be right far into its context too, where llama3
    scaling matters.
    """
    folder = write_checkpoint(tmp_path, LLAMA_3_1_TINY, torch_dtype="float32", vocab_size=512)
    prompt = random_prompt(500, vocab_size=512)
    paged = load_paged(folder, max_model_len=1024)
    logits = paged.forward([(RunningSequence(prompt), len(prompt))])
    torch.testing.assert_close(logits[0], reference_logits(folder, prompt)[-1], atol=5e-4, rtol=5e-4)


def test_greedy_tokens_equal_the_reference(tmp_path: Path) -> None:
    """A reader who compares our greedy text with the reference implementation's must find them
    identical.
    """
    folder = write_checkpoint(tmp_path)
    prompt = random_prompt(12)
    reference = reference_model(folder)
    output = reference.generate(torch.tensor([prompt]), max_new_tokens=48, do_sample=False, eos_token_id=None)
    expected = output[0, len(prompt) :].tolist()
    assert load_paged(folder).generate([RunningSequence(list(prompt))], 48) == [expected]
    assert load_paged(folder).generate([RunningSequence(list(prompt))], 48, chunk=5) == [expected]


def test_a_batch_equals_its_sequences_alone(tmp_path: Path) -> None:
    """Neighbours in a batch must not change an answer: their blocks lie interleaved in the same
    cache.
    """
    folder = write_checkpoint(tmp_path)
    prompts = [random_prompt(length, seed=length) for length in (1, 3, 4, 5, 17, 30, 9, 2)]
    alone = [load_paged(folder).generate([RunningSequence(list(prompt))], 20)[0] for prompt in prompts]
    together = load_paged(folder).generate([RunningSequence(list(prompt)) for prompt in prompts], 20)
    assert together == alone
    chunked = load_paged(folder).generate([RunningSequence(list(prompt)) for prompt in prompts], 20, chunk=3)
    assert chunked == alone


def test_dynamic_scaling_is_fixed_by_the_limit(tmp_path: Path) -> None:
    """Keys are cached rotated, so a sequence that outgrows the original context must not change
    what its keys mean.
    """
    folder = write_checkpoint(
        tmp_path, max_position_embeddings=32, rope_scaling={"rope_type": "dynamic", "factor": 2.0}
    )
    prompt = random_prompt(64)
    expected = reference_logits(folder, prompt)
    paged = load_paged(folder, max_model_len=64)
    sequence = RunningSequence(prompt)
    for count in (30, 20, 14):
        logits = paged.forward([(sequence, count)])
        torch.testing.assert_close(logits[0], expected[sequence.num_computed - 1], atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(dtype: torch.dtype, tmp_path: Path) -> None:
    """Most checkpoints are served in 16 bits: rounding may move logits a little, an overflow or a
    wrong sum a lot.
    """
    folder = write_checkpoint(tmp_path)
    prompt = random_prompt(30)
    exact = reference_logits(folder, prompt)[-1]
    logits = load_paged(folder, dtype).forward([(RunningSequence(prompt), len(prompt))])[0]
    error = (logits - exact).abs().mean() / exact.abs().mean()
    assert error < 0.05, error


def test_bfloat16_weights_lose_nothing_more(tmp_path: Path) -> None:
    """On the CPU such weights stay as they are in memory; the logits must be those of float32
    products with them.
    """
    folder = write_checkpoint(tmp_path, torch_dtype="bfloat16", attention_bias=True, tie_word_embeddings=True)
    prompt = random_prompt(30)
    logits = load_paged(folder, torch.float32).forward([(RunningSequence(prompt), len(prompt))])[0]
    assert torch.allclose(logits, reference_logits(folder, prompt)[-1], rtol=1e-4, atol=1e-4)
