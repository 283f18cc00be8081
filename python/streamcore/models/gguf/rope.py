"""Reads rotary positions out of the metadata of a GGUF file, as fields of a config.json.

Llama 3's stretched frequencies are stored as the factors that divide them, in `rope_freqs.weight`;
so are the two lists of Phi's longrope.
"""

from typing import Any

from streamcore.models.gguf.metadata import Metadata

_FREQUENCIES = "rope_freqs.weight"
_SHORT, _LONG = "rope_factors_short.weight", "rope_factors_long.weight"
FACTORS = (_FREQUENCIES, _SHORT, _LONG)
"""Tensors that are read here, and are no weights."""


def rope_fields(metadata: Metadata, head_dim: int, **yarn: Any) -> dict[str, Any]:
    """The fields of a config.json; `yarn` are more fields of that variant."""
    fields: dict[str, Any] = {"rope_theta": metadata.number("rope.freq_base", 10000.0)}
    num_turned = metadata.integer("rope.dimension_count", head_dim)
    if num_turned < head_dim:
        # Between this part and the next larger one, so that no rounding leads below it.
        fields["partial_rotary_factor"] = (num_turned + 0.5) / head_dim
    elif num_turned > head_dim:
        metadata.refuse("rope.dimension_count", f"limit is the size of a head, {head_dim}")
    return {**fields, "rope_scaling": _scaling(metadata, yarn)}


def _scaling(metadata: Metadata, yarn: dict[str, Any]) -> dict[str, Any]:
    kind = metadata.raw("rope.scaling.type")
    if _LONG in metadata.tensors and _SHORT in metadata.tensors:
        original = metadata.integer("rope.scaling.original_context_length")
        attention = metadata.optional_number("rope.scaling.attn_factor")
        return _divided(metadata, _SHORT, _LONG, original, attention)
    if _FREQUENCIES in metadata.tensors:
        if kind not in (None, "none"):
            metadata.refuse("rope.scaling.type", f"with `{_FREQUENCIES}` it must be none")
        return _divided(metadata, _FREQUENCIES, _FREQUENCIES, metadata.integer("context_length"), 1.0)
    if kind == "yarn":
        return {**_yarn(metadata), **yarn}
    # As files were written before there was a type.
    factor = "rope.scaling.factor" if metadata.raw("rope.scaling.factor") is not None else "rope.scale_linear"
    if kind == "linear" or (kind is None and metadata.raw(factor) not in (None, 0, 1)):
        return {"rope_type": "linear", "factor": metadata.number(factor)}
    if kind not in (None, "none"):
        metadata.refuse(
            "rope.scaling.type", "supported are none, linear, yarn, and longrope with its factors"
        )
    return {"rope_type": "default"}


def _yarn(metadata: Metadata) -> dict[str, Any]:
    attention = metadata.optional_number("rope.scaling.yarn_attn_factor")
    named = {
        "original_max_position_embeddings": metadata.integer("rope.scaling.original_context_length"),
        "beta_fast": metadata.optional_number("rope.scaling.yarn_beta_fast"),
        "beta_slow": metadata.optional_number("rope.scaling.yarn_beta_slow"),
        "attention_factor": attention or metadata.optional_number("rope.scaling.attn_factor"),
    }
    given = {name: value for name, value in named.items() if value is not None}
    return {"rope_type": "yarn", "factor": metadata.number("rope.scaling.factor"), **given}


def _divided(
    metadata: Metadata, short: str, long: str, original: int, attention_factor: float | None
) -> dict[str, Any]:
    """Frequencies that are divided by stored factors; config.json has that as longrope."""
    return {
        "rope_type": "longrope",
        "original_max_position_embeddings": original,
        "attention_factor": attention_factor,
        "short_factor": _factors(metadata, short),
        "long_factor": _factors(metadata, long),
    }


def _factors(metadata: Metadata, name: str) -> list[float]:
    tensor = metadata.tensors[name]
    if tensor.type != "F32" or len(tensor.shape) != 1:
        metadata.problems.append(
            f"has `{name}` as {tensor.type} {list(tensor.shape)}, it must be F32 in a row"
        )
        return []
    return list(tensor.numbers())
