"""Reads rotary position embedding out of config.json, in the forms of `transformers` 4 and 5.

    4   rope_theta beside rope_scaling {"rope_type" or "type", …}, partial_rotary_factor at the top
    5   rope_parameters {"rope_type", "rope_theta", …}, or one such object for each layer type:
        {"full_attention": {…}, "sliding_attention": {…}}

A field inside of the object comes before one of the same name at the top.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeGuard, get_args

from streamcore.layers.rope_config import RopeConfig, RopeType
from streamcore.models.fields import Fields

_OLD_NAMES = {"su": "longrope"}
_NEEDS_NO_OBJECT = "none"


def _is_rope_type(value: object) -> TypeGuard[RopeType]:
    return value != _NEEDS_NO_OBJECT and value in get_args(RopeType)


def parse_rope(fields: Fields, theta: float = 10000.0) -> RopeConfig:
    """The one rope of a model.

    Args:
        fields: config.json.
        theta: the family's base where the file names none.
    """
    name = "rope_parameters" if fields.raw.get("rope_parameters") is not None else "rope_scaling"
    raw = fields.mapping(name)
    return _parse(fields, name, raw, theta)


def parse_ropes(fields: Fields, thetas: Mapping[str, float]) -> dict[str, RopeConfig]:
    """The ropes of a model by layer type; `thetas` has the family's base for each.

    A file that does not distinguish them has one for all. Older files of Gemma name the base of
    sliding layers, which are never stretched, `rope_local_base_freq`.
    """
    nested = fields.mapping("rope_parameters")
    if nested and all(isinstance(value, dict) for value in nested.values()):
        ropes = {}
        for kind, theta in thetas.items():
            inner = nested.get(kind) or {}
            ropes[kind] = _parse(fields, f"rope_parameters.{kind}", inner, theta)
        return ropes
    ropes = {kind: parse_rope(fields, theta) for kind, theta in thetas.items()}
    if "sliding_attention" in thetas and fields.raw.get("rope_local_base_freq") is not None:
        ropes["sliding_attention"] = RopeConfig(theta=fields.number("rope_local_base_freq", above=1.0))
    return ropes


def _parse(fields: Fields, name: str, raw: Mapping[str, Any], theta: float) -> RopeConfig:
    outer = {key: fields.raw.get(key) for key in ("rope_theta", "partial_rotary_factor")}
    rope = fields.inside(name, {**outer, **raw})
    rope_type = raw.get("rope_type") or raw.get("type") or "default"
    rope_type = _OLD_NAMES.get(str(rope_type), rope_type)
    if rope_type == "yarn" and "short_factor" in raw:
        rope_type = "longrope"
    if not _is_rope_type(rope_type):
        names = [kind for kind in get_args(RopeType) if kind != _NEEDS_NO_OBJECT]
        rope.refuse("rope_type", rope_type, "supported are " + ", ".join(names))
        return RopeConfig()
    theta = rope.number("rope_theta", theta, above=1.0)
    partial = rope.number("partial_rotary_factor", 1.0)
    if partial > 1.0:
        rope.refuse("partial_rotary_factor", partial, "limit is 1")
    return replace(_parse_variant(rope_type, theta, rope, fields), partial_factor=partial)


def _parse_variant(rope_type: RopeType, theta: float, rope: Fields, outer: Fields) -> RopeConfig:
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
    if rope_type == "longrope":
        return _parse_longrope(rope, theta, original, context)
    low = rope.number("low_freq_factor")
    high = rope.number("high_freq_factor", above=low if rope.raw.get("low_freq_factor") is not None else 0.0)
    factor = rope.number("factor")
    return RopeConfig("llama3", theta, factor, original, low_freq_factor=low, high_freq_factor=high)


def _original_context(rope: Fields, outer: Fields, context: int) -> int:
    """The context before it was stretched; some models name it beside the object
    instead of inside.
    """
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


def _parse_longrope(rope: Fields, theta: float, original: int, context: int) -> RopeConfig:
    """LongRoPE (Ding et al. 2024, arXiv:2402.13753), with the temperature that Phi-3 takes where
    the file names none.
    """
    attention_factor = rope.optional_number("attention_factor")
    factor = context / original
    if attention_factor is None:
        stretched = factor > 1 and original > 1
        attention_factor = math.sqrt(1 + math.log(factor) / math.log(original)) if stretched else 1.0
    return RopeConfig(
        "longrope",
        theta,
        factor,
        original,
        attention_factor=attention_factor,
        short_factor=rope.numbers("short_factor"),
        long_factor=rope.numbers("long_factor"),
    )
