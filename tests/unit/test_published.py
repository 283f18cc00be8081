"""Published models by the facts of their config.json, and files that are wrong in the ways of their
families.
"""

import math
from typing import Any

import pytest
from tests.models.published import PUBLISHED, dense

from streamcore.errors import ModelLoadError
from streamcore.models.config import DecoderConfig, WindowedConfig
from streamcore.models.declare import declare
from streamcore.models.families.gemma3 import Gemma3Config
from streamcore.models.families.smollm3 import SmolLm3Config
from streamcore.models.opening import open_config


def parse(name: str) -> DecoderConfig:
    """The shape of a published model."""
    return open_config(PUBLISHED[name][0])[1]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_has_the_parameters_that_its_makers_name(name: str) -> None:
    """A tensor that is forgotten, invented or of the wrong shape shows in the sum; so does a
    default of another family.
    """
    raw, num_parameters = PUBLISHED[name]
    shapes, decoder = declare(*open_config(raw))
    assert sum(math.prod(shape) for shape in shapes.values()) == num_parameters
    assert len(decoder.layers) == open_config(raw)[1].num_layers


def test_windows_of_published_models() -> None:
    """A window on the wrong layers forgets what it should see; none at all sees what the model was
    never taught.
    """
    windows = {
        name: config.windows for name in PUBLISHED if isinstance(config := parse(name), WindowedConfig)
    }
    assert set(windows["Qwen2.5-7B"]) == set(windows["Qwen3-8B"]) == set(windows["Mistral-Nemo-12B"]) == {0}
    assert set(windows["Mistral-7B-v0.1"]) == {4096}
    assert windows["Gemma-3-1B"] == tuple(0 if index % 6 == 5 else 512 for index in range(26))
    assert windows["Gemma-3-4B"] == tuple(0 if index % 6 == 5 else 1024 for index in range(34))
    assert windows["Gemma-2-2B"] == (4096, 0) * 13
    assert windows["gpt-oss-20b"] == (128, 0) * 12
    assert windows["OLMo-3-7B"] == (4096, 4096, 4096, 0) * 8
    assert set(windows["Phi-3-mini-4k"]) == {2047}


def test_ropes_of_published_models() -> None:
    """The base and the stretching decide what a position is: another one reads the same words in
    another order.
    """
    gemma = parse("Gemma-3-4B")
    assert isinstance(gemma, Gemma3Config)
    assert (gemma.rope.theta, gemma.rope.rope_type, gemma.rope.factor) == (1e6, "linear", 8.0)
    assert (gemma.sliding_rope.theta, gemma.sliding_rope.rope_type) == (1e4, "default")
    assert gemma.attention_scale == 256**-0.5
    oss = parse("gpt-oss-20b").rope
    assert (oss.theta, oss.factor, oss.truncate) == (150000, 32, False)
    assert oss.attention_factor == pytest.approx(1.3466, abs=1e-4)
    phi = parse("Phi-4-mini")
    assert (phi.head_dim, phi.rope.rotary_dim(phi.head_dim), phi.rope.rope_type) == (128, 96, "longrope")
    assert phi.rope.attention_factor == pytest.approx(1.1902, abs=1e-4)
    smol = parse("SmolLM3-3B")
    assert isinstance(smol, SmolLm3Config)
    assert smol.has_rope == (True, True, True, False) * 9
    assert parse("Mixtral-8x7B").rope.theta == 1e6


BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "qwen2 window": ("qwen2", {"use_sliding_window": True, "sliding_window": -1}, "`sliding_window` -1"),
    "qwen2 first window": ("qwen2", {"max_window_layers": -3}, "`max_window_layers` -3"),
    "qwen3 types": ("qwen3", {"layer_types": ["full_attention"]}, "a list of `num_hidden_layers` 4"),
    "qwen3 unknown type": (
        "qwen3",
        {"layer_types": ["linear_attention"] * 4},
        "`layer_types` 'linear_attention', supported are full_attention, sliding_attention",
    ),
    "moe too many used": (
        "qwen3_moe",
        {"num_experts": 4, "num_experts_per_tok": 5},
        "`num_experts_per_tok` 5, limit is `num_experts` 4",
    ),
    "moe too many": ("mixtral", {"num_local_experts": 10**8}, "`num_local_experts` 100000000"),
    "moe layers": ("qwen3_moe", {"mlp_only_layers": 3}, "`mlp_only_layers` 3, it must be a list of layers"),
    "moe width": ("qwen3_moe", {"moe_intermediate_size": "x"}, "`moe_intermediate_size` 'x'"),
    "gemma looks ahead": (
        "gemma3_text",
        {"use_bidirectional_attention": True},
        "`use_bidirectional_attention` True, models that look ahead are not supported",
    ),
    "gemma cap": ("gemma2", {"attn_logit_softcapping": -1}, "`attn_logit_softcapping` -1"),
    "gemma scale": ("gemma2", {"query_pre_attn_scalar": 0}, "`query_pre_attn_scalar` 0"),
    "gemma activation": (
        "gemma2",
        {"hidden_activation": "relu"},
        "`hidden_activation` 'relu', supported are",
    ),
    "gemma rope": (
        "gemma3_text",
        {"rope_parameters": {"full_attention": {"rope_type": "linear"}, "sliding_attention": {}}},
        "no `rope_parameters.full_attention.factor`",
    ),
    "gpt-oss limit": ("gpt_oss", {"swiglu_limit": 3.0}, "`swiglu_limit` 3.0, only 7.0 is supported"),
    "phi factors": (
        "phi3",
        {"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}},
        "`short_factor` 1, it must have 8 numbers",
    ),
    "phi factor list": (
        "phi3",
        {"rope_scaling": {"type": "su", "short_factor": 1, "long_factor": [0]}},
        "`rope_scaling.short_factor` 1, it must be a list of positive numbers",
    ),
    "phi part": (
        "phi3",
        {"partial_rotary_factor": 1.5},
        "`rope_scaling.partial_rotary_factor` 1.5, limit is 1",
    ),
    "smollm list": ("smollm3", {"no_rope_layers": [1, 2, 0, 1]}, "`no_rope_layers` [1, 2, 0, 1]"),
    "olmoe clips": ("olmoe", {"clip_qkv": 8.0}, "`clip_qkv` 8.0, clipped projections are not supported"),
    "granite multiplier": (
        "granite",
        {"logits_scaling": 0},
        "`logits_scaling` 0, it must be a positive number",
    ),
    "granite with Mamba": (
        "granitemoehybrid",
        {"num_local_experts": 0, "layer_types": ["mamba", "attention", "mamba", "mamba"]},
        "only models whose layers all have attention are supported",
    ),
    "granite with experts": (
        "granitemoehybrid",
        {"num_local_experts": 8, "layer_types": ["attention"] * 4},
        "`num_local_experts` 8, only models without experts are supported",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_its_field(name: str) -> None:
    """The owner must read which field it is: a traceback, or an answer of nonsense, says nothing."""
    model_type, fields, expected = BROKEN[name]
    raw = dense(model_type, 4, 64, 96, 4, 2, 256, 128) | fields
    with pytest.raises(ModelLoadError) as caught:
        open_config(raw)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"model_type": "gemma3", "text_config": [1]}, "`text_config` [1], it must be an object"),
        ({"model_type": "mistral3", "text_config": {"model_type": "mamba"}}, "`model_type` 'mamba'"),
        (
            {"model_type": "gemma3", "architectures": ["Gemma3Reward"], "text_config": {}},
            "supported with `model_type` gemma3 is Gemma3ForConditionalGeneration",
        ),
        (
            {"model_type": "gemma3", "text_config": {"hidden_size": "wide"}},
            "`text_config.hidden_size` 'wide', it must be a positive integer",
        ),
        (
            {"model_type": "mistral3", "text_config": {}, "quantization_config": {"quant_method": "fp9"}},
            "`quantization_config.quant_method` 'fp9', supported are awq, gptq",
        ),
    ],
)
def test_a_broken_wrapper_is_refused_by_its_field(raw: dict[str, Any], expected: str) -> None:
    """Half of what people download wraps its language model: the field must be found in its object."""
    with pytest.raises(ModelLoadError) as caught:
        open_config(raw)
    assert expected in str(caught.value)
