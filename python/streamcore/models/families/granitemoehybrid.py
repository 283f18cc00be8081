"""Granite 4.0 without Mamba layers and experts, such as Micro (IBM 2025): Granite, whose MLP the
file calls shared.
"""

from dataclasses import replace

from streamcore.layers.decoder import Decoder
from streamcore.layers.mlp import GatedMlp
from streamcore.layers.rope_config import NO_ROPE
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.families.granite import (
    GraniteConfig,
    GraniteLayer,
    granite_decoder,
    granite_layer,
    parse_multipliers,
)
from streamcore.models.fields import Fields

ARCHITECTURES = ("GraniteMoeHybridForCausalLM",)
_ATTENTION = ("attention", "full_attention")


def parse(fields: Fields) -> GraniteConfig:
    """Reads config.json."""
    fields = fields.with_defaults(shared_intermediate_size=1024, num_local_experts=8)
    if fields.raw["num_local_experts"] != 0:
        fields.refuse(
            "num_local_experts", fields.raw["num_local_experts"], "only models without experts are supported"
        )
    config = GraniteConfig(**parse_multipliers(fields))
    name = "layer_types" if fields.raw.get("layer_types") is not None else "layers_block_type"
    types = fields.raw.get(name)
    is_list = isinstance(types, list) and len(types) == config.num_layers
    if not is_list or any(kind not in _ATTENTION for kind in types or []):
        fields.refuse(name, types, "only models whose layers all have attention are supported")
    if fields.raw.get("position_embedding_type") in (None, "nope"):
        config = replace(config, rope=NO_ROPE)
    return replace(config, intermediate_size=fields.integer("shared_intermediate_size"))


def build(config: GraniteConfig, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    rope = Rope(config.rope, config.head_dim)
    hidden, inter = config.hidden_size, config.intermediate_size

    def layer(w: Weights, index: int) -> GraniteLayer:
        shared = w.at("shared_mlp")
        feed = GatedMlp(
            shared.linear({"input_linear": 2 * inter}, hidden),
            shared.linear({"output_linear": hidden}, inter),
            config.activation,
        )
        return granite_layer(w, config, index, rope, feed)

    return granite_decoder(weights, config, layer)
