"""What operations take beside tensors, free of torch at import: layers are declared where torch is
not there yet.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from streamcore.kernels import LinearWeight

Activation = Literal["silu", "gelu_tanh", "clamped"]
"""`silu(gate) * up`, `gelu(gate) * up` with the tanh form of GELU, or gpt-oss's `(clamp(up) + 1) *
g * sigmoid(1.702 g)` with `g = min(gate, 7)`.
"""


@dataclass(frozen=True, slots=True)
class Rotation:
    """How positions turn queries and keys."""

    cos_sin: "Tensor"
    """float32 [max_position, rotary_dim], contiguous: cosines in the first half of the columns; no
    columns turn nothing
    """
    query_factors: "Tensor | None" = None
    """float32 [max_position], multiplies the queries of each position, or None"""


@dataclass(frozen=True, slots=True)
class HeadNorms:
    """Norms of each head of query and key, before they are rotated."""

    query: "Tensor"
    """[head_dim]"""
    key: "Tensor"
    """[head_dim]"""
    eps: float


@dataclass(frozen=True, slots=True)
class AttentionRule:
    """How the scores of queries and keys become weights."""

    scale: float
    """Multiplies the scores, usually `head_dim ** -0.5`."""
    window: int = 0
    """Maximum number of keys that a token sees, its own among them; 0 for all."""
    soft_cap: float = 0.0
    """Scores become `soft_cap * tanh(score / soft_cap)`; 0 for not at all."""
    sinks: "Tensor | None" = None
    """[num_heads], one more score of each head in the softmax, without a value; None for none"""

    @property
    def is_plain(self) -> bool:
        """Whether every token sees its whole context by the usual softmax."""
        return not self.window and not self.soft_cap and self.sinks is None


@dataclass(frozen=True, slots=True)
class Expert:
    """A gated MLP of which few tokens make use."""

    gate_up: "LinearWeight"
    gate_up_bias: "Tensor | None"
    down: "LinearWeight"
    down_bias: "Tensor | None"


@dataclass(frozen=True, slots=True)
class ExpertRule:
    """Which experts a token takes, and by what weights their outputs are added."""

    num_used: int
    """Experts that each token takes: those with the greatest scores."""
    chooses_first: bool
    """Whether the softmax is over the chosen scores; else it is over all of them."""
    is_normalised: bool
    """Whether the weights of the chosen are divided by their sum; without meaning where
    `chooses_first`.
    """
    activation: Activation
