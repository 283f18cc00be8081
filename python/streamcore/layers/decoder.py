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

    def attend(self, x: "Tensor | None", residual: "Tensor", step: "Step") -> "Tensor":
        """Adds `x` to the residual in place, if there is anything to add yet, and returns what the
        first half makes of it, which is to be added next: of all tokens, or of the wanted ones.
        """

    def feed(self, x: "Tensor", residual: "Tensor", step: "Step") -> "Tensor":
        """The same for the second half; `x` and the residual have equally many rows."""


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """A norm before each half, as Llama has it."""

    before_attention: RmsNorm
    attention: Attention
    before_mlp: RmsNorm
    mlp: FeedForward

    def attend(self, x: "Tensor | None", residual: "Tensor", step: "Step") -> "Tensor":
        """See `Layer`."""
        return self.attention(self.before_attention.add(x, residual, step), step)

    def feed(self, x: "Tensor", residual: "Tensor", step: "Step") -> "Tensor":
        """See `Layer`."""
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

        Of the last layer no other token needs more than its keys and values. Where `step.kv` tells
        those tokens apart, that is all it computes of the others.

        Args:
            step: the tokens and their places in the cache.
            wanted: int32 [num_wanted], which tokens.

        Returns:
            [num_wanted, hidden], valid until the next step.
        """
        hidden = self.embedding.shape[1]
        residual = step.scratch.rows("residual", step.token_ids.shape[0], hidden)
        step.ops.embed(residual, step.token_ids, self.embedding, self.embedding_factor)
        x: Tensor | None = None
        *layers, last = self.layers
        for layer in layers:
            x = layer.feed(layer.attend(x, residual, step), residual, step)
        step = step.ending_with(wanted)
        x = last.attend(x, residual, step)
        if step.wanted is not None:
            residual = step.take("wanted", residual, wanted)
        step.ops.add(residual, last.feed(x, residual, step))
        if step.wanted is None:
            residual = step.take("wanted", residual, wanted)
        return self.norm(residual, step)

    def logits(self, hidden: "Tensor", step: "Step") -> "Tensor":
        """The logits of some of the rows that `forward` returned, [num_rows, vocab_size], valid
        until the next call.
        """
        logits = self.head(hidden, step, "logits")
        if self.logit_factor != 1.0:
            step.ops.scale(logits, self.logit_factor)
        return logits
