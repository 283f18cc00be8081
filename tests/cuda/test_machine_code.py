"""What the compiler says of each kernel: registers, shared memory, and registers that it had to spill.

The build script of `rust/kernels` keeps the compiler's report beside each object; `cuda/resources.txt` is what it must
say. `UPDATE_RESOURCES=1` writes the table anew.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.cuda.floors import cuobjdump, instructions, main_loop
from tests.cuda.toolkit import CUDA, ROOT

from streamcore.kernels import library

TABLE = CUDA / "resources.txt"
_ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\S+)' for '(?P<target>\S+)'"
    r".*?(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


def reports() -> list[Path]:
    """The compiler's reports of the newest build, one for each source."""
    folders = {path.parent for path in ROOT.glob("target/*/build/streamcore-kernels-*/out/*.ptxas")}
    if not folders:
        return []
    newest = max(folders, key=lambda folder: max(path.stat().st_mtime for path in folder.glob("*.ptxas")))
    return sorted(newest.glob("*.ptxas"))


def readable(names: list[str]) -> list[str]:
    """Names of kernels without their parameters."""
    said = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return [
        line.removeprefix("void ").replace("streamcore::", "").split("(")[0]
        for line in said.stdout.splitlines()
    ]


def resources() -> dict[tuple[str, str], tuple[int, int, int]]:
    """By kernel and target: registers, bytes of shared memory, bytes spilled."""
    found = {}
    for path in reports():
        entries = list(_ENTRY.finditer(path.read_text()))
        for name, entry in zip(readable([entry["name"] for entry in entries]), entries, strict=True):
            shared = re.search(r"(\d+) bytes smem", entry["rest"])
            spilled = int(entry["stores"]) + int(entry["loads"])
            shared_bytes = int(shared[1]) if shared else 0
            found[name, entry["target"]] = (int(entry["registers"]), shared_bytes, spilled)
    return found


def table() -> str:
    """A line for each kernel: its shared memory, then its registers on each target."""
    found = resources()
    targets = sorted({target for _, target in found}, key=lambda target: int(target.removeprefix("sm_")))
    lines = [f"{'kernel':60} {'shared':>7} {' '.join(f'{target:>7}' for target in targets)}"]
    for kernel in sorted({name for name, _ in found}):
        of = [found[kernel, target] for target in targets]
        registers = " ".join(f"{count:7}" for count, _, _ in of)
        lines.append(f"{kernel:60} {max(shared for _, shared, _ in of):7} {registers}")
    return "\n".join(lines) + "\n"


@pytest.fixture(autouse=True)
def compiled() -> None:
    """Skips where this checkout has not compiled the kernels itself."""
    if library.compiled is None or library.compiled.cuda_build() is None or not reports():
        pytest.skip("the kernels were not compiled here")


def test_nothing_is_spilled() -> None:
    """A register that goes by way of memory in the inner loop costs more than the arithmetic around it."""
    spilled = {key: value[2] for key, value in resources().items() if value[2]}
    assert spilled == {}


def test_registers_are_those_of_the_table() -> None:
    """Some registers more can halve the warps that fit on a multiprocessor, which no test of numbers shows."""
    version, _ = library.compiled.cuda_build()
    if os.environ.get("UPDATE_RESOURCES") == "1":
        TABLE.write_text(table())
    if not version.startswith("13.0."):
        pytest.skip(f"the table is that of CUDA 13.0, not of {version}")
    assert table() == TABLE.read_text()


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize("tiles", [1, 2, 4])
@pytest.mark.parametrize(
    "kernel", ["13linear_kernel", "25gate_up_of_experts_kernel", "22down_of_experts_kernel"]
)
def test_products_are_made_of_wide_loads_and_tensor_cores(kernel: str, tiles: int, target: str) -> None:
    """A compiler that splits the loads, or calls a function between them, halves the rate at which weights come in."""
    if cuobjdump() is None:
        pytest.skip("no cuobjdump")
    binary = reports()[0].parent / "linear_bf16.o"
    code = instructions(binary, f"{kernel}I13__nv_bfloat16NS_12PlainWeightsIS1_EELi{tiles}E", target)
    loop = main_loop(code, "HMMA")
    assert sum(name.startswith("HMMA.16816.F32.BF16") for name in loop) == 16 * tiles
    loads = [name for name in loop if name.startswith("LD") and not name.startswith("LDC")]
    assert loads.count("LDG.E.NA.128.CONSTANT") >= 16, loads
    assert all(".128" in name for name in loads), loads
    # The last two go on or leave, on sm_80 by a call to what comes next.
    assert not any(name.startswith(("CALL", "STL", "BAR")) for name in loop[:-2])
    # The 8 KB of a turn take an H200 as long as a multiprocessor takes for 1580 instructions.
    assert len(loop) < 700
