"""OLMoE (Muennighoff et al. 2024, arXiv:2409.02060): Llama with norms over whole queries and keys,
and experts in place of each MLP.
"""

from dataclasses import dataclass

from streamcore.layers.decoder import Decoder, DecoderLayer
from streamcore.layers.norm import RmsNorm
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import DecoderConfig, parse_shape
from streamcore.models.families.parts import attention, decoder, experts, norm, parse_experts, rule
from streamcore.models.fields import Fields
from streamcore.operands import ExpertRule

ARCHITECTURES = ("OlmoeForCausalLM",)


@dataclass(frozen=True, slots=True, kw_only=True)
class OlmoeConfig(DecoderConfig):
    """A decoder with experts, whose size config.json has as that of an MLP."""

    num_experts: int
    rule: ExpertRule


def parse(fields: Fields) -> OlmoeConfig:
    """Reads config.json."""
    fields = fields.with_defaults(rms_norm_eps=1e-5, max_position_embeddings=4096)
    if fields.raw.get("clip_qkv") is not None:
        fields.refuse("clip_qkv", fields.raw["clip_qkv"], "clipped projections are not supported")
    shape = parse_shape(fields)
    num_experts, num_used = parse_experts(fields, shape["num_layers"], 64, 8)
    is_normalised = fields.boolean("norm_topk_prob", False)
    return OlmoeConfig(
        **shape,
        num_experts=num_experts,
        rule=ExpertRule(num_used, False, is_normalised, shape["activation"]),
    )


def build(config: OlmoeConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)

    def layer(w: Weights, index: int) -> DecoderLayer:
        heads = w.at("self_attn")
        norms = (
            RmsNorm.of(heads, "q_norm", config.num_heads * config.head_dim, config.rms_norm_eps),
            RmsNorm.of(heads, "k_norm", config.num_kv_heads * config.head_dim, config.rms_norm_eps),
        )
        return DecoderLayer(
            norm(w, "input_layernorm", config),
            attention(heads, config, index, rope, rule=rule(config), whole_norms=norms),
            norm(w, "post_attention_layernorm", config),
            experts(w.at("mlp"), config, config.num_experts, config.intermediate_size, config.rule),
        )

    return decoder(weights, config, layer)
