"""Gemma 3 (Gemma Team 2025, arXiv:2503.19786): Gemma 2 with norms of heads, and two ropes by type
of layer.
"""

from dataclasses import dataclass

from streamcore.layers.decoder import Decoder
from streamcore.layers.rope_config import RopeConfig
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import FULL, SLIDING, check_rope, parse_shape
from streamcore.models.families.gemma2 import (
    SHIFT,
    GemmaConfig,
    GemmaLayer,
    gemma_decoder,
    gemma_layer,
    parse_gemma,
    rule,
    with_gemma_defaults,
)
from streamcore.models.families.parts import attention, head_norms
from streamcore.models.fields import Fields
from streamcore.models.rope import parse_ropes

ARCHITECTURES = ("Gemma3ForCausalLM",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemma3Config(GemmaConfig):
    """Its `rope` is that of the layers without a window."""

    sliding_rope: RopeConfig


def parse(fields: Fields) -> Gemma3Config:
    """Reads config.json."""
    fields = with_gemma_defaults(
        fields, {}, vocab_size=262208, max_position_embeddings=131072, rope_local_base_freq=10000.0
    )
    ropes = parse_ropes(fields, {FULL: 1e6, SLIDING: 1e4})
    shape = parse_shape(fields, rope=ropes[FULL])
    check_rope(fields, ropes[SLIDING], shape["head_dim"])
    pattern = fields.integer("sliding_window_pattern", 6)
    gemma = parse_gemma(fields, shape, lambda i: (i + 1) % pattern != 0)
    return Gemma3Config(**gemma, sliding_rope=ropes[SLIDING])


def build(config: Gemma3Config, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    ropes = [Rope(config.rope, config.head_dim), Rope(config.sliding_rope, config.head_dim)]

    def layer(w: Weights, index: int) -> GemmaLayer:
        heads = w.at("self_attn")
        rope = ropes[1 if config.windows[index] else 0]
        norms = head_norms(heads, config, shift=SHIFT)
        attend = attention(heads, config, index, rope, rule=rule(config, index), head_norms=norms)
        return gemma_layer(w, config, attend)

    return gemma_decoder(weights, config, layer)
