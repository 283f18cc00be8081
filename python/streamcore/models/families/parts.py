"""The parts of a decoder by the names and sizes that nearly every family has."""

from collections.abc import Callable
from typing import Any

from streamcore.layers.attention import Attention
from streamcore.layers.decoder import Decoder, Layer
from streamcore.layers.experts import Experts
from streamcore.layers.mlp import GatedMlp
from streamcore.layers.norm import RmsNorm
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import DecoderConfig
from streamcore.models.fields import Fields
from streamcore.operands import AttentionRule, ExpertRule, HeadNorms

# Of all layers together: their tensors are listed before the files are looked at.
_MAX_EXPERTS = 100_000


def norm(weights: Weights, name: str, config: DecoderConfig, *, shift: float = 0.0) -> RmsNorm:
    """A norm over the hidden size."""
    return RmsNorm.of(weights, name, config.hidden_size, config.rms_norm_eps, shift=shift)


def attention(
    weights: Weights,
    config: DecoderConfig,
    index: int,
    rope: Rope,
    *,
    rule: AttentionRule,
    qkv_bias: bool | None = None,
    output_bias: bool | None = None,
    **parts: Any,
) -> Attention:
    """The attention of a layer; `parts` are further fields of `Attention`."""
    query, key_value = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    qkv_bias = config.attention_bias if qkv_bias is None else qkv_bias
    output_bias = config.attention_bias if output_bias is None else output_bias
    stacked = {"q_proj": query, "k_proj": key_value, "v_proj": key_value}
    return Attention(
        weights.linear(stacked, config.hidden_size, bias=qkv_bias),
        weights.linear({"o_proj": config.hidden_size}, query, bias=output_bias),
        config.num_heads,
        config.num_kv_heads,
        config.head_dim,
        rope,
        index,
        rule,
        **parts,
    )


def head_norms(weights: Weights, config: DecoderConfig, *, shift: float = 0.0) -> HeadNorms:
    """Norms over each head of query and key."""
    query, key = (
        weights.vector(f"{name}.weight", config.head_dim, shift=shift) for name in ("q_norm", "k_norm")
    )
    return HeadNorms(query, key, config.rms_norm_eps)


def rule(config: DecoderConfig, window: int = 0) -> AttentionRule:
    """The usual scale, and a window."""
    return AttentionRule(config.head_dim**-0.5, window)


def parse_experts(fields: Fields, num_layers: int, num_experts: int, num_used: int) -> tuple[int, int]:
    """How many experts a layer has, under either of its names, and how many a token takes; with the
    family's defaults.
    """
    name = "num_experts" if fields.raw.get("num_experts") is not None else "num_local_experts"
    num_experts = fields.integer(name, num_experts, most=_MAX_EXPERTS // num_layers)
    num_used = fields.integer("num_experts_per_tok", num_used)
    if num_used > num_experts:
        fields.refuse("num_experts_per_tok", num_used, f"limit is `{name}` {num_experts}")
    return num_experts, num_used


def experts(
    weights: Weights,
    config: DecoderConfig,
    num_experts: int,
    expert_size: int,
    rule: ExpertRule,
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> Experts:
    """A router `gate`, and experts that lie one by one below their numbers."""
    gate, up, down = names
    hidden = config.hidden_size
    each = [weights.at(f"experts.{number}") for number in range(num_experts)]
    return Experts.of(
        weights.linear({"gate": num_experts}, hidden),
        [expert.linear({gate: expert_size, up: expert_size}, hidden) for expert in each],
        [expert.linear({down: hidden}, expert_size) for expert in each],
        rule,
    )


def mlp(weights: Weights, config: DecoderConfig) -> GatedMlp:
    """The gated MLP of a layer."""
    return GatedMlp.of(
        weights,
        config.hidden_size,
        config.intermediate_size,
        bias=config.mlp_bias,
        activation=config.activation,
    )


def decoder(
    weights: Weights, config: DecoderConfig, layer: Callable[[Weights, int], Layer], **parts: Any
) -> Decoder:
    """The decoder around its layers; `parts` are further arguments of `Decoder.of`."""
    return Decoder.of(
        weights,
        layer,
        num_layers=config.num_layers,
        vocab_size=config.vocab_size,
        hidden=config.hidden_size,
        eps=config.rms_norm_eps,
        tied=config.tie_word_embeddings,
        **parts,
    )
