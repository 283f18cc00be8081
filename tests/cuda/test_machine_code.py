"""What the compiler makes of each kernel: registers, shared memory, spills, and the instructions themselves.

The build script of `rust/kernels` keeps the compiler's report beside each object; `cuda/resources.txt` is what it must
say. `UPDATE_RESOURCES=1` writes the table anew.
"""

import os
import re
from functools import cache
from pathlib import Path

import pytest
from tests.cuda.machine_code import Code, codes_of, cuobjdump, entries
from tests.cuda.toolkit import CUDA, ROOT

from streamcore.kernels import library

TABLE = CUDA / "resources.txt"
WIDE = re.compile(r"\.128(\.|$)")
ATTENTION = re.compile(r"(decode|prefill)_attention_kernel<\S+, (\S+), (\d+)>")
VECTORS = re.compile(r"(gated|rms_norm|scale|add_into|take|embed)_kernel<(\S+), (4|8)\b.*>")


def reports() -> list[Path]:
    """The compiler's reports of the newest build, one for each source."""
    folders = {path.parent for path in ROOT.glob("target/*/build/streamcore-kernels-*/out/*.ptxas")}
    if not folders:
        return []
    newest = max(folders, key=lambda folder: max(path.stat().st_mtime for path in folder.glob("*.ptxas")))
    return sorted(newest.glob("*.ptxas"))


@cache
def resources() -> dict[tuple[str, str], tuple[int, int, int]]:
    """By kernel and target: registers, bytes of shared memory, bytes spilled."""
    found = [entry for path in reports() for entry in entries(path.read_text())]
    return {
        (entry.kernel, entry.target): (entry.registers, entry.shared_bytes, entry.spilled) for entry in found
    }


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


@cache
def codes() -> dict[str, Code]:
    """The kernels for an H200 by their names."""
    found: dict[str, Code] = {}
    for report in reports():
        target = "sm_90a" if "'sm_90a'" in report.read_text() else "sm_90"
        found |= {code.kernel: code for code in codes_of(report.with_suffix(".o"), target)}
    return found


@pytest.fixture(autouse=True)
def compiled() -> None:
    """Skips where this checkout has not compiled the kernels itself."""
    if library.compiled is None or library.compiled.cuda_build() is None or not reports():
        pytest.skip("the kernels were not compiled here")


needs_disassembler = pytest.mark.skipif(cuobjdump() is None, reason="no cuobjdump")


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


@needs_disassembler
def test_every_kernel_of_the_table_was_disassembled() -> None:
    """A kernel that the other tests do not see passes all of them."""
    assert {kernel for kernel, _ in resources()} == set(codes())


@needs_disassembler
def test_attention_multiplies_on_tensor_cores() -> None:
    """The same sums on other units take ten times as long, and are as right."""
    seen = 0
    for name, code in codes().items():
        if match := ATTENTION.fullmatch(name):
            loop = code.main_loop("HMMA")
            assert sum(operation.startswith("HMMA") for operation in loop) >= int(match[3]) / 8, name
            seen += 1
    assert seen == 2 * 4 * 5


@needs_disassembler
def test_keys_and_values_are_read_sixteen_bytes_at_a_time() -> None:
    """Memory that is asked for in halves gives half of its rate."""
    for name, code in codes().items():
        match = ATTENTION.fullmatch(name)
        if match is None:
            continue
        loads = [op for op in code.main_loop("HMMA") if op.startswith("LDG")]
        if match[1] == "prefill":
            copies = [op for op in code.operations if op.startswith("LDGSTS")]
            assert copies, name
            assert all(WIDE.search(op) for op in copies), name
        else:
            # 16 tokens of keys and values are 2 KB for each 32 elements of a head, in eight bits
            # for each 64, where values are read by halves unless all lanes have some; the others
            # look up blocks.
            dim, is_narrow = int(match[3]), match[2] == "E4m3"
            least = dim / (32 if is_narrow and dim % 128 else 16)
            assert sum(bool(WIDE.search(op)) for op in loads) >= least, name


@needs_disassembler
def test_elements_are_read_and_written_sixteen_bytes_at_a_time() -> None:
    """These kernels do nothing but move memory."""
    seen = set()
    for name, code in codes().items():
        match = VECTORS.fullmatch(name)
        if match is None or (match[2] == "float") != (match[3] == "4"):
            continue
        seen.add(match[1])
        # Which row it is, is one number of four bytes.
        narrow = [op for op in code.operations if op.startswith(("LDG", "STG")) and not WIDE.search(op)]
        assert len(narrow) <= (match[1] in ("take", "embed")), f"{name}: {narrow}"
    assert seen == {"gated", "rms_norm", "scale", "add_into", "take", "embed"}


@needs_disassembler
def test_logits_are_read_sixteen_bytes_at_a_time() -> None:
    """A row of logits is read once by each of 512 threads, and that is most of what sampling takes."""
    for kernel in ("sample_kernel<4, false>", "sample_kernel<4, true>"):
        assert any(WIDE.search(op) for op in codes()[kernel].main_loop("REDUX")), kernel
    loads = [op for op in codes()["score_kernel<4>"].main_loop("MUFU.EX2") if op.startswith("LDG")]
    assert loads
    assert all(WIDE.search(op) for op in loads)


@needs_disassembler
def test_main_loops_call_nothing() -> None:
    """The slow path of a division is a call, for which every lane of a warp waits; a product by the inverse has none."""
    for name, code in codes().items():
        if ATTENTION.fullmatch(name):
            called = [op for op in code.main_loop("HMMA") if op.startswith("CALL")]
            assert called == [], name
        # Once for each vector that has a logit to note.
        if name.startswith("sample_kernel"):
            called = [op for op in code.main_loop("REDUX") if op.startswith("CALL")]
            assert len(called) <= 1, name
        if name.startswith(("gated", "scale", "add_into", "take", "embed", "score")):
            assert code.count("CALL") == 0, name


@needs_disassembler
def test_loops_keep_to_registers() -> None:
    """An array with an index that the compiler does not know lies in memory of the thread, as slow as any other."""
    for name, code in codes().items():
        if ATTENTION.fullmatch(name) or name.startswith("score"):
            assert code.count("LDL") + code.count("STL") == 0, name


def loop_of_product(
    kernel: str, weights: str, tiles: int, source: str, target: str
) -> tuple[list[str], list[str]]:
    """The loop of a product in bfloat16, and its loads, those of weights 16 bytes wide."""
    name = f"{kernel}_kernel<__nv_bfloat16, {weights}<__nv_bfloat16>, {tiles}>"
    compiled = codes_of(reports()[0].parent / f"{source}.o", target)
    loop = next(code for code in compiled if code.kernel == name).main_loop("HMMA")
    loads = [
        operation for operation in loop if operation.startswith("LD") and not operation.startswith("LDC")
    ]
    assert loads.count("LDG.E.NA.128.CONSTANT") >= 16, loads
    # The last two go on or leave, on sm_80 by a call to what comes next.
    assert not any(operation.startswith(("CALL", "STL", "BAR")) for operation in loop[:-2])
    return loop, loads


@needs_disassembler
@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize("tiles", [1, 2, 4])
@pytest.mark.parametrize("kernel", ["linear", "gate_up_of_experts", "down_of_experts"])
def test_products_are_made_of_wide_loads_and_tensor_cores(kernel: str, tiles: int, target: str) -> None:
    """A compiler that splits the loads, or calls a function between them, halves the rate at which weights come in."""
    loop, loads = loop_of_product(kernel, "PlainWeights", tiles, "linear_bf16", target)
    assert sum(operation.startswith("HMMA.16816.F32.BF16") for operation in loop) == 16 * tiles
    assert all(".128" in operation for operation in loads), loads
    # The 8 KB of a turn take an H200 as long as a multiprocessor takes for 1580 instructions.
    assert len(loop) < 800


@needs_disassembler
@pytest.mark.parametrize(("target", "most"), [("sm_80", 2500), ("sm_90", 1580)])
@pytest.mark.parametrize("tiles", [1, 2])
@pytest.mark.parametrize("kernel", ["linear", "gate_up_of_experts", "down_of_experts"])
def test_fp8_is_widened_in_registers(kernel: str, tiles: int, target: str, most: int) -> None:
    """A turn has the bytes of one of plain weights and twice the numbers: what widens them must stay below the time that
    the bytes take, which is that of `most` instructions of a multiprocessor.
    """
    loop, loads = loop_of_product(kernel, "Fp8Weights", tiles, "fp8_bf16", target)
    assert sum(operation.startswith("HMMA.16816.F32.BF16") for operation in loop) == 32 * tiles
    # Those of scales, of the outputs of a lane.
    assert sum(".128" not in operation for operation in loads) == 8, loads
    if target == "sm_90":
        assert sum("E4M3" in operation for operation in loop) == 128
    assert len(loop) < most


@needs_disassembler
def test_no_atomic_operation_tries_again() -> None:
    """A 64-bit sum in shared memory is a loop that spins while others are faster; two of 32 bits are two instructions."""
    for name, code in codes().items():
        assert [op for op in code.operations if "SPIN" in op or "CAS" in op] == [], name
