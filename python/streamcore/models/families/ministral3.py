"""Ministral 3 and Devstral Small 2 (Mistral AI 2025): Mistral without windows, whose queries grow
with their position.
"""

from dataclasses import replace

from streamcore.models.config import WindowedConfig, parse_shape
from streamcore.models.families import mistral
from streamcore.models.fields import Fields
from streamcore.models.rope import parse_rope

ARCHITECTURES = ("Ministral3ForCausalLM",)

_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 16.0,
    "original_max_position_embeddings": 16384,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}


def parse(fields: Fields) -> WindowedConfig:
    """Reads config.json."""
    named = fields.raw.get("rope_scaling") or _ROPE
    fields = fields.with_defaults(
        num_key_value_heads=8,
        head_dim=128,
        rms_norm_eps=1e-5,
        max_position_embeddings=262144,
        rope_parameters=named,
    )
    inner = fields.inside("rope_parameters", fields.mapping("rope_parameters"))
    beta = inner.optional_number("llama_4_scaling_beta") or 0.0
    rope = replace(parse_rope(fields), query_beta=beta)
    if beta and not rope.original_max_position_embeddings:
        inner.refuse("llama_4_scaling_beta", beta, "the original context is not named")
    shape = parse_shape(fields, rope=rope)
    window = fields.optional_integer("sliding_window") or 0
    return WindowedConfig(**shape, windows=(window,) * shape["num_layers"])


build = mistral.build
