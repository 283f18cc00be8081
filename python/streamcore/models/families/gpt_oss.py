"""gpt-oss (OpenAI 2025, arXiv:2508.10925): sinks, windows in every other layer, experts with biases
and a clamped SiLU.
"""

from dataclasses import dataclass

from streamcore.layers.decoder import Decoder, DecoderLayer
from streamcore.layers.experts import Experts
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Stack, Weights
from streamcore.models.config import WindowedConfig, parse_shape, parse_windows
from streamcore.models.families.parts import attention, decoder, norm, parse_experts
from streamcore.models.fields import Fields
from streamcore.operands import AttentionRule, ExpertRule

ARCHITECTURES = ("GptOssForCausalLM",)

_ROPE = {
    "rope_type": "yarn",
    "factor": 32.0,
    "original_max_position_embeddings": 4096,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
}
_LIMIT, _ALPHA = 7.0, 1.702


@dataclass(frozen=True, slots=True, kw_only=True)
class GptOssConfig(WindowedConfig):
    """A decoder with experts."""

    num_experts: int
    rule: ExpertRule


def parse(fields: Fields) -> GptOssConfig:
    """Reads config.json."""
    fields = fields.with_defaults(
        head_dim=64,
        num_key_value_heads=8,
        rms_norm_eps=1e-5,
        max_position_embeddings=131072,
        attention_bias=True,
        sliding_window=128,
        rope_theta=150000.0,
        rope_parameters=fields.raw.get("rope_scaling") or _ROPE,
    )
    shape = parse_shape(fields)
    window = fields.integer("sliding_window")
    num_experts, num_used = parse_experts(fields, shape["num_layers"], 128, 4)
    for name, value in (("swiglu_limit", _LIMIT), ("swiglu_alpha", _ALPHA)):
        if fields.number(name, value) != value:
            fields.refuse(name, fields.raw[name], f"only {value} is supported")
    return GptOssConfig(
        **shape,
        windows=parse_windows(fields, shape["num_layers"], lambda i: i % 2 == 0, window=window),
        num_experts=num_experts,
        rule=ExpertRule(num_used, True, False, "clamped"),
    )


def build(config: GptOssConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)

    def layer(w: Weights, index: int) -> DecoderLayer:
        heads = w.at("self_attn")
        sinks = heads.vector("sinks", config.num_heads)
        attend = AttentionRule(config.head_dim**-0.5, config.windows[index], sinks=sinks)
        return DecoderLayer(
            norm(w, "input_layernorm", config),
            attention(heads, config, index, rope, rule=attend),
            norm(w, "post_attention_layernorm", config),
            _experts(w.at("mlp"), config),
        )

    return decoder(weights, config, layer)


def _experts(w: Weights, config: GptOssConfig) -> Experts:
    hidden, inter, num_experts = config.hidden_size, config.intermediate_size, config.num_experts
    experts = w.at("experts")
    gate_up = Stack("gate_up_proj", num_experts, 2 * inter, hidden, True, True, "gate_up_proj_bias")
    down = Stack("down_proj", num_experts, hidden, inter, True, False, "down_proj_bias")
    router = w.linear({"router": num_experts}, hidden, bias=True)
    return Experts.of(router, experts.stack(gate_up), experts.stack(down), config.rule)
