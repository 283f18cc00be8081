"""Granite 3 and 4.1 (IBM 2024): Llama with a multiplier for embeddings, scores, each half of a
layer, and logits.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamcore.layers.attention import Attention
from streamcore.layers.decoder import Decoder
from streamcore.layers.mlp import GatedMlp
from streamcore.layers.norm import RmsNorm
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import DecoderConfig, parse_shape
from streamcore.models.families.parts import attention, decoder, mlp, norm
from streamcore.models.fields import Fields
from streamcore.operands import AttentionRule

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.layers.step import Step

ARCHITECTURES = ("GraniteForCausalLM",)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraniteConfig(DecoderConfig):
    """A decoder with four multipliers."""

    embedding_multiplier: float
    attention_multiplier: float
    residual_multiplier: float
    logits_scaling: float


@dataclass(frozen=True, slots=True)
class GraniteLayer:
    """Each half is multiplied before it is added to the residual."""

    before_attention: RmsNorm
    attention: Attention
    before_mlp: RmsNorm
    mlp: GatedMlp
    multiplier: float

    def attend(self, x: "Tensor | None", residual: "Tensor", step: "Step") -> "Tensor":
        """See `Layer`."""
        x = self.attention(self.before_attention.add(x, residual, step), step)
        step.ops.scale(x, self.multiplier)
        return x

    def feed(self, x: "Tensor", residual: "Tensor", step: "Step") -> "Tensor":
        """See `Layer`."""
        x = self.mlp(self.before_mlp.add(x, residual, step), step)
        step.ops.scale(x, self.multiplier)
        return x


def parse(fields: Fields) -> GraniteConfig:
    """Reads config.json."""
    return GraniteConfig(**parse_multipliers(fields))


def parse_multipliers(fields: Fields) -> dict[str, Any]:
    """The fields of `GraniteConfig`."""
    names = ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling")
    return {**parse_shape(fields), **{name: fields.number(name, 1.0) for name in names}}


def build(config: GraniteConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)

    def layer(w: Weights, index: int) -> GraniteLayer:
        return granite_layer(w, config, index, rope, mlp(w.at("mlp"), config))

    return granite_decoder(weights, config, layer)


def granite_layer(w: Weights, config: GraniteConfig, index: int, rope: Rope, feed: GatedMlp) -> GraniteLayer:
    """The layer at an index around its MLP."""
    attend = AttentionRule(config.attention_multiplier)
    return GraniteLayer(
        norm(w, "input_layernorm", config),
        attention(w.at("self_attn"), config, index, rope, rule=attend),
        norm(w, "post_attention_layernorm", config),
        feed,
        config.residual_multiplier,
    )


def granite_decoder(weights: Weights, config: GraniteConfig, layer: Any) -> Decoder:
    """The decoder around its layers."""
    return decoder(
        weights,
        config,
        layer,
        embedding_factor=config.embedding_multiplier,
        logit_factor=1 / config.logits_scaling,
    )
