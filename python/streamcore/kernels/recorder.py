"""`Ops` that writes a forward pass down instead of computing it, for the extension to carry out in
one call.

Addresses, widths and strides are those of the tensors at hand, which must stay where they are. Only
the numbers of rows differ from step to step. In a forward pass these are the tokens, the sequences,
and from the first `take` on the tokens whose logits are wanted.
"""

import ctypes
from collections.abc import Sequence

from torch import Tensor

from streamcore.kernels.library import Operation, compiled
from streamcore.kernels.native import CpuOps
from streamcore.kernels.structs import are_alike
from streamcore.kernels.weight import LinearWeight
from streamcore.operands import Expert, ExpertRule

MAX_COUNTS = 4
"""Different numbers of rows that a step may have."""
_TOKENS, _SEQS, _WANTED, DRAWN = range(MAX_COUNTS)
"""Those of a forward pass, and that of the draw behind it."""


class NotRecordableError(Exception):
    """An operation is not the extension's."""


class Recorder(CpuOps):
    """Takes a forward pass down."""

    def __init__(self) -> None:
        self._program = compiled.Program()
        self._takes_wanted = False
        self.count: int | None = None
        """Which number of rows is that of the operations to come; None: that of a forward pass."""
        self._addresses: list[Tensor] = []
        self.written: list[tuple[Operation, ctypes.Structure]] = []
        """Every operation with its arguments, in order."""

    def run(self, operation: Operation, num_rows: int, arguments: ctypes.Structure) -> None:
        """Adds an operation in place of carrying it out."""
        which = self._count_of(operation) if self.count is None else self.count
        self._program.append(operation.number, ctypes.addressof(arguments), which)
        self.written.append((operation, arguments))

    def _count_of(self, operation: Operation) -> int:
        if self._takes_wanted:
            # Each of them is a sequence to attention.
            return _WANTED
        return _SEQS if operation.name == "PagedAttention" else _TOKENS

    def take(self, out: Tensor, x: Tensor, rows: Tensor) -> None:
        """See `Ops`."""
        self._takes_wanted = True
        super().take(out, x, rows)

    def linear(self, out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None) -> None:
        """See `Ops`."""
        if not weight.packed:
            raise NotRecordableError("torch multiplies with a weight that is not packed")
        super().linear(out, x, weight, bias)

    def experts(
        self, out: Tensor, x: Tensor, scores: Tensor, experts: Sequence[Expert], rule: ExpertRule
    ) -> None:
        """See `Ops`."""
        if not experts[0].gate_up.packed or not are_alike(experts):
            raise NotRecordableError("experts whose weights are stored in different ways are routed by torch")
        super().experts(out, x, scores, experts, rule)

    def addresses(self, experts: Sequence[Expert]) -> Tensor:
        """See `CpuOps`; the program reads them at every step."""
        addresses = super().addresses(experts)
        self._addresses.append(addresses)
        return addresses

    def carry_out(self, *counts: int) -> None:
        """Carries out what was written down, with these numbers of rows, at most `MAX_COUNTS`; the
        others are 0.
        """
        self._program.run(_all_counts(counts))

    def carry_out_timed(self, *counts: int) -> list[float]:
        """As `carry_out`; the seconds that each operation of `written` took."""
        times: list[float] = self._program.run_timed(_all_counts(counts))
        return times


def _all_counts(counts: tuple[int, ...]) -> tuple[int, ...]:
    return counts + (0,) * (MAX_COUNTS - len(counts))
