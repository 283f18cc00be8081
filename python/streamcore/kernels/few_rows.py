"""What the CUDA kernels of products of few rows take, where they are the faster ones, and the memory
of those of experts.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from streamcore.kernels.groups_on_cuda import is_fp8
from streamcore.kernels.weight import LinearWeight
from streamcore.operands import Expert, ExpertRule

Product = Callable[[Tensor, Tensor, LinearWeight], None]
"""Multiplies: output, rows, weight."""

MAX_ROWS = 32
"""Rows of a product that the kernel takes; more are torch's."""
MAX_TOKENS_OF_EXPERTS = 256
_MAX_EXPERTS = 512
_MAX_USED = 32
_DTYPES = (torch.bfloat16, torch.float16)


def takes_product(x: Tensor, weight: LinearWeight) -> bool:
    """Whether the kernel takes a product: up to 32 rows of 16-bit numbers, whose inputs are whole
    groups of 16 bytes.
    """
    return (
        x.shape[0] <= MAX_ROWS
        and weight.num_inputs % 8 == 0
        and x.stride(0) % 8 == 0
        and x.data_ptr() % 16 == 0
        and _is_aligned(weight, x.dtype)
    )


def takes_experts(dtype: torch.dtype, num_tokens: int, experts: Sequence[Expert], rule: ExpertRule) -> bool:
    """Whether the kernels take a layer of experts, if `are_of_one_form`."""
    gate_up, down = experts[0].gate_up, experts[0].down
    return (
        num_tokens <= MAX_TOKENS_OF_EXPERTS
        and len(experts) <= _MAX_EXPERTS
        and rule.num_used <= _MAX_USED
        and gate_up.num_inputs % 8 == 0
        and down.num_inputs % 8 == 0
        and _is_aligned(gate_up, dtype)
        and _is_aligned(down, dtype)
    )


def _is_aligned(weight: LinearWeight, dtype: torch.dtype) -> bool:
    data = weight.data
    is_read = is_fp8(weight) or (weight.form is None and data.dtype == dtype)
    return dtype in _DTYPES and is_read and data.is_contiguous() and data.data_ptr() % 16 == 0


def are_of_one_form(experts: Sequence[Expert]) -> bool:
    """Whether all are stored as the first one is."""
    forms = {
        (weight.form, weight.data.dtype, place)
        for expert in experts
        for place, weight in enumerate((expert.gate_up, expert.down))
    }
    return len(forms) == 2 and len({dtype for _, dtype, _ in forms}) == 1


class ProductTable:
    """Up to how many rows the kernel multiplies with the weights of each shape; more are torch's.

    A shape is measured when it comes up first, which is in the warm-up. All steps go by the same
    table; where both take about as long the kernel has it, whose rows do not depend on their batch.
    """

    def __init__(
        self, seconds: Callable[[Callable[[], None]], float] | None, kernel: Product, other: Product
    ) -> None:
        """Measures nothing yet.

        Args:
            seconds: what work takes on the device; None: the kernel has all that it can take.
            kernel: multiplies by the kernel.
            other: multiplies by what takes its place.
        """
        self._seconds = seconds
        self._multiply = (kernel, other)
        self._max_rows: dict[tuple[int, int, torch.dtype], int] = {}

    def max_rows(self, x: Tensor, weight: LinearWeight) -> int:
        """The number for a weight that `takes_product` takes, and rows like `x`."""
        if self._seconds is None:
            return MAX_ROWS
        key = (weight.num_outputs, weight.num_inputs, x.dtype)
        found = self._max_rows.get(key)
        if found is None:
            found = self._max_rows[key] = self._measured(x, weight, self._seconds)
        return found

    def _measured(
        self, x: Tensor, weight: LinearWeight, seconds: Callable[[Callable[[], None]], float]
    ) -> int:
        for num_rows in (MAX_ROWS, MAX_ROWS // 2, MAX_ROWS // 4):
            rows = x.new_zeros(num_rows, weight.num_inputs)
            out = x.new_empty(num_rows, weight.num_outputs)
            ours, theirs = (seconds(partial(multiply, out, rows, weight)) for multiply in self._multiply)
            if ours < theirs * _TOLERATED:
                return num_rows
        return 0


def device_seconds(device: torch.device) -> Callable[[Callable[[], None]], float]:
    """Measures work on a CUDA device whose cache holds none of its inputs: the median of some runs."""

    def seconds(work: Callable[[], None]) -> float:
        swept = torch.empty(_SWEPT_BYTES, dtype=torch.uint8, device=device)
        times = []
        with torch.cuda.device(device):
            # The first run sets up what is set up once.
            for _ in range(1 + _NUM_RUNS):
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
                swept.zero_()
                start.record()
                work()
                end.record()
                end.synchronize()
                times.append(start.elapsed_time(end) / 1e3)
        return float(sorted(times[1:])[_NUM_RUNS // 2])

    return seconds


_SWEPT_BYTES = 1 << 27
"""More than the cache of a device."""
_NUM_RUNS = 7
_TOLERATED = 1.1
"""How much longer than torch the kernel may take."""


class ExpertMemory:
    """What the launches of a layer of experts hand to each other, and where the weights of each
    layer are. All of it has one size and one place for all steps.
    """

    def __init__(self) -> None:
        """Takes no memory yet."""
        self._rows: dict[tuple[int, ...], dict[str, Tensor]] = {}
        self._addresses: dict[int, tuple[Sequence[Expert], Tensor]] = {}
        self._are_alike: dict[int, tuple[Sequence[Expert], bool]] = {}

    def are_alike(self, experts: Sequence[Expert]) -> bool:
        """`are_of_one_form`, once for each layer."""
        known = self._are_alike.get(id(experts))
        if known is None:
            # Kept, so that no other layer comes to have the same number.
            known = self._are_alike[id(experts)] = (experts, are_of_one_form(experts))
        return known[1]

    def rows(self, x: Tensor, inter: int, num_experts: int, num_used: int) -> dict[str, Tensor]:
        """By the names of the arguments, for as many tokens as the kernels take."""
        hidden = x.shape[1]
        key = (hidden, inter, num_experts, num_used, x.dtype.itemsize)
        if key not in self._rows:
            num_rows = MAX_TOKENS_OF_EXPERTS * num_used

            def empty(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
                return torch.empty(shape, dtype=dtype, device=x.device)

            self._rows[key] = {
                "parts": empty(num_rows + num_experts, 3),
                "tokens": empty(num_rows),
                "rows": empty(num_rows),
                "shares": empty(num_rows, dtype=torch.float32),
                "active": empty(num_rows, inter, dtype=x.dtype),
                "outputs": empty(num_rows, hidden, dtype=torch.float32),
            }
        return self._rows[key]

    def addresses(
        self,
        experts: Sequence[Expert],
        find: Callable[[Sequence[Expert]], Tensor],
        device: torch.device,
    ) -> Tensor:
        """A layer's addresses on the device; `find` says them on the host."""
        known = self._addresses.get(id(experts))
        if known is None:
            # The kernel takes no experts in groups, so it reads no forms.
            without_forms = find(experts)[:, [0, 1, 3, 4]]
            # Kept, so that no other layer comes to have the same number.
            known = self._addresses[id(experts)] = (experts, without_forms.to(device))
        return known[1]
