"""A rotary table and the layers that share it."""

from typing import TYPE_CHECKING

from streamcore.layers.rope_config import RopeConfig
from streamcore.operands import Rotation

if TYPE_CHECKING:
    import torch


class Rope:
    """How positions turn queries and keys, by one table for all layers that have this object."""

    def __init__(self, config: RopeConfig, head_dim: int) -> None:
        self.config = config
        self.head_dim = head_dim
        self._rotation: Rotation | None = None

    @property
    def rotation(self) -> Rotation:
        """The table; `prepare` has made it."""
        assert self._rotation is not None, "`Decoder.prepare` comes before the first step"
        return self._rotation

    def prepare(self, max_len: int, device: "torch.device") -> None:
        """Makes the table for sequences of up to `max_len` tokens."""
        from streamcore.layers.rotary_table import cos_sin_table, query_factors

        table = cos_sin_table(self.config, self.head_dim, max_len).to(device)
        factors = query_factors(self.config, max_len)
        self._rotation = Rotation(table, None if factors is None else factors.to(device))
