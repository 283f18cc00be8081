"""Mixtral (Jiang et al. 2024, arXiv:2401.04088): Mistral with experts in place of each MLP."""

from dataclasses import dataclass

from streamcore.layers.decoder import Decoder, DecoderLayer
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import WindowedConfig, parse_shape
from streamcore.models.families.parts import attention, decoder, experts, norm, parse_experts, rule
from streamcore.models.fields import Fields
from streamcore.models.rope import parse_rope
from streamcore.operands import ExpertRule

ARCHITECTURES = ("MixtralForCausalLM",)

_NAMES = ("w1", "w3", "w2")


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtralConfig(WindowedConfig):
    """A decoder with experts."""

    num_experts: int
    rule: ExpertRule


def parse(fields: Fields) -> MixtralConfig:
    """Reads config.json."""
    fields = fields.with_defaults(num_key_value_heads=8, rms_norm_eps=1e-5, max_position_embeddings=131072)
    shape = parse_shape(fields, rope=parse_rope(fields, 1e6))
    window = fields.optional_integer("sliding_window") or 0
    num_experts, num_used = parse_experts(fields, shape["num_layers"], 8, 2)
    return MixtralConfig(
        **shape,
        windows=(window,) * shape["num_layers"],
        num_experts=num_experts,
        rule=ExpertRule(num_used, False, True, shape["activation"]),
    )


def build(config: MixtralConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)

    def layer(w: Weights, index: int) -> DecoderLayer:
        attend, feed = rule(config, config.windows[index]), w.at("block_sparse_moe")
        return DecoderLayer(
            norm(w, "input_layernorm", config),
            attention(w.at("self_attn"), config, index, rope, rule=attend),
            norm(w, "post_attention_layernorm", config),
            experts(feed, config, config.num_experts, config.intermediate_size, config.rule, _NAMES),
        )

    return decoder(weights, config, layer)
