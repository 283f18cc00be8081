"""Mistral (Jiang et al. 2023, arXiv:2310.06825): Llama, in older models with one window for all
layers.
"""

from streamcore.layers.decoder import Decoder, DecoderLayer
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import WindowedConfig, parse_shape
from streamcore.models.families.parts import attention, decoder, mlp, norm, rule
from streamcore.models.fields import Fields

ARCHITECTURES = ("MistralForCausalLM",)


def parse(fields: Fields) -> WindowedConfig:
    """Reads config.json; a `sliding_window` of null is no window, a file without the field has one
    of 4096.
    """
    named = fields.raw.get("sliding_window", 4096)
    fields = fields.with_defaults(num_key_value_heads=8, max_position_embeddings=131072, sliding_window=4096)
    shape = parse_shape(fields)
    window = 0 if named is None else fields.integer("sliding_window")
    return WindowedConfig(**shape, windows=(window,) * shape["num_layers"])


def build(config: WindowedConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)

    def layer(w: Weights, index: int) -> DecoderLayer:
        attend = rule(config, config.windows[index])
        return DecoderLayer(
            norm(w, "input_layernorm", config),
            attention(w.at("self_attn"), config, index, rope, rule=attend),
            norm(w, "post_attention_layernorm", config),
            mlp(w.at("mlp"), config),
        )

    return decoder(weights, config, layer)
