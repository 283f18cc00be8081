"""The settings of rotary position embedding, free of torch so that a folder can be checked without
it.
"""

from dataclasses import dataclass
from typing import Literal

RopeType = Literal["default", "linear", "dynamic", "yarn", "llama3", "longrope", "none"]


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """Rotary position embedding, as config.json describes it.

    Fields that a variant does not use keep their defaults. Lengths are in tokens.
    """

    rope_type: RopeType = "default"
    theta: float = 10000.0
    factor: float = 1.0
    """By how much the context was stretched: linear, dynamic, yarn, llama3."""
    original_max_position_embeddings: int = 0
    """Context of the model before it was stretched: yarn, llama3, dynamic."""
    low_freq_factor: float = 1.0
    """llama3: wavelengths above `original / low_freq_factor` are stretched in full."""
    high_freq_factor: float = 4.0
    """llama3: wavelengths below `original / high_freq_factor` stay as they are."""
    beta_fast: float = 32.0
    """yarn: dimensions that turn more often than this within the original context stay as they are.
    """
    beta_slow: float = 1.0
    """yarn: dimensions that turn less often than this within the original context are stretched in
    full.
    """
    attention_factor: float = 1.0
    """yarn, longrope: both tables are multiplied by this, which sharpens attention over a longer
    context.
    """
    truncate: bool = True
    """yarn: round the two borders outwards to whole dimensions."""
    short_factor: tuple[float, ...] = ()
    """longrope: divides each frequency where no sequence is longer than the original context."""
    long_factor: tuple[float, ...] = ()
    """longrope: divides each frequency where one may be."""
    partial_factor: float = 1.0
    """The part of each head that turns, from its first dimension on."""
    query_beta: float = 0.0
    """By how much queries grow with their position; 0 for not at all."""

    def rotary_dim(self, head_dim: int) -> int:
        """Leading dimensions of a head that turn."""
        return 0 if self.rope_type == "none" else int(head_dim * self.partial_factor)


NO_ROPE = RopeConfig("none")
"""No position turns anything."""
