"""What a forward pass must know of config.json, checked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, get_args

from streamcore.layers.rope_config import RopeConfig, RopeType
from streamcore.models.fields import Fields, shown

Dtype = Literal["float32", "bfloat16", "float16"]
# The tensors of every layer are listed before the files are looked at.
_MAX_LAYERS = 4096


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of a decoder of the Llama kind."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope: RopeConfig
    tie_word_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    dtype: Dtype | None
    """The dtype that config.json names; None if it names none."""

    @property
    def kv_numbers_per_token(self) -> int:
        """Numbers in the keys and values of one token, in all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim

    @property
    def max_context_len(self) -> int:
        """Longest context that the position embedding was stretched for, in tokens."""
        stretched = 0.0
        if self.rope.rope_type in ("yarn", "dynamic"):
            stretched = self.rope.factor * self.rope.original_max_position_embeddings
        return max(self.max_position_embeddings, int(stretched))


def parse_config(raw: Mapping[str, Any]) -> ModelConfig:
    """Reads config.json.

    Raises:
        ModelLoadError: names every field that is missing, of the wrong type or not supported.
    """
    fields = Fields(raw)
    hidden_size, num_heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    config = ModelConfig(
        model_type=str(raw.get("model_type")),
        hidden_size=hidden_size,
        intermediate_size=fields.integer("intermediate_size"),
        num_layers=fields.integer("num_hidden_layers", most=_MAX_LAYERS),
        num_heads=num_heads,
        num_kv_heads=fields.integer("num_key_value_heads", num_heads),
        head_dim=fields.integer("head_dim", hidden_size // num_heads),
        vocab_size=fields.integer("vocab_size"),
        max_position_embeddings=fields.integer("max_position_embeddings", 2048),
        rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
        rope=_parse_rope(fields),
        tie_word_embeddings=fields.boolean("tie_word_embeddings", False),
        attention_bias=fields.boolean("attention_bias", False),
        mlp_bias=fields.boolean("mlp_bias", False),
        dtype=_parse_dtype(fields),
    )
    _check_shape(fields, config)
    fields.check()
    return config


def _parse_dtype(fields: Fields) -> Dtype | None:
    name = "dtype" if fields.raw.get("dtype") is not None else "torch_dtype"
    value = fields.raw.get(name)
    if value is None or _is_dtype(value):
        return value
    fields.refuse(name, value, "supported are " + ", ".join(get_args(Dtype)))
    return None


def _is_dtype(value: object) -> TypeGuard[Dtype]:
    return value in get_args(Dtype)


def _is_rope_type(value: object) -> TypeGuard[RopeType]:
    return value in get_args(RopeType)


def _check_shape(fields: Fields, config: ModelConfig) -> None:
    activation = fields.raw.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        fields.refuse("hidden_act", activation, "only silu is supported")
    _refuse_quantised(fields)
    if config.num_heads % config.num_kv_heads:
        fields.refuse(
            "num_key_value_heads",
            config.num_kv_heads,
            f"it must divide `num_attention_heads` {config.num_heads}",
        )
    if fields.raw.get("head_dim") is None and config.hidden_size % config.num_heads:
        fields.refuse(
            "hidden_size",
            config.hidden_size,
            f"it must be a multiple of `num_attention_heads` {config.num_heads}",
        )
    if config.head_dim % 2:
        fields.refuse("head_dim", config.head_dim, "it must be even")
    if config.head_dim == 2 and config.rope.rope_type == "dynamic":
        fields.refuse("head_dim", config.head_dim, "it must be at least 4 with dynamic positions")


def _refuse_quantised(fields: Fields) -> None:
    for name in ("quantization_config", "compression_config"):
        raw = fields.raw.get(name)
        if raw is None:
            continue
        methods = (
            [raw[key] for key in ("quant_method", "quantization_method") if key in raw]
            if isinstance(raw, dict)
            else []
        )
        method = f" {shown(methods[0])}" if methods else ""
        fields.problems.append(f"has `{name}`{method}, quantised weights are not supported")
        fields.hint = "serve the folder with the unquantised weights that this one was made from"


def _parse_rope(fields: Fields) -> RopeConfig:
    """Reads either form: `rope_parameters` with everything in it, or `rope_theta` beside `rope_scaling`."""
    name = "rope_parameters" if fields.raw.get("rope_parameters") is not None else "rope_scaling"
    raw = fields.raw.get(name)
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        fields.refuse(name, raw, "it must be an object")
        return RopeConfig()
    outer = {"rope_theta": fields.raw.get("rope_theta")}
    rope = fields.inside(name, {**outer, **raw})
    rope_type = raw.get("rope_type") or raw.get("type") or "default"
    if not _is_rope_type(rope_type):
        rope.refuse("rope_type", rope_type, "supported are " + ", ".join(get_args(RopeType)))
        return RopeConfig()
    if raw.get("partial_rotary_factor", 1.0) != 1.0:
        rope.refuse("partial_rotary_factor", raw["partial_rotary_factor"], "only 1 is supported")
    return _parse_variant(rope_type, rope, fields)


def _parse_variant(rope_type: RopeType, rope: Fields, outer: Fields) -> RopeConfig:
    theta = rope.number("rope_theta", 10000.0, above=1.0)
    if rope_type == "default":
        return RopeConfig(theta=theta)
    if rope_type == "linear":
        return RopeConfig("linear", theta, rope.number("factor"))
    context = outer.integer("max_position_embeddings", 2048)
    if rope_type == "dynamic":
        return RopeConfig("dynamic", theta, rope.number("factor"), context)
    original = _original_context(rope, outer, context)
    if rope_type == "yarn":
        return _parse_yarn(rope, theta, original, context / original)
    low = rope.number("low_freq_factor")
    high = rope.number("high_freq_factor", above=low if rope.raw.get("low_freq_factor") is not None else 0.0)
    return RopeConfig(
        "llama3", theta, rope.number("factor"), original, low_freq_factor=low, high_freq_factor=high
    )


def _original_context(rope: Fields, outer: Fields, context: int) -> int:
    """The context before it was stretched; some models name it beside the object instead of inside."""
    name = "original_max_position_embeddings"
    fields = outer if outer.raw.get(name) is not None else rope
    return fields.integer(name, context)


def _parse_yarn(rope: Fields, theta: float, original: int, stretch: float) -> RopeConfig:
    factor = rope.number("factor", stretch)
    attention_factor = rope.optional_number("attention_factor")
    if attention_factor is None:
        scales = rope.optional_number("mscale"), rope.optional_number("mscale_all_dim")
        attention_factor = _yarn_attention_factor(factor, *scales)
    return RopeConfig(
        "yarn",
        theta,
        factor,
        original,
        beta_fast=rope.number("beta_fast", 32.0),
        beta_slow=rope.number("beta_slow", 1.0),
        attention_factor=attention_factor,
        truncate=rope.boolean("truncate", True),
    )


def _yarn_attention_factor(factor: float, mscale: float | None, mscale_all_dim: float | None) -> float:
    """The temperature of the YaRN paper, section 3.4, or DeepSeek's quotient of two of them."""

    def magnitude(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    if mscale and mscale_all_dim:
        return magnitude(mscale) / magnitude(mscale_all_dim)
    return magnitude(1.0)
