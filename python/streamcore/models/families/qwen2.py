"""Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv:2407.10671): Llama with biases on query, key and
value.
"""

from streamcore.layers.decoder import Decoder, DecoderLayer
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import WindowedConfig, parse_shape, parse_windows
from streamcore.models.families.parts import attention, decoder, mlp, norm, rule
from streamcore.models.fields import Fields

ARCHITECTURES = ("Qwen2ForCausalLM",)


def parse(fields: Fields) -> WindowedConfig:
    """Reads config.json; windows count only with `use_sliding_window`, from layer
    `max_window_layers` on.
    """
    fields = fields.with_defaults(max_position_embeddings=32768, sliding_window=4096)
    shape = parse_shape(fields)
    window = fields.integer("sliding_window") if fields.boolean("use_sliding_window", False) else None
    first = fields.integer("max_window_layers", 28, least=0)
    windows = parse_windows(fields, shape["num_layers"], lambda i: i >= first, window=window)
    return WindowedConfig(**shape, windows=windows)


def build(config: WindowedConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)

    def layer(w: Weights, index: int) -> DecoderLayer:
        attend = rule(config, config.windows[index])
        return DecoderLayer(
            norm(w, "input_layernorm", config),
            attention(w.at("self_attn"), config, index, rope, rule=attend, qkv_bias=True, output_bias=False),
            norm(w, "post_attention_layernorm", config),
            mlp(w.at("mlp"), config),
        )

    return decoder(weights, config, layer)
