"""The columns of plans: where the engine writes them, and where a step reads them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from streamcore import _core
from streamcore.step import filled_len

DTYPES = {"int32": torch.int32, "int64": torch.int64, "float32": torch.float32}
"""Of the columns, by the names that the engine gives them."""

# What every plan fills: in front of the others, so that one copy takes all of it to the device.
_COMMON = frozenset(
    (
        "token_ids",
        "positions",
        "slot_mapping",
        "query_starts",
        "context_lens",
        "seq_rows",
        "logits_indices",
        "sample_rows",
        "sample_context_lens",
        "uniform",
    )
)
# Columns with a row for each element of another one.
_ROWS_OF = {"mask_words": "masked_samples"}
# Columns begin on cache lines of their own.
_ALIGNMENT = 64


class PlanColumns:
    """The part of the columns that one plan fills, on the device and on the host.

    `columns["token_ids"]` is on the device. Views are made when they are asked for: few steps need
    most of them.
    """

    def __init__(
        self, plan: _core.StepPlan, host: Mapping[str, Tensor], device: Mapping[str, Tensor]
    ) -> None:
        """Takes whole columns, which hold the plan."""
        self.plan = plan
        self._host = host
        self._device = device

    def __getitem__(self, name: str) -> Tensor:
        return self._device[name][: self.len_of(name)]

    def on_host(self, name: str) -> Tensor:
        """The same column in host memory, for decisions that must not wait for the device."""
        return self._host[name][: self.len_of(name)]

    def len_of(self, name: str) -> int:
        """How many elements of a column the plan fills, or how many rows."""
        return filled_len(_ROWS_OF.get(name, name), self.plan)


class Columns:
    """One set of columns in host memory for each step in flight, and their one place on the device.

    On CUDA the sets are pinned, so that copies are queued without waiting: a set must not be
    written again before its step is complete. The place on the device needs no turns, because the
    copies of a step are queued behind the step that read it before. On the CPU a step reads its set
    itself.
    """

    def __init__(
        self,
        columns: Sequence[tuple[str, str, int]],
        device: torch.device,
        num_sets: int = 1,
        *,
        is_apart: bool | None = None,
    ) -> None:
        """Allocates the columns, given as the engine lists them: name, type, length.

        Args:
            is_apart: whether steps read a copy of their set; None: where that is not the CPU.
        """
        self._order = [name for name, _, _ in columns]
        places, num_bytes = {}, 0
        for name, dtype, length in sorted(columns, key=lambda column: column[0] not in _COMMON):
            places[name] = (num_bytes, DTYPES[dtype], length)
            num_bytes += -(-length * DTYPES[dtype].itemsize // _ALIGNMENT) * _ALIGNMENT
            if name in _COMMON:
                self._num_common_bytes = num_bytes

        def carve(memory: Tensor) -> dict[str, Tensor]:
            carved = {
                name: memory[start : start + length * dtype.itemsize].view(dtype)
                for name, (start, dtype, length) in places.items()
            }
            rows = {name: len(carved[of]) for name, of in _ROWS_OF.items() if name in carved}
            return carved | {name: carved[name].view(count, -1) for name, count in rows.items()}

        self._host_memory = [
            torch.zeros(num_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
            for _ in range(num_sets)
        ]
        self.sets = [carve(memory) for memory in self._host_memory]
        """Whole columns on the host, by name."""
        self._is_apart = device.type != "cpu" if is_apart is None else is_apart
        self._device_memory = self._host_memory[0].to(device, copy=self._is_apart)
        self.resident = carve(self._device_memory) if self._is_apart else self.sets[0]
        """Whole columns on the device. On the CPU those of the first set."""

    def addresses(self, index: int) -> list[tuple[int, int]]:
        """Address and length, in elements, of each column of a set, in the engine's order."""
        host = self.sets[index]
        return [(host[name].data_ptr(), host[name].numel()) for name in self._order]

    def upload(self, index: int, plan: _core.StepPlan) -> PlanColumns:
        """What a plan fills of a set, on the device once the copies that this queues on the current
        stream are done.
        """
        host = self.sets[index]
        if not self._is_apart:
            return PlanColumns(plan, host, host)
        end = self._num_common_bytes
        self._device_memory[:end].copy_(self._host_memory[index][:end], non_blocking=True)
        columns = PlanColumns(plan, host, self.resident)
        for name in self._order:
            if name not in _COMMON and columns.len_of(name):
                columns[name].copy_(columns.on_host(name), non_blocking=True)
        return columns
