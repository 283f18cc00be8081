"""A loaded model: a decoder with what computes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamcore import kernels
from streamcore.kernels import KvGroup, LayerCache, Ops, PagedSequences, Scratch, checks
from streamcore.kernels.dry import DryOps
from streamcore.kernels.native import CpuOps
from streamcore.kernels.recorder import NotRecordableError, Recorder
from streamcore.layers.decoder import Decoder
from streamcore.layers.step import Step
from streamcore.models.config import DecoderConfig
from streamcore.models.precision import Precision


@dataclass(slots=True)
class WeightSizes:
    """Bytes of a model's weights in memory."""

    total: int = 0
    grouped: int = 0
    """Of those that are multiplied with in four or eight bits."""


class Model:
    """A decoder on its device."""

    def __init__(
        self,
        config: DecoderConfig,
        decoder: Decoder,
        precision: Precision,
        device: torch.device,
        sizes: WeightSizes,
    ) -> None:
        """Takes what the loader has built."""
        self.sizes = sizes
        self.config = config
        self.decoder = decoder
        self.precision = precision
        self.device = device
        self.max_len = 0
        """Tokens of the longest sequence that it can run."""
        self.ops: Ops = kernels.ops_for(device)
        self.has_experts = False
        """Whether a layer has experts; known once `measure` has returned."""
        self.waits_for_experts = False
        """Whether on a CUDA device torch has to choose them; known likewise."""
        self._scratch = Scratch(precision.activations, device)

    def prepare(self, max_len: int, max_num_tokens: int = 0, max_num_wanted: int = 0) -> None:
        """Makes ready for sequences of up to `max_len` tokens, and steps of up to `max_num_tokens`
        with `max_num_wanted` logits, as far as that is known.

        Called once the KV cache has its size: a context that the cache cannot hold takes no memory.
        """
        self.decoder.prepare(max_len, self.device)
        self.max_len = max_len
        self._scratch = Scratch(
            self.precision.activations,
            self.device,
            max_num_tokens,
            dict.fromkeys(("wanted", "wanted_qkv", "logits"), max_num_wanted),
        )

    def measure(self) -> tuple[int, int]:
        """Bytes that a forward pass takes beside weights and cache: for each token, and for each of
        those whose logits are wanted.

        Nothing is computed. `prepare` comes after it.
        """
        self.decoder.prepare(1, self.device)
        one, two = self._measure(1), self._measure(2)
        return two - one, 2 * one - two

    def _measure(self, num_tokens: int) -> int:
        """Bytes of a pass of some tokens, one of which is wanted."""

        def zeros(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        scratch, ops = Scratch(self.precision.activations, self.device), DryOps()
        keys = zeros(1, 1, self.config.num_kv_heads, self.config.head_dim, dtype=self.precision.cache)
        caches = [LayerCache(keys, keys)] * self.config.num_layers
        sequences = PagedSequences(zeros(1, 1), zeros(1), zeros(1), zeros(2))
        slots = zeros(num_tokens, dtype=torch.int64)
        for wanted in (sequences, None):
            kv = [KvGroup(caches, slots, sequences, wanted)]
            step = Step(ops, zeros(num_tokens), zeros(num_tokens), kv, scratch)
            self.decoder.logits(self.decoder.forward(step, zeros(1)), step)
        self.has_experts, self.waits_for_experts = ops.has_experts, ops.waits_for_experts
        return scratch.num_bytes + ops.most_bytes

    def check_caches(self, caches: Sequence[LayerCache]) -> None:
        """Raises `ValueError` unless `forward` can take the caches; called once, not at every
        step.
        """
        if len(caches) != self.config.num_layers:
            raise ValueError(f"{len(caches)} caches for {self.config.num_layers} layers")
        shape = (0, self.config.num_kv_heads, self.config.head_dim)
        query = torch.empty(shape, dtype=self.precision.activations, device=self.device)
        for cache in caches:
            checks.caches(cache.keys, cache.values, query, may_be_apart=self.ops.reads_blocks_apart)
            if cache.keys.shape[2] != self.config.num_kv_heads:
                raise ValueError(
                    f"caches have {cache.keys.shape[2]} heads, the model {self.config.num_kv_heads}"
                )

    def forward(self, token_ids: Tensor, positions: Tensor, kv: Sequence[KvGroup], wanted: Tensor) -> Tensor:
        """Computes a step: stores every token's keys and values, returns what the logits of some
        tokens are made of.

        Args:
            token_ids: int32 [num_tokens].
            positions: int32 [num_tokens].
            kv: the step's places in the cache; `check_caches` took the caches.
            wanted: int32 [num_wanted], those tokens.

        Returns:
            [num_wanted, hidden_size], in the dtype of the activations, valid until the next step.
        """
        check_step(token_ids, positions, kv)
        self._step = Step(self.ops, token_ids, positions, kv, self._scratch)
        return self.decoder.forward(self._step, wanted)

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits of some of the rows that `forward` returned; float32 [num_rows, vocab_size],
        valid until the next call.
        """
        return self._capped(self.decoder.logits(hidden, self._step).float(), self.ops)

    def _capped(self, logits: Tensor, ops: Ops) -> Tensor:
        """float32 logits within the soft cap of the model, if it has one, in place."""
        if self.decoder.logit_cap:
            ops.soft_cap(logits, self.decoder.logit_cap)
        return logits

    def record(
        self, token_ids: Tensor, positions: Tensor, kv: Sequence[KvGroup], wanted: Tensor
    ) -> "Recording | None":
        """Writes a forward pass down, for steps that have their columns in the same memory.

        Args:
            token_ids: the whole column, likewise the others; steps use their beginnings.
            positions: as in `forward`.
            kv: as in `forward`.
            wanted: as in `forward`.

        Returns:
            None where some operation is torch's.
        """
        if not isinstance(self.ops, CpuOps):
            return None
        check_step(token_ids, positions, kv)
        recorder = Recorder()
        scratch = Scratch(self.precision.activations, self.device)
        step = Step(recorder, token_ids, positions, kv, scratch)
        try:
            self._capped(self.decoder.logits(self.decoder.forward(step, wanted), step), recorder)
        except NotRecordableError:
            return None
        return Recording(self.decoder, recorder, step, wanted.shape[0])


class Recording:
    """A forward pass that was written down, from token ids to logits: one call into the
    extension.
    """

    def __init__(self, decoder: Decoder, recorder: Recorder, step: Step, num_wanted: int) -> None:
        """Holds all memory whose address was written down."""
        self._decoder = decoder
        self.recorder = recorder
        self._step = step
        self._vocab_size = decoder.head.weight.num_outputs
        self.logits = self._logits(num_wanted)
        """Whole, of as many tokens as are wanted at most"""
        self._rotations = [rope.rotation for rope in decoder.ropes]

    def run(self, num_tokens: int, num_seqs: int, num_wanted: int, num_drawn: int = 0) -> Tensor:
        """The logits of the wanted tokens, float32 [num_wanted, vocab_size], valid until the next
        run.

        Args:
            num_tokens: of the step.
            num_seqs: likewise.
            num_wanted: likewise.
            num_drawn: rows of the draw, where one was written down behind the logits.

        Raises:
            ValueError: a token, a position or a slot is out of range.
        """
        self.recorder.carry_out(num_tokens, num_seqs, num_wanted, num_drawn)
        return self._logits(num_wanted)

    def _logits(self, num_wanted: int) -> Tensor:
        return self._step.scratch.rows("logits", num_wanted, self._vocab_size)


def check_step(token_ids: Tensor, positions: Tensor, kv: Sequence[KvGroup]) -> None:
    """Checks once what every layer relies on; raises `ValueError`."""
    num_tokens = token_ids.shape[0]
    checks.vector("token_ids", token_ids, num_tokens, torch.int32, token_ids)
    checks.vector("positions", positions, num_tokens, torch.int32, token_ids)
    for group in kv:
        checks.vector("slot_mapping", group.slot_mapping, num_tokens, torch.int64, token_ids)
