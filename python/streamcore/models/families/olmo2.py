"""OLMo 2 (OLMo Team 2024, arXiv:2501.00656): norms only after each half, and over whole queries and
keys.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamcore.layers.attention import Attention
from streamcore.layers.decoder import Decoder
from streamcore.layers.mlp import GatedMlp
from streamcore.layers.norm import RmsNorm
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import WindowedConfig, parse_shape
from streamcore.models.families.parts import attention, decoder, mlp, norm, rule
from streamcore.models.fields import Fields

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.layers.step import Step

ARCHITECTURES = ("Olmo2ForCausalLM",)


@dataclass(frozen=True, slots=True)
class OlmoLayer:
    """Normalises what each half makes of the residual, and not the residual."""

    attention: Attention
    after_attention: RmsNorm
    mlp: GatedMlp
    after_mlp: RmsNorm

    def attend(self, x: "Tensor | None", residual: "Tensor", step: "Step") -> "Tensor":
        """See `Layer`."""
        if x is not None:
            step.ops.add(residual, x)
        return self.after_attention(self.attention(residual, step), step)

    def feed(self, x: "Tensor", residual: "Tensor", step: "Step") -> "Tensor":
        """See `Layer`."""
        step.ops.add(residual, x)
        return self.after_mlp(self.mlp(residual, step), step)


def parse(fields: Fields) -> WindowedConfig:
    """Reads config.json."""
    shape = parse_shape(fields.with_defaults(rms_norm_eps=1e-5))
    return WindowedConfig(**shape, windows=(0,) * shape["num_layers"])


def build(config: WindowedConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)
    return decoder(weights, config, lambda w, index: olmo_layer(w, config, index, rope))


def olmo_layer(w: Weights, config: WindowedConfig, index: int, rope: Rope) -> OlmoLayer:
    """The layer at an index."""
    heads = w.at("self_attn")
    norms = (
        RmsNorm.of(heads, "q_norm", config.num_heads * config.head_dim, config.rms_norm_eps),
        RmsNorm.of(heads, "k_norm", config.num_kv_heads * config.head_dim, config.rms_norm_eps),
    )
    attend = rule(config, config.windows[index])
    return OlmoLayer(
        attention(heads, config, index, rope, rule=attend, whole_norms=norms),
        norm(w, "post_attention_layernorm", config),
        mlp(w.at("mlp"), config),
        norm(w, "post_feedforward_layernorm", config),
    )
