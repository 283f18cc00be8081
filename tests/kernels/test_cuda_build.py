"""Which devices the compiled CUDA kernels have code for, read from the extension itself."""

import struct
from pathlib import Path

import pytest

# The header of a "fat binary" as nvcc embeds it, and of the entries in it.
_MAGIC = struct.pack("<I", 0xBA55ED50)
_KINDS = {1: "compute", 2: "sm"}


def code_of(library: bytes) -> list[set[str]]:
    """The targets of each fat binary in a library."""
    found = []
    start = library.find(_MAGIC)
    while start >= 0:
        header_size, size = struct.unpack_from("<HQ", library, start + 6)
        entry, end, targets = start + header_size, start + header_size + size, set()
        while entry < end:
            kind, _, entry_header_size, entry_size = struct.unpack_from("<HHIQ", library, entry)
            (target,) = struct.unpack_from("<I", library, entry + 28)
            targets.add(f"{_KINDS[kind]}_{target}")
            entry += entry_header_size + entry_size
        found.append(targets)
        start = library.find(_MAGIC, end)
    return found


def test_every_kernel_has_code_for_every_generation() -> None:
    """A wheel without code for a device compiles at its first start, or does not start."""
    core = pytest.importorskip("streamcore._core")
    build = core.kernels.cuda_build()
    if build is None:
        pytest.skip("built without a CUDA compiler")
    _, targets = build
    fat_binaries = code_of(Path(core.__file__).read_bytes())
    sources = list((Path(__file__).parents[2] / "cuda" / "launch").glob("*.cu"))
    assert len(fat_binaries) == len(sources)
    for fat_binary in fat_binaries:
        assert fat_binary == {*targets.split(), "compute_80"}
