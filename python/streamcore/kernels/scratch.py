"""Memory for what the operations of a step hand to each other."""

from collections.abc import Mapping

import torch
from torch import Tensor

from streamcore.kernels import pages


class Scratch:
    """Named rows, shared by all layers: a step allocates nothing, and each name keeps its address
    from step to step.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        device: torch.device,
        max_rows: int = 0,
        max_rows_of: Mapping[str, int] | None = None,
    ) -> None:
        """Takes no memory yet.

        Args:
            dtype: of the activations.
            device: where they are.
            max_rows: rows that a step has at most, as far as that is known; memory grows where more
                are asked for.
            max_rows_of: the same for names that have fewer.
        """
        self._dtype = dtype
        self._device = device
        self._max_rows = max_rows
        self._max_rows_of = max_rows_of or {}
        self._memory: dict[str, Tensor] = {}
        self._views: dict[tuple[str, int], Tensor] = {}

    def rows(self, name: str, num_rows: int, width: int) -> Tensor:
        """[num_rows, width], contiguous; they hold whatever the last user of that name and width
        left there.
        """
        view = self._views.get((name, num_rows))
        if view is None or view.shape[1] != width:
            view = self._views[name, num_rows] = self._take(name, num_rows, width)
        return view

    def _take(self, name: str, num_rows: int, width: int) -> Tensor:
        memory = self._memory.get(name)
        if memory is None or memory.numel() < num_rows * width:
            size = max(num_rows, self._max_rows_of.get(name, self._max_rows)) * width
            memory = self._memory[name] = self._allocate(size)
            self._views = {key: view for key, view in self._views.items() if key[0] != name}
        if len(self._views) > _MAX_VIEWS:
            self._views.clear()
        return memory[: num_rows * width].view(num_rows, width)

    def _allocate(self, size: int) -> Tensor:
        if self._device.type == "cpu" and size * self._dtype.itemsize >= pages.HUGE_PAGE_BYTES:
            return pages.zeros(size, self._dtype)
        return torch.empty(size, dtype=self._dtype, device=self._device)

    @property
    def num_bytes(self) -> int:
        """Memory that was taken."""
        return sum(memory.nbytes for memory in self._memory.values())


_MAX_VIEWS = 4096
