"""config.json: what is read, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.checkpoints import LLAMA_3_1_8B, TINY

from streamcore.errors import ModelLoadError
from streamcore.layers.rope_config import RopeConfig
from streamcore.models.config import DecoderConfig
from streamcore.models.families import FAMILIES, find_family
from streamcore.models.opening import open_config
from streamcore.models.tensor_files import FileError, read_json_object


def parse(**fields: Any) -> DecoderConfig:
    """TINY with other fields; None leaves one out."""
    return open_config({name: value for name, value in {**TINY, **fields}.items() if value is not None})[1]


def test_llama_3_1_8b() -> None:
    """The fields of the published checkpoint, each with its meaning."""
    assert open_config(LLAMA_3_1_8B)[1] == DecoderConfig(
        model_type="llama",
        hidden_size=4096,
        intermediate_size=14336,
        num_layers=32,
        num_heads=32,
        num_kv_heads=8,
        head_dim=128,
        vocab_size=128256,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        rope=RopeConfig("llama3", 500000.0, 8.0, 8192, low_freq_factor=1.0, high_freq_factor=4.0),
        tie_word_embeddings=False,
        attention_bias=False,
        mlp_bias=False,
        activation="silu",
        dtype="bfloat16",
    )


def test_the_newer_form_means_the_same() -> None:
    """`transformers` 5 writes the same model with other names: a folder saved again must not change its
    answers.
    """
    newer = dict(LLAMA_3_1_8B)
    newer["dtype"] = newer.pop("torch_dtype")
    newer["rope_parameters"] = newer.pop("rope_scaling") | {"rope_theta": newer.pop("rope_theta")}
    assert open_config(newer)[1] == open_config(LLAMA_3_1_8B)[1]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"hidden_size": None}, "config.json has no `hidden_size`"),
    "text": ({"num_hidden_layers": "two"}, "has `num_hidden_layers` 'two', it must be a positive integer"),
    "zero": ({"vocab_size": 0}, "has `vocab_size` 0, it must be a positive integer"),
    "boolean": ({"num_attention_heads": True}, "has `num_attention_heads` True"),
    "fraction": ({"head_dim": 16.5}, "has `head_dim` 16.5, it must be a positive integer"),
    "odd head": ({"head_dim": 15}, "has `head_dim` 15, it must be even"),
    "groups": ({"num_key_value_heads": 3}, "it must divide `num_attention_heads` 4"),
    "heads": ({"head_dim": None, "hidden_size": 50}, "it must be a multiple of `num_attention_heads` 4"),
    "activation": ({"hidden_act": "gelu"}, "has `hidden_act` 'gelu', supported are silu, swish"),
    "quantised": (
        {"quantization_config": {"bits": 4}},
        "config.json has no `quantization_config.quant_method`",
    ),
    "bias": ({"attention_bias": 1}, "has `attention_bias` 1, it must be true or false"),
    "eps": ({"rms_norm_eps": float("nan")}, "has `rms_norm_eps` nan, it must be a positive number"),
    "dtype": (
        {"torch_dtype": "float8"},
        "has `torch_dtype` 'float8', supported are float32, bfloat16, float16",
    ),
    "rope kind": (
        {"rope_scaling": {"rope_type": "spiral"}},
        "has `rope_scaling.rope_type` 'spiral', supported are default, linear, dynamic, yarn, llama3, longrope",
    ),
    "rope list": ({"rope_scaling": [1]}, "has `rope_scaling` [1], it must be an object"),
    "rope factor": ({"rope_scaling": {"type": "linear"}}, "has no `rope_scaling.factor`"),
    "rope llama3": (
        {"rope_scaling": {"type": "llama3", "factor": 8}},
        "has no `rope_scaling.low_freq_factor`, has no `rope_scaling.high_freq_factor`",
    ),
    "layers": (
        {"num_hidden_layers": 1_000_000_000},
        "has `num_hidden_layers` 1000000000, it must be a positive integer, limit is 4096",
    ),
    "infinite": (
        {"rope_theta": float("inf")},
        "has `rope_scaling.rope_theta` inf, it must be a number above 1",
    ),
    "theta": ({"rope_theta": 1.0}, "has `rope_scaling.rope_theta` 1.0, it must be a number above 1"),
    "dynamic head": (
        {"head_dim": 2, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
        "has `head_dim` 2, it must be at least 4 with dynamic positions",
    ),
    "rope part": (
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 1.5}},
        "has `rope_parameters.partial_rotary_factor` 1.5, limit is 1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_refused(name: str) -> None:
    """A field that is not understood must stop the start: ignored, it would give wrong answers."""
    fields, expected = REFUSED[name]
    with pytest.raises(ModelLoadError) as caught:
        parse(**fields)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, "config.json has no `model_type`, supported are "),
        ({"model_type": "mamba"}, "config.json has `model_type` 'mamba', supported are "),
        ({"model_type": ["llama"]}, "config.json has `model_type` ['llama'], supported are "),
        (
            {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]},
            "config.json has `architectures` ['LlamaForSequenceClassification'], "
            "supported with `model_type` llama is LlamaForCausalLM",
        ),
    ],
)
def test_other_models_are_refused(raw: dict[str, Any], expected: str) -> None:
    """A model of another family must be refused by its name, with what there is instead."""
    with pytest.raises(ModelLoadError) as caught:
        find_family(raw)
    listed = ", ".join(FAMILIES)
    assert str(caught.value) == expected + (listed if expected.endswith(" ") else "")


NUMBERS: dict[str, dict[str, Any]] = {
    **{name: {} for name in TINY if type(TINY[name]) in (int, float) and not name.endswith("token_id")},
    **{
        f"rope_scaling.{name}": {
            "rope_scaling": {"rope_type": rope_type, "factor": 2, "low_freq_factor": 1, "high_freq_factor": 4}
        }
        for name, rope_type in {
            "factor": "linear",
            "original_max_position_embeddings": "yarn",
            "attention_factor": "yarn",
            "beta_fast": "yarn",
            "beta_slow": "yarn",
            "mscale": "yarn",
            "mscale_all_dim": "yarn",
            "low_freq_factor": "llama3",
            "high_freq_factor": "llama3",
        }.items()
    },
}
HOSTILE = ["1e999", "-1e999", "NaN", "9" * 400, "9" * 5000, "-1", "0", '"9"', "[9]", "{}", "true", "1e300"]


@pytest.mark.parametrize("path", NUMBERS)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:8])
def test_no_number_gets_past_its_field(path: str, text: str, tmp_path: Path) -> None:
    """A number of a stranger that no model has must be refused by its name before memory is taken for it, whatever
    Python makes of it: infinite, too long to print, or as large as a float can be.
    """
    outer, _, inner = path.rpartition(".")
    fields: dict[str, Any] = {**TINY, **NUMBERS[path]}
    target = fields[outer] if outer else fields
    target[inner] = "HERE"
    file = tmp_path / "config.json"
    file.write_text(json.dumps(fields).replace('"HERE"', text))
    with pytest.raises(ModelLoadError) as caught:
        open_config(read_json_object(file))[1]
    assert f"`{path}`" in str(caught.value) or path == "rope_theta"
    assert len(str(caught.value)) < 600


def test_longest_context() -> None:
    """A stretched model may serve its stretched context when asked, another only what it was trained for."""
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}
    assert parse(rope_scaling=yarn).max_context_len == 1024
    assert parse(rope_scaling={"type": "dynamic", "factor": 2.0}).max_context_len == 512
    assert parse(rope_scaling={"type": "linear", "factor": 2.0}).max_context_len == 256
    assert open_config(LLAMA_3_1_8B)[1].max_context_len == 131072


def test_yarn_without_a_factor_takes_the_ratio_of_the_contexts() -> None:
    """DeepSeek names only the two contexts: a factor of 1 instead would undo the stretching."""
    rope = parse(
        rope_scaling={"rope_type": "yarn", "original_max_position_embeddings": 64, "mscale": 1.0}
    ).rope
    assert rope.factor == 4.0
    assert rope.attention_factor == pytest.approx(1.1386, abs=1e-4)


def test_deeply_nested_json_is_refused(tmp_path: Path) -> None:
    """A hostile config.json must be a message, not a crash of the interpreter."""
    path = tmp_path / "config.json"
    path.write_text("[" * 200_000)
    with pytest.raises(FileError, match="is not valid JSON"):
        read_json_object(path)
