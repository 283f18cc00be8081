"""Qwen3 with experts (Yang et al. 2025, arXiv:2505.09388): Qwen3, most of whose layers have experts
in place of the MLP.
"""

from dataclasses import dataclass

from streamcore.layers.decoder import Decoder, DecoderLayer
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import WindowedConfig, parse_shape
from streamcore.models.families.parts import (
    attention,
    decoder,
    experts,
    head_norms,
    mlp,
    norm,
    parse_experts,
    rule,
)
from streamcore.models.fields import Fields
from streamcore.operands import ExpertRule

ARCHITECTURES = ("Qwen3MoeForCausalLM",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen3MoeConfig(WindowedConfig):
    """A decoder with experts."""

    num_experts: int
    expert_size: int
    rule: ExpertRule
    has_experts: tuple[bool, ...]
    """Of each layer."""

    @property
    def widest_mlp(self) -> int:
        """See `DecoderConfig`."""
        return max(self.intermediate_size, self.expert_size)


def parse(fields: Fields) -> Qwen3MoeConfig:
    """Reads config.json."""
    fields = fields.with_defaults(num_key_value_heads=4, max_position_embeddings=32768, sliding_window=4096)
    shape = parse_shape(fields)
    num_layers = shape["num_layers"]
    slides = fields.boolean("use_sliding_window", False)
    window = fields.integer("sliding_window") if slides else 0
    num_experts, num_used = parse_experts(fields, num_layers, 128, 8)
    plain = fields.raw.get("mlp_only_layers") or []
    if not isinstance(plain, list):
        fields.refuse("mlp_only_layers", plain, "it must be a list of layers")
        plain = []
    step = fields.integer("decoder_sparse_step", 1)
    is_normalised = fields.boolean("norm_topk_prob", False)
    return Qwen3MoeConfig(
        **shape,
        windows=(window,) * num_layers,
        num_experts=num_experts,
        expert_size=fields.integer("moe_intermediate_size", 768),
        rule=ExpertRule(num_used, False, is_normalised, shape["activation"]),
        has_experts=tuple(i not in plain and (i + 1) % step == 0 for i in range(num_layers)),
    )


def build(config: Qwen3MoeConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)

    def layer(w: Weights, index: int) -> DecoderLayer:
        heads, attend = w.at("self_attn"), rule(config, config.windows[index])
        norms, feed = head_norms(heads, config), w.at("mlp")
        return DecoderLayer(
            norm(w, "input_layernorm", config),
            attention(heads, config, index, rope, rule=attend, head_norms=norms),
            norm(w, "post_attention_layernorm", config),
            experts(feed, config, config.num_experts, config.expert_size, config.rule)
            if config.has_experts[index]
            else mlp(feed, config),
        )

    return decoder(weights, config, layer)
