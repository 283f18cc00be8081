"""The Llama family (Touvron et al. 2023, arXiv:2302.13971; Grattafiori et al. 2024, arXiv:2407.21783)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from streamcore import kernels
from streamcore.kernels import checks
from streamcore.layers.attention import Attention, AttentionInputs, LayerCache
from streamcore.layers.linear import Linear
from streamcore.layers.mlp import GatedMlp
from streamcore.layers.rotary import cos_sin_table
from streamcore.models.config import ModelConfig


class LlamaModel:
    """A decoder, from token ids to logits. It keeps no state between steps: that is in the KV cache."""

    def __init__(self, config: ModelConfig, parameters: dict[str, Tensor], *, exact: bool) -> None:
        """Puts the model together.

        Args:
            config: its shape.
            parameters: by the names of `models.layout`, all on one device; matrices may be narrower than the
                norms, whose dtype is that of the activations. Emptied, so that a weight and its packed form
                are in memory together only one at a time.
            exact: never round activations below their dtype.
        """
        self.config = config
        self.embedding = parameters.pop("embed.weight")
        operations = kernels.operations_for(self.embedding)
        self._layers = [
            _Layer(config, parameters, f"layers.{index}", exact, operations)
            for index in range(config.num_layers)
        ]
        self._norm = parameters.pop("norm.weight")
        lm_head = parameters.pop("lm_head.weight", self.embedding)
        self._lm_head = Linear.prepare(lm_head, None, self._norm.dtype, exact)
        self._operations = operations
        self._cos_sin = torch.empty(0, config.head_dim)

    def set_max_len(self, max_len: int) -> None:
        """Makes the rotary table for sequences of up to `max_len` tokens.

        Called once the KV cache has its size: a context that the cache cannot hold needs no table.
        """
        table = cos_sin_table(self.config.rope, self.config.head_dim, max_len).to(self._norm.device)
        checks.rotary_table(table, self.config.head_dim, self._norm.device)
        self._cos_sin = table

    @property
    def max_len(self) -> int:
        """Tokens of the longest sequence that it can run."""
        return self._cos_sin.shape[0]

    def check_caches(self, caches: Sequence[LayerCache]) -> None:
        """Raises `ValueError` unless `forward` can take the caches; to be asked once, not at every step."""
        if len(caches) != len(self._layers):
            raise ValueError(f"{len(caches)} caches for {len(self._layers)} layers")
        query = self._norm.new_empty(0, self.config.num_kv_heads, self.config.head_dim)
        for cache in caches:
            checks.caches(cache.keys, cache.values, query)
            if cache.keys.shape[2] != self.config.num_kv_heads:
                raise ValueError(
                    f"caches have {cache.keys.shape[2]} heads, the model {self.config.num_kv_heads}"
                )

    def forward(
        self, token_ids: Tensor, inputs: AttentionInputs, caches: Sequence[LayerCache], wanted: Tensor
    ) -> Tensor:
        """Computes a step: stores every token's keys and values, returns what the logits of some tokens are made of.

        Args:
            token_ids: int32 [num_tokens].
            inputs: the step's places in the cache.
            caches: one per layer, written to; `check_caches` took them.
            wanted: int32 [num_wanted], those tokens.

        Returns:
            [num_wanted, hidden_size], in the dtype of the activations.
        """
        residual = functional.embedding(token_ids, self.embedding).to(self._norm.dtype)
        x = self._operations.rms_norm(residual, self._layers[0].attention_norm, self.config.rms_norm_eps)
        for index, layer in enumerate(self._layers):
            if index > 0:
                x = self._operations.add_rms_norm(x, residual, layer.attention_norm, layer.eps)
            x = layer.forward(x, residual, self._cos_sin, inputs, caches[index])
        x, residual = x.index_select(0, wanted), residual.index_select(0, wanted)
        return self._operations.add_rms_norm(x, residual, self._norm, self.config.rms_norm_eps)

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits of some of the rows that `forward` returned; float32 [num_rows, vocab_size]."""
        return self._lm_head(hidden).float()


class _Layer:
    """A decoder layer without its first norm, which its caller fuses with the addition before it."""

    def __init__(
        self,
        config: ModelConfig,
        parameters: dict[str, Tensor],
        prefix: str,
        exact: bool,
        operations: kernels.Operations,
    ) -> None:
        def linear(name: str) -> Linear:
            weight = parameters.pop(f"{prefix}.{name}.weight")
            bias = parameters.pop(f"{prefix}.{name}.bias", None)
            return Linear.prepare(weight, bias, self.attention_norm.dtype, exact)

        self.eps = config.rms_norm_eps
        self.attention_norm = parameters.pop(f"{prefix}.attention_norm.weight")
        self._attention = Attention(
            linear("qkv"),
            linear("output"),
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
            operations,
        )
        self._mlp_norm = parameters.pop(f"{prefix}.mlp_norm.weight")
        self._mlp = GatedMlp(linear("gate_up"), linear("down"), operations)
        self._operations = operations

    def forward(
        self, x: Tensor, residual: Tensor, cos_sin: Tensor, inputs: AttentionInputs, cache: LayerCache
    ) -> Tensor:
        """Takes the normalised input, adds to `residual` in place and returns what is still to be added to
        it.
        """
        x = self._attention(x, cos_sin, inputs, cache)
        x = self._operations.add_rms_norm(x, residual, self._mlp_norm, self.eps)
        return self._mlp(x)
