"""A decoder, from token ids to logits."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from streamcore.layers.attention import Attention
from streamcore.layers.linear import Linear
from streamcore.layers.norm import RmsNorm
from streamcore.layers.rotary import Rope
from streamcore.layers.weights import Weights

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from streamcore.layers.step import Step


class FeedForward(Protocol):
    """The second half of a layer: an MLP, or experts."""

    def __call__(self, x: "Tensor", step: "Step") -> "Tensor":
        """[num_tokens, hidden] to [num_tokens, hidden]."""


class Layer(Protocol):
    """A decoder layer."""

    @property
    def attention(self) -> Attention:
        """Its first half."""

    def __call__(self, x: "Tensor | None", residual: "Tensor", step: "Step") -> "Tensor":
        """Adds `x` to the residual in place, if there is anything to add yet, and returns what is
        to be added next.
        """


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """A norm before each half, as Llama has it."""

    before_attention: RmsNorm
    attention: Attention
    before_mlp: RmsNorm
    mlp: FeedForward

    def __call__(self, x: "Tensor | None", residual: "Tensor", step: "Step") -> "Tensor":
        """See `Layer`."""
        x = self.attention(self.before_attention.add(x, residual, step), step)
        return self.mlp(self.before_mlp.add(x, residual, step), step)


@dataclass(frozen=True, slots=True)
class Decoder:
    """Embedding, layers, last norm and output matrix. It keeps no state between steps: that is in
    the KV cache.
    """

    embedding: "Tensor"
    """[vocab_size, hidden]"""
    layers: Sequence[Layer]
    norm: RmsNorm
    head: Linear
    embedding_factor: float = 1.0
    logit_factor: float = 1.0
    logit_cap: float = 0.0
    """Bends logits to within this; 0 for not at all."""

    @classmethod
    def of(
        cls,
        weights: Weights,
        layer: Callable[[Weights, int], Layer],
        *,
        num_layers: int,
        vocab_size: int,
        hidden: int,
        eps: float,
        tied: bool,
        norm_shift: float = 0.0,
        embedding_factor: float = 1.0,
        logit_factor: float = 1.0,
        logit_cap: float = 0.0,
    ) -> "Decoder":
        """The decoder by the names that nearly every checkpoint has; `layer` makes each layer of
        what is below its name.
        """
        model = weights.at("model")
        embedding = model.matrix("embed_tokens", vocab_size, hidden)
        layers = [layer(model.at(f"layers.{index}"), index) for index in range(num_layers)]
        norm = RmsNorm.of(model, "norm", hidden, eps, shift=norm_shift)
        head = weights.tied(embedding) if tied else weights.linear({"lm_head": vocab_size}, hidden)
        return cls(embedding, layers, norm, head, embedding_factor, logit_factor, logit_cap)

    @property
    def ropes(self) -> Iterable[Rope]:
        """The rotary tables, each once."""
        return {id(layer.attention.rope): layer.attention.rope for layer in self.layers}.values()

    def prepare(self, max_len: int, device: "torch.device") -> None:
        """Makes the rotary tables for sequences of up to `max_len` tokens.

        Called once the KV cache has its size: a context that the cache cannot hold needs no table.
        """
        for rope in self.ropes:
            rope.prepare(max_len, device)

    def forward(self, step: "Step", wanted: "Tensor") -> "Tensor":
        """Stores every token's keys and values, returns what the logits of some tokens are made of.

        Args:
            step: the tokens and their places in the cache.
            wanted: int32 [num_wanted], which tokens.

        Returns:
            [num_wanted, hidden], valid until the next step.
        """
        hidden = self.embedding.shape[1]
        residual = step.rows("residual", hidden)
        step.ops.embed(residual, step.token_ids, self.embedding, self.embedding_factor)
        x: Tensor | None = None
        for layer in self.layers:
            x = layer(x, residual, step)
        if x is not None:
            step.ops.add(residual, x)
        chosen = step.scratch.rows("wanted", wanted.shape[0], hidden)
        step.ops.take(chosen, residual, wanted)
        return self.norm(chosen, step)

    def logits(self, hidden: "Tensor", step: "Step") -> "Tensor":
        """The logits of some of the rows that `forward` returned, [num_rows, vocab_size], valid
        until the next call.
        """
        logits = self.head(hidden, step, "logits")
        if self.logit_factor != 1.0:
            step.ops.scale(logits, self.logit_factor)
        return logits
