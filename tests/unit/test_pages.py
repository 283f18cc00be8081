"""Memory in huge pages: tensors do not overlap, and unused memory goes back to the system."""

import mmap
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamcore.kernels import pages

MAPS = Path("/proc/self/smaps")
PAGE_BYTES = resource.getpagesize()
on_linux = pytest.mark.skipif(not MAPS.exists(), reason="only Linux tells what it has mapped")
with_huge_pages = pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="this system has no huge pages"
)


def flags_at(address: int) -> list[str]:
    """What the system knows of the mapping that an address lies in."""
    is_there = False
    for line in MAPS.read_text().splitlines():
        first = line.split()[0]
        if "-" in first:
            start, end = (int(number, 16) for number in first.split("-"))
            is_there = start <= address < end
        elif is_there and first == "VmFlags:":
            return line.split()[1:]
    raise AssertionError("the address is not mapped")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


@with_huge_pages
@on_linux
@pytest.mark.parametrize("allocate", [pages.zeros, pages.empty_beside_others])
def test_the_system_is_asked_for_huge_pages(
    allocate: Callable[[int, torch.dtype], torch.Tensor],
) -> None:
    tensor = allocate(3 << 20, torch.bfloat16)
    assert tensor.shape == (3 << 20,)
    assert tensor.dtype == torch.bfloat16
    for part in (tensor[:1], tensor[-1:]):
        assert "hg" in flags_at(part.data_ptr())


def test_a_system_that_refuses_huge_pages_gives_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 12345, raising=False)
    assert not pages.zeros(5000, torch.float32).any()


def test_tensors_beside_each_other_do_not_overlap() -> None:
    sizes = [1, 63, 64, 65, 1000, 9 << 20, 0, 40 << 20, 3]
    tensors = [pages.empty_beside_others(size, torch.float32) for size in sizes]
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
    for number, (size, tensor) in enumerate(zip(sizes, tensors, strict=True)):
        assert tensor.shape == (size,)
        assert size == 0 or tensor.data_ptr() % 64 == 0, "vectors are read from the start of a cache line"
        assert (tensor == number).all()


@on_linux
def test_memory_goes_back_with_its_last_tensor() -> None:
    before = resident_bytes()
    tensors = [pages.empty_beside_others(8 << 20, torch.uint8).fill_(1) for _ in range(32)]
    assert resident_bytes() - before > 200 << 20
    last = tensors[-1]
    tensors.clear()
    # The last chunk stays for what comes next.
    assert resident_bytes() - before < 100 << 20
    assert (last == 1).all()


@on_linux
def test_zeros_that_are_not_touched_take_no_memory() -> None:
    before = resident_bytes()
    tensor = pages.zeros(1 << 30, torch.uint8)
    tensor[0] = 1
    assert resident_bytes() - before < 64 << 20
    assert tensor[1 << 29] == 0
