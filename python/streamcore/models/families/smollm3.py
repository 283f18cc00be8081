"""SmolLM3 (Bakouch et al. 2025, Hugging Face): Llama without positions in every fourth layer."""

from dataclasses import dataclass

from streamcore.layers.decoder import Decoder, DecoderLayer
from streamcore.layers.rope_config import NO_ROPE
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import WindowedConfig, parse_shape, parse_windows
from streamcore.models.families.parts import attention, decoder, mlp, norm, rule
from streamcore.models.fields import Fields
from streamcore.models.rope import parse_rope

ARCHITECTURES = ("SmolLM3ForCausalLM",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmolLm3Config(WindowedConfig):
    """A decoder some of whose layers have no positions."""

    has_rope: tuple[bool, ...]
    """Of each layer."""


def parse(fields: Fields) -> SmolLm3Config:
    """Reads config.json; `no_rope_layers` has a 0 for each layer without positions."""
    fields = fields.with_defaults(
        num_key_value_heads=4, max_position_embeddings=32768, tie_word_embeddings=True
    )
    shape = parse_shape(fields, rope=parse_rope(fields, 2e6))
    num_layers = shape["num_layers"]
    has_rope = _parse_has_rope(fields, num_layers)
    slides = fields.boolean("use_sliding_window", False)
    window = fields.optional_integer("sliding_window") if slides else None
    windows = parse_windows(fields, num_layers, lambda i: not has_rope[i], window=window)
    return SmolLm3Config(**shape, windows=windows, has_rope=has_rope)


def _parse_has_rope(fields: Fields, num_layers: int) -> tuple[bool, ...]:
    listed = fields.raw.get("no_rope_layers")
    if isinstance(listed, list) and len(listed) == num_layers and all(item in (0, 1) for item in listed):
        return tuple(item == 1 for item in listed)
    if listed is not None:
        fields.refuse("no_rope_layers", listed, f"it must be a list of {num_layers} numbers, 0 or 1")
    interval = fields.integer("no_rope_layer_interval", 4)
    return tuple((index + 1) % interval != 0 for index in range(num_layers))


def build(config: SmolLm3Config, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    ropes = {True: Rope(config.rope, config.head_dim), False: Rope(NO_ROPE, config.head_dim)}

    def layer(w: Weights, index: int) -> DecoderLayer:
        rope, attend = ropes[config.has_rope[index]], rule(config, config.windows[index])
        return DecoderLayer(
            norm(w, "input_layernorm", config),
            attention(w.at("self_attn"), config, index, rope, rule=attend),
            norm(w, "post_attention_layernorm", config),
            mlp(w.at("mlp"), config),
        )

    return decoder(weights, config, layer)
