"""Memory of the host in huge pages, for what every step reads or writes.

A processor keeps the places of one or two thousand pages at hand: a few megabytes of the system's
usual ones. With more weights, keys and values than that, every few kilobytes that are read begin
with a walk through the system's tables, and every page that is new begins with a trap into it.
"""

import contextlib
import mmap
from threading import Lock

import torch
from torch import Tensor

HUGE_PAGE_BYTES = 2 << 20
_CHUNK_BYTES = 32 << 20
_CACHE_LINE_BYTES = 64


def zeros(num_elements: int, dtype: torch.dtype) -> Tensor:
    """Zeros in pages of their own, [num_elements]; at least one element.

    The system hands them out as they are touched, so that what is not used costs nothing.
    """
    num_bytes = num_elements * dtype.itemsize
    pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # A system that has no huge pages refuses the advice.
        with contextlib.suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype)


class _Chunks:
    """Pages that tensors share, as most weights are smaller than a huge one."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._left = torch.empty(0, dtype=torch.uint8)

    def take(self, num_bytes: int) -> Tensor:
        size = _rounded(num_bytes, _CACHE_LINE_BYTES)
        with self._lock:
            if size > self._left.numel():
                self._left = zeros(max(_rounded(size, HUGE_PAGE_BYTES), _CHUNK_BYTES), torch.uint8)
            taken, self._left = self._left[:num_bytes], self._left[size:]
        return taken


_chunks = _Chunks()


def empty_beside_others(num_elements: int, dtype: torch.dtype) -> Tensor:
    """[num_elements] that have never been written, in pages shared with other such tensors.

    The memory of a chunk goes back with the last of its tensors, so they should be as old as their
    model.
    """
    return _chunks.take(num_elements * dtype.itemsize).view(dtype)


def _rounded(num_bytes: int, unit: int) -> int:
    return -(-num_bytes // unit) * unit
