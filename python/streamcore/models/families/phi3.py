"""Phi-3, Phi-3.5, Phi-4 and Phi-4-mini (Abdin et al. 2024, arXiv:2404.14219): Llama with stacked
projections in the file.
"""

from streamcore.layers.attention import Attention
from streamcore.layers.decoder import Decoder, DecoderLayer
from streamcore.layers.mlp import GatedMlp
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import WindowedConfig, parse_shape
from streamcore.models.families.parts import decoder, norm, rule
from streamcore.models.fields import Fields

ARCHITECTURES = ("Phi3ForCausalLM",)


def parse(fields: Fields) -> WindowedConfig:
    """Reads config.json."""
    fields = fields.with_defaults(
        rms_norm_eps=1e-5, max_position_embeddings=4096, original_max_position_embeddings=4096
    )
    shape = parse_shape(fields)
    window = fields.optional_integer("sliding_window") or 0
    return WindowedConfig(**shape, windows=(window,) * shape["num_layers"])


def build(config: WindowedConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)
    hidden, inter = config.hidden_size, config.intermediate_size
    num_heads, num_kv_heads, head_dim = config.num_heads, config.num_kv_heads, config.head_dim

    def layer(w: Weights, index: int) -> DecoderLayer:
        heads, mlp = w.at("self_attn"), w.at("mlp")
        qkv = heads.linear({"qkv_proj": (num_heads + 2 * num_kv_heads) * head_dim}, hidden)
        output = heads.linear({"o_proj": hidden}, num_heads * head_dim)
        attend = rule(config, config.windows[index])
        return DecoderLayer(
            norm(w, "input_layernorm", config),
            Attention(qkv, output, num_heads, num_kv_heads, head_dim, rope, index, attend),
            norm(w, "post_attention_layernorm", config),
            GatedMlp(
                mlp.linear({"gate_up_proj": 2 * inter}, hidden),
                mlp.linear({"down_proj": hidden}, inter),
                config.activation,
            ),
        )

    return decoder(weights, config, layer)
