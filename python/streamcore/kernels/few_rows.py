"""What the CUDA kernels of products of few rows take, and the memory of those of experts."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from streamcore.kernels.weight import LinearWeight
from streamcore.operands import Expert, ExpertRule

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
    """Whether the kernels take a layer of experts that are all stored alike."""
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
    return dtype in _DTYPES and data.dtype == dtype and data.is_contiguous() and data.data_ptr() % 16 == 0


class ExpertMemory:
    """What the launches of a layer of experts hand to each other, and where the weights of each
    layer are. All of it has one size and one place for all steps.
    """

    def __init__(self) -> None:
        """Takes no memory yet."""
        self._rows: dict[tuple[int, ...], dict[str, Tensor]] = {}
        self._addresses: dict[int, tuple[Sequence[Expert], Tensor]] = {}

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
            # Kept, so that no other layer comes to have the same number.
            known = self._addresses[id(experts)] = (experts, find(experts).to(device))
        return known[1]
