"""Paged attention in plain torch: the blocks of some sequences are gathered, then torch's own
attention runs.

    decodes         as many neighbours at a time as fit into `_GATHERED_BYTES`, padded
    whole prompts   one by one, causal
    later chunks    one by one, in tiles of queries under one additive mask for all tiles of a step

Nothing here makes the host wait for a device that `PagedSequences` has spared it. What a call
allocates beside its output is bounded by `WORKSPACE_BYTES`: keys and values are also cut by heads
where one sequence's are too many.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from streamcore.kernels.paged import PagedSequences

_GATHERED_BYTES = 1 << 30
_SCORES_BYTES = 1 << 29
_MAX_TILE = 1024
# In elements: where rows of a mask must begin for torch's kernels to take it as it is.
_ALIGNMENT = 16

WORKSPACE_BYTES = _GATHERED_BYTES + 3 * _SCORES_BYTES
"""Keys and values, and the scores with their softmax and mask, where torch has no kernel without
them.
"""


def gathered_attention(
    output: Tensor,
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    sequences: PagedSequences,
    scale: float,
) -> None:
    """`Ops.paged_attention` by the usual softmax over whole contexts."""
    step = _Step(query, key_cache, value_cache, sequences, scale, output)
    num_seqs, first = len(sequences.lens), 0
    mask = None
    while first < num_seqs:
        query_len, context_len = sequences.query_len(first), sequences.lens[first]
        if query_len == 1:
            end = _end_of_decodes(step, first)
            _decode(step, first, end)
            first = end
            continue
        if 1 < query_len < context_len:
            mask = mask or _TileMask(step)
            _prefill(step, first, mask)
        elif query_len > 1:
            _prefill(step, first, None)
        first += 1


@dataclass(frozen=True, slots=True)
class _Step:
    query: Tensor
    key_cache: Tensor
    value_cache: Tensor
    sequences: PagedSequences
    scale: float
    output: Tensor

    @property
    def group(self) -> int:
        """Query heads per KV head."""
        return self.query.shape[1] // self.key_cache.shape[2]

    def head_bytes(self, num_keys: int) -> int:
        """Memory of the keys and values of one KV head, in the precision of the query."""
        return 2 * num_keys * self.query.shape[2] * self.query.dtype.itemsize

    def head_slices(self, head_bytes: int) -> list[slice]:
        """The KV heads, in parts that fit into the memory for gathered keys and values."""
        num_heads = self.key_cache.shape[2]
        size = min(max(_GATHERED_BYTES // head_bytes, 1), num_heads)
        return [slice(head, min(head + size, num_heads)) for head in range(0, num_heads, size)]

    def gather(self, cache: Tensor, seqs: slice, num_keys: int, heads: slice) -> Tensor:
        """[seqs, heads, num_keys, head_dim] of a cache."""
        num_blocks = -(-num_keys // cache.shape[1])
        blocks = cache[:, :, heads][self.sequences.block_ids(seqs.start, seqs.stop, num_blocks)]
        return blocks.flatten(1, 2)[:, :num_keys].transpose(1, 2).to(self.query.dtype)


def _end_of_decodes(step: _Step, first: int) -> int:
    """The end of the longest run of decodes from `first` on whose padded keys and values fit."""
    sequences, longest, end = step.sequences, 1, first
    num_kv_heads = step.key_cache.shape[2]
    while end < len(sequences.lens) and sequences.query_len(end) == 1:
        longest = max(longest, sequences.lens[end])
        if end > first and (end + 1 - first) * num_kv_heads * step.head_bytes(longest) > _GATHERED_BYTES:
            break
        end += 1
    return end


def _decode(step: _Step, first: int, end: int) -> None:
    # One query per sequence: the query heads that share a KV head become the rows of one attention.
    sequences, seqs = step.sequences, slice(first, end)
    tokens = slice(sequences.starts[first], sequences.starts[end])
    visible = sequences.visible_keys(first, end)
    num_keys = visible.shape[1]
    grouped = step.query[tokens].view(end - first, -1, step.group, step.query.shape[2])
    output = step.output[tokens].view(grouped.shape)
    for heads in step.head_slices((end - first) * step.head_bytes(num_keys)):
        output[:, heads] = scaled_dot_product_attention(
            grouped[:, heads],
            step.gather(step.key_cache, seqs, num_keys, heads),
            step.gather(step.value_cache, seqs, num_keys, heads),
            attn_mask=visible[:, None, None, :],
            scale=step.scale,
        )


class _TileMask:
    """Which keys the queries of a tile must not see, as one matrix that every tile of a step is cut
    from.

    A query sees `before + 1` keys more than its number within the tile says, where `before` counts
    the keys before the tile. Shifting rows and columns together keeps the diagonal, so any `before`
    is a window of one matrix, and rows are shifted by as much as lets the window begin at an
    aligned column.

             column  0 ......... diagonal ..........
        row 0        0 0 0 0 0 0 0 - - - - - - -
        row 1        0 0 0 0 0 0 0 0 - - - - - -          (- is minus infinity)
    """

    def __init__(self, step: _Step) -> None:
        sequences, query = step.sequences, step.query
        num_seqs = len(sequences.lens)
        chunks = [seq for seq in range(num_seqs) if 1 < sequences.query_len(seq) < sequences.lens[seq]]
        longest = max(sequences.lens[seq] for seq in chunks)
        fitting = _SCORES_BYTES // (4 * query.shape[1] * longest)
        self.num_rows = max(min(fitting, _MAX_TILE, max(map(sequences.query_len, chunks))), 1)
        self._diagonal = -(-longest // _ALIGNMENT) * _ALIGNMENT
        num_rows = self.num_rows + _ALIGNMENT
        num_columns = -(-(self._diagonal + num_rows) // _ALIGNMENT) * _ALIGNMENT
        hidden = torch.full((num_rows, num_columns), -torch.inf, dtype=query.dtype, device=query.device)
        self._matrix = hidden.triu_(self._diagonal + 1)

    def window(self, before: int, num_queries: int) -> Tensor:
        """[num_queries, before + num_queries], to be added to the scores."""
        row = before % _ALIGNMENT
        column = self._diagonal - before + row
        return self._matrix[row : row + num_queries, column : column + before + num_queries]


def _prefill(step: _Step, seq: int, mask: _TileMask | None) -> None:
    """Attention of one sequence's chunk: with a mask in tiles, without one it is the whole
    sequence.
    """
    sequences, group = step.sequences, step.group
    start, query_len, num_keys = sequences.starts[seq], sequences.query_len(seq), sequences.lens[seq]
    tile = mask.num_rows if mask else query_len
    # Keys and values are repeated for each query head of a group: under a mask torch has no kernel
    # without all scores in memory that shares them.
    for heads in step.head_slices(step.head_bytes(num_keys) * (1 + group)):
        keys, values = (
            step.gather(cache, slice(seq, seq + 1), num_keys, heads)
            .unsqueeze(2)
            .expand(-1, -1, group, -1, -1)
            .flatten(1, 2)
            for cache in (step.key_cache, step.value_cache)
        )
        query_heads = slice(heads.start * group, heads.stop * group)
        for first in range(0, query_len, tile):
            end = min(first + tile, query_len)
            tokens, before = slice(start + first, start + end), num_keys - query_len + first
            seen = before + end - first
            attended = scaled_dot_product_attention(
                step.query[tokens, query_heads].transpose(0, 1).unsqueeze(0),
                keys[:, :, :seen],
                values[:, :, :seen],
                attn_mask=mask.window(before, end - first) if mask else None,
                is_causal=mask is None,
                scale=step.scale,
            )
            step.output[tokens, query_heads] = attended.squeeze(0).transpose(0, 1)
