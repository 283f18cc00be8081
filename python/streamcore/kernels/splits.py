"""Into how many parts the CUDA kernels split contexts and the inputs of products, and the memory in
which the parts meet.
"""

import torch

_HEADS_OF_BLOCK = 8
# Blocks for each multiprocessor: one has enough loads under way, the second evens out their ends.
_BLOCKS = 2
_MAX_HEAD_DIM = 256
_OUTPUTS_OF_BLOCK = 64
_WARPS_OF_BLOCK = 4


class Splits:
    """The parts of contexts and of inputs on one device.

    How many parts a context has depends on the number of sequences alone, so that a captured step
    serves contexts of any length; the kernel leaves parts of short ones out. How many a product
    has depends on its weight alone, so that a row does not depend on its batch. The memory has one
    size and one place for all steps: where sequences and heads or outputs are many, nothing is
    split at all.
    """

    def __init__(self, device: torch.device, num_multiprocessors: int) -> None:
        """Takes no memory yet."""
        self._device = device
        self._num_blocks = _BLOCKS * num_multiprocessors
        self._memory: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def count(self, num_seqs: int, num_heads: int, num_kv_heads: int) -> int:
        """Parts of each context, at most."""
        heads_of_kv = -(-num_heads // num_kv_heads)
        num_blocks = num_seqs * num_kv_heads * -(-heads_of_kv // _HEADS_OF_BLOCK)
        return max(-(-self._num_blocks // max(num_blocks, 1)), 1)

    def arguments(self, num_seqs: int, num_heads: int, num_kv_heads: int) -> dict[str, int]:
        """What the kernel takes of this."""
        count = self.count(num_seqs, num_heads, num_kv_heads)
        if count == 1:
            return {"num_splits": 1}
        output, stats, tickets = self._taken()
        return {
            "num_splits": count,
            "partial_output": output.data_ptr(),
            "partial_stats": stats.data_ptr(),
            "tickets": tickets.data_ptr(),
        }

    def of_product(self, num_inputs: int, num_outputs: int, turn: int = 64) -> dict[str, int]:
        """What the kernel of products of few rows takes of this; a warp has `turn` inputs at a time."""
        tiles = -(-num_outputs // _OUTPUTS_OF_BLOCK)
        count = max(min(-(-self._num_blocks // tiles), num_inputs // (turn * _WARPS_OF_BLOCK)), 1)
        if count == 1:
            return {"num_splits": 1}
        # There are fewer tiles than `_num_blocks`, and parts of fewer than twice as many; each has
        # 64 outputs of up to 32 rows: as much memory as attention takes.
        output, _, tickets = self._taken()
        return {"num_splits": count, "partial": output.data_ptr(), "tickets": tickets.data_ptr()}

    def _taken(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if self._memory is None:
            # With several parts there are fewer blocks than `_num_blocks`, and parts of fewer than
            # twice as many; each has up to eight heads.
            num_heads = _HEADS_OF_BLOCK * self._num_blocks
            self._memory = (
                torch.empty(2 * num_heads, _MAX_HEAD_DIM, device=self._device),
                torch.empty(2 * num_heads, 2, device=self._device),
                torch.zeros(num_heads, dtype=torch.int32, device=self._device),
            )
        return self._memory
