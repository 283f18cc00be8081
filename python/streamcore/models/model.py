"""A loaded model: a decoder with what computes it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from streamcore import kernels
from streamcore.kernels import KvGroup, LayerCache, Scratch, checks
from streamcore.layers.decoder import Decoder
from streamcore.layers.step import Step
from streamcore.models.config import DecoderConfig
from streamcore.models.precision import Precision


class Model:
    """A decoder on its device."""

    def __init__(
        self, config: DecoderConfig, decoder: Decoder, precision: Precision, device: torch.device
    ) -> None:
        """Takes what the loader has built."""
        self.config = config
        self.decoder = decoder
        self.precision = precision
        self.device = device
        self.max_len = 0
        """Tokens of the longest sequence that it can run."""
        self._ops = kernels.ops_for(device)
        self._scratch = Scratch(precision.activations, device)

    def prepare(self, max_len: int, max_num_tokens: int = 0) -> None:
        """Makes ready for sequences of up to `max_len` tokens, and steps of up to `max_num_tokens` as far as that is known.

        Called once the KV cache has its size: a context that the cache cannot hold takes no memory.
        """
        self.decoder.prepare(max_len, self.device)
        self.max_len = max_len
        self._scratch = Scratch(self.precision.activations, self.device, max_num_tokens)

    def check_caches(self, caches: Sequence[LayerCache]) -> None:
        """Raises `ValueError` unless `forward` can take the caches; to be asked once, not at every step."""
        if len(caches) != self.config.num_layers:
            raise ValueError(f"{len(caches)} caches for {self.config.num_layers} layers")
        shape = (0, self.config.num_kv_heads, self.config.head_dim)
        query = torch.empty(shape, dtype=self.precision.activations, device=self.device)
        for cache in caches:
            checks.caches(cache.keys, cache.values, query)
            if cache.keys.shape[2] != self.config.num_kv_heads:
                raise ValueError(
                    f"caches have {cache.keys.shape[2]} heads, the model {self.config.num_kv_heads}"
                )

    def forward(self, token_ids: Tensor, positions: Tensor, kv: Sequence[KvGroup], wanted: Tensor) -> Tensor:
        """Computes a step: stores every token's keys and values, returns what the logits of some tokens are made of.

        Args:
            token_ids: int32 [num_tokens].
            positions: int32 [num_tokens].
            kv: the step's places in the cache; `check_caches` took the caches.
            wanted: int32 [num_wanted], those tokens.

        Returns:
            [num_wanted, hidden_size], in the dtype of the activations, valid until the next step.
        """
        check_step(token_ids, positions, kv)
        self._step = Step(self._ops, token_ids, positions, kv, self._scratch)
        return self.decoder.forward(self._step, wanted)

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits of some of the rows that `forward` returned; float32 [num_rows, vocab_size], valid until the next call."""
        logits = self.decoder.logits(hidden, self._step).float()
        cap = self.decoder.logit_cap
        return logits.div_(cap).tanh_().mul_(cap) if cap else logits


def check_step(token_ids: Tensor, positions: Tensor, kv: Sequence[KvGroup]) -> None:
    """Checks once what every layer relies on; raises `ValueError`."""
    num_tokens = token_ids.shape[0]
    checks.vector("token_ids", token_ids, num_tokens, torch.int32, token_ids)
    checks.vector("positions", positions, num_tokens, torch.int32, token_ids)
    for group in kv:
        checks.vector("slot_mapping", group.slot_mapping, num_tokens, torch.int64, token_ids)
