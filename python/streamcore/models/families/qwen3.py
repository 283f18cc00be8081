"""Qwen3, dense (Yang et al. 2025, arXiv:2505.09388): Llama with a norm over each head of query and
key.
"""

from streamcore.layers.decoder import Decoder, DecoderLayer
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import WindowedConfig
from streamcore.models.families import qwen2
from streamcore.models.families.parts import attention, decoder, head_norms, mlp, norm, rule
from streamcore.models.fields import Fields

ARCHITECTURES = ("Qwen3ForCausalLM",)


def parse(fields: Fields) -> WindowedConfig:
    """Reads config.json; windows are as in Qwen2."""
    return qwen2.parse(fields.with_defaults(head_dim=128))


def build(config: WindowedConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)

    def layer(w: Weights, index: int) -> DecoderLayer:
        heads, attend = w.at("self_attn"), rule(config, config.windows[index])
        norms = head_norms(heads, config)
        return DecoderLayer(
            norm(w, "input_layernorm", config),
            attention(heads, config, index, rope, rule=attend, head_norms=norms),
            norm(w, "post_attention_layernorm", config),
            mlp(w.at("mlp"), config),
        )

    return decoder(weights, config, layer)
