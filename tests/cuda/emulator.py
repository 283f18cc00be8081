"""The emulator from Python: memory that kernels may access, orders of threads, findings, counts."""

import ctypes
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_PLACE = re.compile(r"@\+([0-9a-f]+)")


@dataclass(frozen=True)
class Requests:
    """What the warps of a kernel asked of memory at one line: `units` are sectors of global memory or
    wavefronts of shared memory, `ideal` those that the same bytes need at least.
    """

    line: str
    space: str
    kind: str
    size: int
    requests: int
    lanes: int
    num_bytes: int
    units: int
    ideal: int


@dataclass(frozen=True)
class Profile:
    """Counts of what has run since `begin`."""

    requests: list[Requests]
    tensors: dict[str, tuple[int, int, int]]
    """By name: bytes, and bytes of the sectors that were read and written."""
    num_blocks: int
    num_mma: int

    def excess(self, space: str, kind: str) -> float:
        """Units over the ideal."""
        chosen = [row for row in self.requests if (row.space, row.kind) == (space, kind)]
        return sum(row.units for row in chosen) / max(sum(row.ideal for row in chosen), 1)


class Emulator:
    """A library of kernels compiled for the host."""

    def __init__(self, library: Path) -> None:
        self.path = library
        self._library = ctypes.CDLL(str(library))
        self._library.coc_reports.restype = self._library.coc_profile.restype = ctypes.c_char_p
        self._knows_guards = False

    def begin(self, *, check: bool = False, profile: bool = False, seed: int = 0) -> None:
        """Forgets memory, findings and counts; threads run in the order of the seed, 0 for theirs."""
        if check and not self._knows_guards:
            self._ignore_guards()
        self._library.coc_begin(int(check), int(profile), ctypes.c_uint64(seed))

    def _ignore_guards(self) -> None:
        """Local statics of types with constructors have guards, which no kernel knows of."""
        listed = subprocess.run(
            ["readelf", "-sW", str(self.path)], capture_output=True, text=True, check=True
        )
        for offset in re.findall(r"^\s*\d+: ([0-9a-f]+)\s+\d+ TLS .* _ZGV\S+$", listed.stdout, re.MULTILINE):
            self._library.coc_guard(ctypes.c_size_t(int(offset, 16)))
        self._knows_guards = True

    def register(
        self, address: int, num_bytes: int, name: str, *, is_written: bool, is_constant: bool = False
    ) -> None:
        """Lets kernels access memory; reading what is not written is a finding, and so is an access before the launch
        in front has ended, but to what no launch writes.
        """
        place, size = ctypes.c_void_p(address), ctypes.c_size_t(num_bytes)
        self._library.coc_register(place, size, int(is_written), int(is_constant), name.encode())

    def forget(self, part: Tensor) -> None:
        """Makes a contiguous part of registered memory one that no kernel may read."""
        self._library.coc_forget(ctypes.c_void_p(part.data_ptr()), ctypes.c_size_t(part.nbytes))

    def call(self, function: str, arguments: ctypes.Structure) -> int:
        """Calls a launcher; returns its `cudaError_t`."""
        launch = getattr(self._library, function)
        status: int = launch(0, ctypes.byref(arguments), None)
        return status

    def reports(self) -> list[str]:
        """What the checker found, with source lines."""
        text: str = self._library.coc_reports().decode()
        return [_PLACE.sub(lambda found: self._source_line(found[1]), line) for line in text.splitlines()]

    def _source_line(self, offset: str) -> str:
        # A return address belongs to the line before it.
        address = hex(int(offset, 16) - 1)
        command = ["addr2line", "-s", "-i", "-e", str(self.path), address]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        # From the access outwards, through what was inlined.
        lines = [line.split(" (")[0] for line in said.stdout.splitlines()]
        shown = [line for line in lines if not line.startswith(("cuda_on_cpu.h", "??"))]
        return " < ".join(shown[:3]) or "?"

    def profile(self) -> Profile:
        """Requests by source line, sectors by tensor, and counts."""
        rows: dict[tuple[str, str, str, int], list[int]] = {}
        tensors, counts = {}, [0, 0]
        for line in self._library.coc_profile().decode().splitlines():
            kind, *words = line.split()
            if kind == "region":
                size, read, written = map(int, words[-3:])
                tensors[" ".join(words[:-3])] = (size, read, written)
            elif kind == "counts":
                counts = [int(word) for word in words[:2]]
            else:
                place, space, access, size, *numbers = words
                key = (self._source_line(place), space, access, int(size))
                before = rows.get(key, [0] * len(numbers))
                rows[key] = [a + int(b) for a, b in zip(before, numbers, strict=True)]
        return Profile([Requests(*key, *values) for key, values in rows.items()], tensors, *counts)

    def close(self) -> None:
        """Releases the stacks: a process may have a limited number of mappings."""
        self._library.coc_end()


def extents(tensors: Iterable[Tensor]) -> list[tuple[int, int]]:
    """Address and bytes of what the tensors cover, those that overlap as one."""
    spans = []
    for tensor in tensors:
        if tensor.numel():
            last = sum(
                (size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
            )
            spans.append((tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()))
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return [(begin, end - begin) for begin, end in merged]


def aligned(tensor: Tensor) -> Tensor:
    """A copy at an address that a device could have given."""
    storage = torch.empty(tensor.nbytes + 256, dtype=torch.uint8)
    start = -storage.data_ptr() % 256
    placed = storage[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
    placed.copy_(tensor)
    return placed
