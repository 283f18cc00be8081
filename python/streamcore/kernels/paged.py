"""The KV cache and the sequences of a step as attention sees them: checked once, read by every
layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from streamcore.kernels import checks


class PagedSequences:
    """Where each sequence's queries and cached keys are.

    Lengths and block ids are not range-checked: they come from the scheduler. Must not outlive a
    change of its tensors.
    """

    def __init__(
        self,
        block_tables: Tensor,
        rows: Tensor,
        context_lens: Tensor,
        query_starts: Tensor,
        *,
        host_context_lens: Tensor | None = None,
        host_query_starts: Tensor | None = None,
    ) -> None:
        """Takes the columns of a step, all on one device.

        Args:
            block_tables: [num_rows, stride] int32; entries past a sequence's context are ignored.
            rows: [num_seqs] int32: which row of `block_tables` is whose.
            context_lens: [num_seqs] int32, the KV length after this step, at least the sequence's
                query length.
            query_starts: [num_seqs + 1] int32, from 0 to num_tokens: where each sequence's tokens
                begin.
            host_context_lens: the same on the host, where the caller has it; with both of these a
                CUDA step never waits for the device.
            host_query_starts: likewise.

        Raises:
            ValueError: a tensor is of another dtype, shape or device.
        """
        num_seqs = context_lens.shape[0]
        checks.vector("context_lens", context_lens, num_seqs, torch.int32, context_lens)
        checks.vector("rows", rows, num_seqs, torch.int32, context_lens)
        checks.vector("query_starts", query_starts, num_seqs + 1, torch.int32, context_lens)
        if (
            block_tables.dim() != 2
            or block_tables.dtype != torch.int32
            or block_tables.stride(1) != 1
            or block_tables.device != context_lens.device
        ):
            raise ValueError(
                f"`block_tables` must be int32 [num_rows, stride] with contiguous rows "
                f"on {context_lens.device}"
            )
        self.block_tables = block_tables
        self.rows = rows
        self.context_lens = context_lens
        self.query_starts = query_starts
        self._host_context_lens = context_lens if host_context_lens is None else host_context_lens
        self._visible: dict[tuple[int, int], Tensor] = {}
        self._block_ids: dict[tuple[int, int, int], Tensor] = {}
        self._host_query_starts = query_starts if host_query_starts is None else host_query_starts

    @cached_property
    def lens(self) -> list[int]:
        """Context lengths."""
        lens: list[int] = self._host_context_lens.tolist()
        return lens

    @cached_property
    def starts(self) -> list[int]:
        """Where each sequence's tokens begin, and where the last one's end."""
        starts: list[int] = self._host_query_starts.tolist()
        return starts

    def block_ids(self, first: int, end: int, num_blocks: int) -> Tensor:
        """The first blocks of some sequences as torch indexes with them: int64 [end - first,
        num_blocks].
        """
        block_ids = self._block_ids.get((first, end, num_blocks))
        if block_ids is None:
            block_ids = self.block_tables[:, :num_blocks].index_select(0, self.rows[first:end]).long()
            self._block_ids[first, end, num_blocks] = block_ids
        return block_ids

    def visible_keys(self, first: int, end: int) -> Tensor:
        """Which keys the last token of each of some sequences sees: bool [end - first, their
        longest context].
        """
        visible = self._visible.get((first, end))
        if visible is None:
            # A padding row of length 0 sees one key instead of none, and so stays finite.
            lens = self.context_lens[first:end].clamp(min=1).unsqueeze(1)
            num_keys = max(1, *self.lens[first:end])
            visible = torch.arange(num_keys, dtype=torch.int32, device=lens.device) < lens
            self._visible[first, end] = visible
        return visible

    @cached_property
    def has_decodes(self) -> bool:
        """Whether a sequence has one new token."""
        return any(end - start == 1 for start, end in pairwise(self.starts))

    @cached_property
    def has_prefills(self) -> bool:
        """Whether a sequence has more than one."""
        return any(end - start > 1 for start, end in pairwise(self.starts))

    def query_len(self, seq: int) -> int:
        """How many tokens of a sequence are new."""
        return self.starts[seq + 1] - self.starts[seq]


@dataclass(frozen=True, slots=True)
class LayerCache:
    """The keys and values of one layer, each [num_blocks, block_size, num_kv_heads, head_dim]; the
    other layers may lie between two blocks.
    """

    keys: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        """Checks once what every step relies on; raises `ValueError`."""
        checks.cache_pair(self.keys, self.values)

    @property
    def num_slots(self) -> int:
        """Tokens that it holds."""
        return self.keys.shape[0] * self.keys.shape[1]


@dataclass(frozen=True, slots=True)
class KvGroup:
    """The layers whose blocks are handed out together, and a step's places in them."""

    caches: Sequence[LayerCache]
    slot_mapping: Tensor
    """int64 [num_tokens], block id times block size plus offset"""
    sequences: PagedSequences
    wanted: PagedSequences | None = None
    """Those of the tokens whose logits are wanted, each as a sequence of one token; None where they
    are not told apart, and the last layer computes all tokens.
    """
