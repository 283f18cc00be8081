"""Llama (Touvron et al. 2023, arXiv:2302.13971; Grattafiori et al. 2024, arXiv:2407.21783)."""

from streamcore.layers.decoder import Decoder, DecoderLayer
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import DecoderConfig, parse_shape
from streamcore.models.families.parts import attention, decoder, mlp, norm, rule
from streamcore.models.fields import Fields

ARCHITECTURES = ("LlamaForCausalLM",)


def parse(fields: Fields) -> DecoderConfig:
    """Reads config.json; the defaults of `parse_shape` are Llama's."""
    return DecoderConfig(**parse_shape(fields))


def build(config: DecoderConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)

    def layer(w: Weights, index: int) -> DecoderLayer:
        return DecoderLayer(
            norm(w, "input_layernorm", config),
            attention(w.at("self_attn"), config, index, rope, rule=rule(config)),
            norm(w, "post_attention_layernorm", config),
            mlp(w.at("mlp"), config),
        )

    return decoder(weights, config, layer)
