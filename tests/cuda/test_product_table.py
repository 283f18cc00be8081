"""Which products are the kernel's, as it is settled where there is a device."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from streamcore.kernels import LinearWeight
from streamcore.kernels.few_rows import MAX_ROWS, ProductTable, takes_product


class Clock:
    """A device on which the kernel takes longer with each row, and its rival does not."""

    def __init__(self, kernel_s_of_row: float) -> None:
        self.kernel_s_of_row = kernel_s_of_row
        self.taken_s = 0.0
        self.num_runs = 0

    def kernel(self, out: Tensor, rows: Tensor, weight: LinearWeight) -> None:
        assert out.shape == (rows.shape[0], weight.num_outputs)
        self.taken_s = self.kernel_s_of_row * rows.shape[0]

    def other(self, out: Tensor, rows: Tensor, weight: LinearWeight) -> None:
        self.taken_s = 1.0

    def seconds(self, work: Callable[[], None]) -> float:
        self.num_runs += 1
        work()
        return self.taken_s


def weight_of(num_outputs: int, num_inputs: int) -> LinearWeight:
    data = torch.zeros(num_outputs, num_inputs, dtype=torch.bfloat16)
    return LinearWeight(data, num_outputs, num_inputs, packed=False)


@pytest.mark.parametrize(
    ("kernel_s_of_row", "expected"), [(1 / 33, 32), (1 / 30, 32), (1 / 17, 16), (1 / 8, 8), (1.0, 0)]
)
def test_the_faster_one_multiplies(kernel_s_of_row: float, expected: int) -> None:
    """A kernel that a device's own library beats must not slow down every step; one that is about as fast keeps rows
    apart from their batch.
    """
    clock = Clock(kernel_s_of_row)
    table = ProductTable(clock.seconds, clock.kernel, clock.other)
    x = torch.zeros(3, 64, dtype=torch.bfloat16)
    assert table.max_rows(x, weight_of(128, 64)) == expected
    num_runs = clock.num_runs
    assert table.max_rows(x, weight_of(128, 64)) == expected
    assert clock.num_runs == num_runs, "measured in a step that had been measured"


def test_without_a_device_nothing_is_measured() -> None:
    """The emulator knows no time: which kernels run there must not depend on it."""
    clock = Clock(1.0)
    table = ProductTable(None, clock.kernel, clock.other)
    assert table.max_rows(torch.zeros(1, 64), weight_of(128, 64)) == MAX_ROWS
    assert clock.num_runs == 0


def test_what_the_kernel_cannot_read_is_torchs() -> None:
    """A row that begins between two groups of 16 bytes is a fault of the device, and the end of the process."""
    wide = torch.zeros(33, 72, dtype=torch.bfloat16)
    x, weight = wide[:32, :64], weight_of(8, 64)
    assert takes_product(x, weight)
    assert not takes_product(wide[:, :64], weight), "too many rows"
    assert not takes_product(wide[:32, 1:65], weight), "not at a multiple of 16 bytes"
    assert not takes_product(wide.view(-1)[: 32 * 68].view(32, 68)[:, :64], weight), "rows between two groups"
    assert not takes_product(x.float(), weight), "another dtype"
    assert not takes_product(wide[:32, :60], weight_of(8, 60)), "a group that is not whole"
