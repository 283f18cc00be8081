"""The blocks of GGUF files: a wrong bit is a wrong weight."""

import subprocess
import sys
from pathlib import Path

import gguf
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from tests.models.gguf_files import random_blocks

from streamcore.models.gguf.blocks import BLOCKS, GROUPED_TYPES, StoredTensor, type_name


def test_sizes_and_numbers_of_types_are_the_packages() -> None:
    """A wrong size would move every tensor that follows, and a wrong number take one type for another."""
    for kind in Kind:
        assert type_name(kind.value) == kind.name
    sizes = {name: tuple(gguf.GGML_QUANT_SIZES[Kind[name]]) for name in BLOCKS}
    assert dict(BLOCKS) == sizes


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_are_widened_as_the_package_does(kind: str, tmp_path: Path) -> None:
    """Bit for bit, also across the pieces in which a large tensor is widened, and for a part of one."""
    stored = random_blocks(3 * 171, 256, Kind[kind])
    path = tmp_path / "blocks"
    path.write_bytes(b"header" + stored.data.tobytes())
    tensor = StoredTensor(path, "t", kind, (3, 171, 256), 6)
    expected = torch.from_numpy(stored.widened.copy()).reshape(3, 171, 256)
    assert torch.equal(tensor.read().float(), expected)
    assert torch.equal(tensor.part(2).read().float(), expected[2])


@pytest.mark.parametrize("kind", BLOCKS)
def test_numbers_in_groups_are_those_of_blocks(kind: str, tmp_path: Path) -> None:
    """A file that is computed with as it is must be the file: value for value what the package makes
    of it, or widened as before.
    """
    stored = random_blocks(171, 512, Kind[kind])
    path = tmp_path / "blocks"
    path.write_bytes(stored.data.tobytes())
    numbers = StoredTensor(path, "t", kind, (171, 512), 0).grouped()
    assert (numbers is not None) == (kind in GROUPED_TYPES)
    if numbers is not None:
        assert torch.equal(numbers.values(), torch.from_numpy(stored.widened.copy()))


def test_a_file_that_shrinks_while_it_is_loaded_is_named(tmp_path: Path) -> None:
    """Beyond the end of a mapped file the process would be killed."""
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(10))
    with pytest.raises(OSError, match=r"m\.gguf has become shorter"):
        StoredTensor(path, "t", "F32", (4, 4), 0).read()


def test_reading_takes_the_memory_of_one_tensor(tmp_path: Path) -> None:
    """Files are as large as the memory of the machines that they are made for."""
    path = tmp_path / "blocks"
    rows = 1 << 15
    path.write_bytes(bytes(rows * 256 // 32 * 18))
    code = (
        "import resource, torch, numpy, gguf.quants; from pathlib import Path;"
        "from streamcore.models.gguf.blocks import StoredTensor;"
        f"t = StoredTensor(Path({str(path)!r}), 't', 'Q4_0', ({rows}, 256), 0);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "t.read(); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    grown = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    assert grown * 1024 < 1.5 * rows * 256 * 4
