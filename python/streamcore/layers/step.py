"""What a layer may know of a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.kernels import KvGroup, Ops, Scratch


@dataclass(frozen=True, slots=True)
class Step:
    """The tokens of a step, their places in the KV cache, and what computes them."""

    ops: "Ops"
    token_ids: "Tensor"
    """int32 [num_tokens]"""
    positions: "Tensor"
    """int32 [num_tokens]"""
    kv: "Sequence[KvGroup]"
    scratch: "Scratch"

    def rows(self, name: str, width: int) -> "Tensor":
        """[num_tokens, width] for the output of an operation, shared by all layers
        under that name.
        """
        return self.scratch.rows(name, self.token_ids.shape[0], width)
