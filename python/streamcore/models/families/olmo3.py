"""OLMo 3 (OLMo Team 2025): OLMo 2 with windows in three of four layers; only the others' positions
are stretched.
"""

from dataclasses import dataclass

from streamcore.layers.decoder import Decoder
from streamcore.layers.rope_config import RopeConfig
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights
from streamcore.models.config import FULL, SLIDING, WindowedConfig, check_rope, parse_shape, parse_windows
from streamcore.models.families.olmo2 import olmo_layer
from streamcore.models.families.parts import decoder
from streamcore.models.fields import Fields
from streamcore.models.rope import parse_ropes

ARCHITECTURES = ("Olmo3ForCausalLM",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Olmo3Config(WindowedConfig):
    """Its `rope` is that of the layers without a window."""

    sliding_rope: RopeConfig


def parse(fields: Fields) -> Olmo3Config:
    """Reads config.json."""
    fields = fields.with_defaults(rms_norm_eps=1e-5, sliding_window=4096)
    ropes = parse_ropes(fields, {FULL: 5e5, SLIDING: 5e5})
    sliding = ropes[SLIDING]
    if fields.raw.get("rope_parameters") is None:
        sliding = RopeConfig(theta=sliding.theta)
    shape = parse_shape(fields, rope=ropes[FULL])
    check_rope(fields, sliding, shape["head_dim"])
    window = fields.integer("sliding_window")
    windows = parse_windows(fields, shape["num_layers"], lambda i: (i + 1) % 4 != 0, window=window)
    return Olmo3Config(**shape, windows=windows, sliding_rope=sliding)


def build(config: Olmo3Config, weights: Weights) -> Decoder:
    """Puts the decoder together."""
    ropes = [Rope(config.rope, config.head_dim), Rope(config.sliding_rope, config.head_dim)]
    return decoder(
        weights,
        config,
        lambda w, index: olmo_layer(w, config, index, ropes[1 if config.windows[index] else 0]),
    )
