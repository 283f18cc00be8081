"""Every family against `transformers`: a wrong detail of an architecture gives fluent and wrong
answers.
"""

import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.engine_loop import EngineLoop, load
from tests.models.family_checkpoints import VOCAB, Variant, reference_logits, write_reference
from tests.models.steps import RunningSequence, load_paged, random_prompt
from transformers import AutoConfig

from streamcore.models.families import FAMILIES

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10000.0}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.5, 1.7],
    "long_factor": [1.0, 2.0, 3.0, 4.0, 6.0, 9.0],
    "original_max_position_embeddings": 64,
}
MOE = {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 40}
GRANITE = {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.4,
    "logits_scaling": 1.7,
}
HYBRID = {
    **GRANITE,
    "layer_types": ["full_attention"] * 4,
    "num_local_experts": 0,
    "num_experts_per_tok": 0,
    "shared_intermediate_size": 72,
    "mamba_n_heads": 4,
    "mamba_d_head": 24,
}
WRAPPERS = {"gemma3", "mistral3"}
OLDER = {"dtype": None, "torch_dtype": "float32", "rope_parameters": None}

VARIANTS: dict[str, Variant] = {
    "qwen2": Variant("qwen2"),
    "qwen2 tied": Variant("qwen2", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    "qwen2 window": Variant(
        "qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 2}
    ),
    "qwen2 window off": Variant(
        "qwen2",
        {"use_sliding_window": False, "sliding_window": 7, "max_window_layers": 0},
        {"sliding_window": 7, "layer_types": None},
    ),
    "qwen2 older": Variant(
        "qwen2",
        {"rope_parameters": YARN},
        {**OLDER, "layer_types": None, "rope_theta": 10000.0, "rope_scaling": {**YARN, "type": "yarn"}},
    ),
    "qwen3": Variant("qwen3", {"head_dim": 16}),
    "qwen3 biases": Variant("qwen3", {"head_dim": 24, "attention_bias": True, "tie_word_embeddings": True}),
    "qwen3 window": Variant(
        "qwen3", {"head_dim": 32, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}
    ),
    "qwen3 older": Variant(
        "qwen3",
        {"head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 5e6}},
        {**OLDER, "layer_types": None, "rope_theta": 5e6},
    ),
    "mistral": Variant("mistral", {"sliding_window": None, "head_dim": 32}, {"sliding_window": None}),
    "mistral window": Variant("mistral", {"sliding_window": 7, "head_dim": 12}),
    "mistral older": Variant(
        "mistral",
        {
            "sliding_window": 11,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        {**OLDER, "rope_theta": 1e6},
    ),
    "ministral3": Variant(
        "ministral3",
        {
            "head_dim": 16,
            "rope_parameters": {
                **YARN,
                "original_max_position_embeddings": 16,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.3,
            },
        },
    ),
    "ministral3 tied": Variant(
        "ministral3",
        {
            "head_dim": 24,
            "tie_word_embeddings": True,
            "rope_parameters": {**YARN, "factor": 8.0, "llama_4_scaling_beta": 0.1},
        },
    ),
    "ministral3 by default": Variant("ministral3", {"head_dim": 16}, {"rope_parameters": None}),
    "mistral3 wrapper": Variant(
        "mistral3",
        {"model_type": "ministral3", "head_dim": 16},
        is_wrapped=True,
    ),
    "mistral3 around mistral": Variant(
        "mistral3",
        {"model_type": "mistral", "head_dim": 16, "sliding_window": 9},
        {**OLDER, "rope_theta": 10000.0},
        is_wrapped=True,
    ),
    "gemma2": Variant(
        "gemma2",
        {
            "head_dim": 16,
            "sliding_window": 7,
            "query_pre_attn_scalar": 20,
            "attn_logit_softcapping": 4.0,
            "final_logit_softcapping": 5.0,
        },
    ),
    "gemma2 without caps": Variant(
        "gemma2",
        {"head_dim": 24, "sliding_window": 9},
        {"attn_logit_softcapping": None, "final_logit_softcapping": None},
    ),
    "gemma2 older": Variant(
        "gemma2",
        {"head_dim": 16, "sliding_window": 7, "tie_word_embeddings": False},
        {**OLDER, "layer_types": None, "rope_theta": 10000.0},
    ),
    "gemma3_text": Variant(
        "gemma3_text",
        {"head_dim": 16, "num_hidden_layers": 7, "sliding_window": 7, "query_pre_attn_scalar": 20},
    ),
    "gemma3_text stretched": Variant(
        "gemma3_text",
        {
            "head_dim": 32,
            "num_hidden_layers": 7,
            "sliding_window": 9,
            "num_key_value_heads": 1,
            "tie_word_embeddings": False,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    "gemma3_text older": Variant(
        "gemma3_text",
        {
            "head_dim": 16,
            "num_hidden_layers": 7,
            "sliding_window": 7,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
        {
            **OLDER,
            "layer_types": None,
            "sliding_window_pattern": 6,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
    ),
    "gemma3 wrapper": Variant(
        "gemma3", {"head_dim": 16, "num_hidden_layers": 7, "sliding_window": 7}, is_wrapped=True
    ),
    "gemma3 wrapper older": Variant(
        "gemma3",
        {"head_dim": 16, "num_hidden_layers": 7, "sliding_window": 7},
        {**OLDER, "layer_types": None, "rope_theta": 1e6, "rope_local_base_freq": 1e4},
        is_wrapped=True,
    ),
    "qwen3_moe": Variant("qwen3_moe", {**MOE, "norm_topk_prob": True, "head_dim": 16}),
    "qwen3_moe mixed": Variant("qwen3_moe", {**MOE, "mlp_only_layers": [1], "tie_word_embeddings": True}),
    "qwen3_moe sparse": Variant(
        "qwen3_moe",
        {**MOE, "decoder_sparse_step": 2, "use_sliding_window": True, "sliding_window": 7},
        {**OLDER, "rope_theta": 10000.0},
    ),
    "mixtral": Variant("mixtral", {"num_local_experts": 4}),
    "mixtral window": Variant(
        "mixtral", {"num_local_experts": 5, "num_experts_per_tok": 1, "sliding_window": 7}
    ),
    "mixtral older": Variant(
        "mixtral",
        {"num_local_experts": 4, "num_experts_per_tok": 3, "tie_word_embeddings": True},
        {**OLDER, "rope_theta": 1e6},
    ),
    "gpt_oss": Variant(
        "gpt_oss",
        {"head_dim": 16, "num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": 7},
    ),
    "gpt_oss without biases": Variant(
        "gpt_oss",
        {
            "head_dim": 24,
            "num_local_experts": 4,
            "num_experts_per_tok": 4,
            "sliding_window": 5,
            "attention_bias": False,
            "tie_word_embeddings": True,
            "layer_types": ["full_attention", "sliding_attention"] * 2,
        },
    ),
    "gpt_oss older": Variant(
        "gpt_oss",
        {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 1, "sliding_window": 7},
        {
            **OLDER,
            "rope_theta": 150000,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
                "original_max_position_embeddings": 4096,
            },
        },
    ),
    "phi3": Variant("phi3"),
    "phi3 window": Variant("phi3", {"sliding_window": 7, "num_key_value_heads": 4}),
    "phi3 long": Variant(
        "phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 64}, max_len=256
    ),
    "phi3 short": Variant(
        "phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 64}, max_len=64
    ),
    "phi3 partial": Variant(
        "phi3",
        {
            "hidden_size": 64,
            "tie_word_embeddings": True,
            "original_max_position_embeddings": 64,
            "rope_parameters": {**LONG, "partial_rotary_factor": 0.75},
        },
        {
            **OLDER,
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.75,
            "rope_scaling": {
                "type": "su",
                "short_factor": LONG["short_factor"],
                "long_factor": LONG["long_factor"],
            },
        },
    ),
    "smollm3": Variant("smollm3"),
    "smollm3 window": Variant(
        "smollm3",
        {"use_sliding_window": True, "sliding_window": 7, "no_rope_layers": [1, 0, 0, 1]},
    ),
    "smollm3 older": Variant(
        "smollm3",
        {"no_rope_layer_interval": 2, "tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True},
        {**OLDER, "layer_types": None, "no_rope_layers": None, "rope_theta": 2e6},
    ),
    "olmo2": Variant("olmo2"),
    "olmo2 tied": Variant("olmo2", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    "olmo2 older": Variant("olmo2", {"attention_bias": True}, {**OLDER, "rope_theta": 10000.0}),
    "olmo3": Variant("olmo3", {"sliding_window": 7}),
    "olmo3 stretched": Variant(
        "olmo3",
        {
            "sliding_window": 9,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "full_attention": {**YARN, "rope_theta": 500000.0, "attention_factor": 1.2},
                "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0},
            },
        },
    ),
    "olmo3 older": Variant(
        "olmo3",
        {
            "sliding_window": 7,
            "rope_parameters": {
                "full_attention": {**YARN, "rope_theta": 500000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0},
            },
        },
        {
            **OLDER,
            "layer_types": None,
            "rope_theta": 500000.0,
            "rope_scaling": {name: value for name, value in YARN.items() if name != "rope_theta"},
        },
    ),
    "olmoe": Variant("olmoe", {"num_experts": 8, "num_experts_per_tok": 3}),
    "olmoe normalised": Variant(
        "olmoe",
        {"num_experts": 5, "num_experts_per_tok": 2, "norm_topk_prob": True, "tie_word_embeddings": True},
    ),
    "olmoe older": Variant(
        "olmoe",
        {"num_experts": 4, "num_experts_per_tok": 4, "attention_bias": True, "num_key_value_heads": 4},
        {**OLDER, "rope_theta": 10000.0, "clip_qkv": None},
    ),
    "granite": Variant("granite", GRANITE),
    "granite tied": Variant("granite", {**GRANITE, "tie_word_embeddings": True, "attention_bias": True}),
    "granite older": Variant("granite", {**GRANITE, "mlp_bias": True}, {**OLDER, "rope_theta": 10000.0}),
    "granitemoehybrid": Variant("granitemoehybrid", {**HYBRID, "position_embedding_type": "rope"}),
    "granitemoehybrid without positions": Variant(
        "granitemoehybrid", {**HYBRID, "position_embedding_type": "nope"}
    ),
    "granitemoehybrid older": Variant(
        "granitemoehybrid",
        {**HYBRID, "position_embedding_type": "rope", "tie_word_embeddings": True},
        {**OLDER, "layer_types": ["attention"] * 4, "rope_theta": 10000.0},
    ),
}

# `make test-models` has the time for more.
NUM_PROMPTS, NUM_TOKENS, TIMEOUT_S = (20, 64, 3600) if "STREAMCORE_MODELS" in os.environ else (5, 20, 300)
pytestmark = pytest.mark.timeout(TIMEOUT_S)
MAX_PROMPT_LEN = 38


def test_every_family_is_compared() -> None:
    """A family that is compared with nothing would be a guess; so would be one of its two forms of
    config.json, or of its two output matrices.
    """
    compared = {name.split()[0] for name in VARIANTS} | {"llama"}
    assert compared - WRAPPERS == set(FAMILIES)
    for family in compared - {"llama"}:
        variants = [variant for name, variant in VARIANTS.items() if name.split()[0] == family]
        assert any(variant.older for variant in variants), family
        if family not in WRAPPERS:
            assert len(variants) >= 3, family
            default = AutoConfig.for_model(family).tie_word_embeddings
            ties = {variant.fields.get("tie_word_embeddings", default) for variant in variants}
            assert ties == {True, False}, family


@pytest.fixture(scope="module", params=VARIANTS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder, the reference, and how long sequences may be."""
    variant = VARIANTS[request.param]
    folder = tmp_path_factory.mktemp("family")
    return folder, write_reference(folder, variant), variant.max_len


def test_logits_equal_the_reference(checkpoint: tuple[Path, Any, int]) -> None:
    """A whole prefill, then chunks, then single tokens: the same arithmetic as the reference's one
    pass.
    """
    folder, reference, max_len = checkpoint
    prompt = random_prompt(max_len if max_len > 64 else 40)
    expected = reference_logits(reference, prompt)
    paged = load_paged(folder, max_model_len=max_len)
    sequence = RunningSequence(prompt)
    for count in (17, 8, 9, 1, 1, 1, 1, 1, 1, len(prompt) - 40):
        if count:
            logits = paged.forward([(sequence, count)])[0]
            torch.testing.assert_close(logits, expected[sequence.num_computed - 1], atol=1e-4, rtol=1e-4)


def test_greedy_tokens_equal_the_reference(checkpoint: tuple[Path, Any, int]) -> None:
    """Alone, in a batch, in chunks, after preemptions and from the prefix cache an answer is the
    reference's.
    """
    folder, reference, max_len = checkpoint
    model = load(folder, max_len)
    dice = random.Random(1)
    prompts = [
        [dice.randrange(3, VOCAB) for _ in range(dice.randint(1, MAX_PROMPT_LEN))] for _ in range(NUM_PROMPTS)
    ]
    num_tokens = min(NUM_TOKENS, max_len - MAX_PROMPT_LEN)
    alone = EngineLoop(model, max_num_seqs=1).generate(prompts, num_tokens)
    for prompt, tokens in zip(prompts, alone, strict=True):
        logits = reference_logits(reference, prompt + tokens[:-1])
        # Beyond the original context the reference would take another table for the whole prompt
        # than it did for its tokens.
        if max_len == 256 and reference.config.model_type == "phi3":
            continue
        assert logits[len(prompt) - 1 :].argmax(-1).tolist() == tokens
    loop = EngineLoop(model, max_num_seqs=16)
    assert loop.generate(prompts, num_tokens) == alone
    before = loop.num_cached_tokens
    assert loop.generate(prompts, num_tokens) == alone
    assert loop.num_cached_tokens > before
    assert EngineLoop(model, max_num_batched_tokens=16).generate(prompts, num_tokens) == alone
    tight = EngineLoop(model, num_blocks=8, max_num_seqs=16)
    assert tight.generate(prompts, num_tokens) == alone
    assert tight.scheduler.num_preemptions > 0
