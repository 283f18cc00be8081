"""Gemma 2 (Gemma Team 2024, arXiv:2408.00118): norms on both sides of each half, windows in every
other layer, soft caps.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamcore.layers.attention import Attention
from streamcore.layers.decoder import Decoder
from streamcore.layers.mlp import GatedMlp
from streamcore.layers.norm import RmsNorm
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import WindowedConfig, parse_shape, parse_windows
from streamcore.models.families.parts import attention, decoder, mlp, norm
from streamcore.models.fields import Fields
from streamcore.operands import AttentionRule

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.layers.step import Step

ARCHITECTURES = ("Gemma2ForCausalLM",)
# Norms are stored less 1.
SHIFT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmaConfig(WindowedConfig):
    """What Gemma 2 and 3 have in common."""

    attention_scale: float
    attention_cap: float
    logit_cap: float


@dataclass(frozen=True, slots=True)
class GemmaLayer:
    """A norm before and after each half."""

    before_attention: RmsNorm
    attention: Attention
    after_attention: RmsNorm
    before_mlp: RmsNorm
    mlp: GatedMlp
    after_mlp: RmsNorm

    def attend(self, x: "Tensor | None", residual: "Tensor", step: "Step") -> "Tensor":
        """See `Layer`."""
        x = self.attention(self.before_attention.add(x, residual, step), step)
        return self.after_attention(x, step)

    def feed(self, x: "Tensor", residual: "Tensor", step: "Step") -> "Tensor":
        """See `Layer`."""
        return self.after_mlp(self.mlp(self.before_mlp.add(x, residual, step), step), step)


def parse(fields: Fields) -> GemmaConfig:
    """Reads config.json."""
    caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    fields = with_gemma_defaults(fields, caps, vocab_size=256000, max_position_embeddings=8192)
    return GemmaConfig(**parse_gemma(fields, parse_shape(fields), lambda i: i % 2 == 0))


def with_gemma_defaults(fields: Fields, caps: dict[str, float], **defaults: Any) -> Fields:
    """The defaults of both families; published files leave most fields out. A cap of
    null is none.
    """
    absent = {name: cap for name, cap in caps.items() if name not in fields.raw}
    return fields.with_defaults(
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        hidden_activation="gelu_pytorch_tanh",
        tie_word_embeddings=True,
        query_pre_attn_scalar=256,
        sliding_window=4096,
        **absent,
        **defaults,
    )


def parse_gemma(fields: Fields, shape: dict[str, Any], slides: Any) -> dict[str, Any]:
    """The fields of `GemmaConfig`; `slides` says which layers have a window where the file does
    not.
    """
    if fields.raw.get("use_bidirectional_attention"):
        value = fields.raw["use_bidirectional_attention"]
        fields.refuse("use_bidirectional_attention", value, "models that look ahead are not supported")
    window = fields.integer("sliding_window")
    return {
        **shape,
        "windows": parse_windows(fields, shape["num_layers"], slides, window=window),
        "attention_scale": fields.number("query_pre_attn_scalar") ** -0.5,
        "attention_cap": fields.optional_number("attn_logit_softcapping") or 0.0,
        "logit_cap": fields.optional_number("final_logit_softcapping") or 0.0,
    }


def build(config: GemmaConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)

    def layer(w: Weights, index: int) -> GemmaLayer:
        return gemma_layer(
            w, config, attention(w.at("self_attn"), config, index, rope, rule=rule(config, index))
        )

    return gemma_decoder(weights, config, layer)


def rule(config: GemmaConfig, index: int) -> AttentionRule:
    """The attention rule of the layer at an index."""
    return AttentionRule(config.attention_scale, config.windows[index], config.attention_cap)


def gemma_layer(w: Weights, config: GemmaConfig, attend: Attention) -> GemmaLayer:
    """A layer around its attention."""
    return GemmaLayer(
        norm(w, "input_layernorm", config, shift=SHIFT),
        attend,
        norm(w, "post_attention_layernorm", config, shift=SHIFT),
        norm(w, "pre_feedforward_layernorm", config, shift=SHIFT),
        mlp(w.at("mlp"), config),
        norm(w, "post_feedforward_layernorm", config, shift=SHIFT),
    )


def gemma_decoder(weights: Weights, config: GemmaConfig, layer: Any) -> Decoder:
    """The decoder around its layers."""
    factor = math.sqrt(config.hidden_size)
    return decoder(
        weights, config, layer, norm_shift=SHIFT, embedding_factor=factor, logit_cap=config.logit_cap
    )
