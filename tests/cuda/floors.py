"""Prints what the kernels cost on a device at least: bytes by the emulator's count, instructions by the machine code.

Run it with: python -m tests.cuda.floors

For each kernel, on a shape of Llama 3.1 8B in bfloat16 (32 query heads, 8 KV heads of 128): the bytes of the sectors that it
touches beside those of its tensors, and the times that memory and the issue of instructions take. The greater is the
floor: no forecast, since nothing waits in it. Instructions need `cuobjdump`, from the CUDA toolkit or the package
nvidia-cuda-cuobjdump; without it the floor is that of memory.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.cuda.toolkit import CUDA, INCLUDES, ROOT, toolkit

CLOCK, MULTIPROCESSORS, BANDWIDTH, TENSOR = 1.755e9, 132, 4.8e12, 989e12
"""Of an H200."""
MMA_SYNC = 0.62
"""What `mma.sync` reaches of wgmma on Hopper (arXiv:2402.13499)."""
_LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?([A-Z][A-Z0-9_.]*)([^;]*);")


@dataclass(frozen=True)
class Kernel:
    """What is known of a launch beforehand."""

    title: str
    source: str
    name: str
    mark: str
    """Instructions of which the main loop has most."""
    num_bytes: float
    """Of all tensors, each read or written once."""
    rounds: float
    """How often a warp runs the main loop, all warps together; 0: the kernel has none, `warps` run it once."""
    warps: float = 0
    flops: float = 0
    """Of `mma` instructions."""


def product(title: str, num_rows: int, num_outputs: int, num_inputs: int) -> Kernel:
    """A product of few rows: its weights, and what goes in and out."""
    tiles = next(count for count in (1, 2, 4) if num_rows <= 8 * count)
    turns = num_outputs / 64 * num_inputs / 64
    return Kernel(
        f"{title}, {num_rows} x {num_outputs} x {num_inputs}",
        "linear_bf16",
        f"linear_kernelI13__nv_bfloat16NS_12PlainWeightsIS1_EELi{tiles}E",
        "HMMA",
        2 * (num_outputs * num_inputs + num_rows * (num_inputs + num_outputs)),
        turns,
        flops=turns * 4 * tiles * 4 * 4096,
    )


KERNELS = [
    Kernel("decode attention, 64 x 4096", "attention_bf16", "decode_attention_kernelI13__nv_bfloat16S1_Li128", "HMMA",
           64 * 4096 * 2 * 8 * 128 * 2, 64 * 8 * 4096 / 16, flops=64 * 8 * 4096 / 16 * 16 * 4096),
    Kernel("decode attention, 1 x 32768", "attention_bf16", "decode_attention_kernelI13__nv_bfloat16S1_Li128", "HMMA",
           32768 * 2 * 8 * 128 * 2, 8 * 32768 / 16, flops=8 * 32768 / 16 * 16 * 4096),
    Kernel("prefill attention, 8192", "attention_bf16", "prefill_attention_kernelI13__nv_bfloat16S1_Li128", "HMMA",
           8192 * (32 + 32 + 2 * 8) * 128 * 2, 32 * 4 * 128 * 129 / 2, flops=32 * 4 * 128 * 129 / 2 * 128 * 4096),
    Kernel("decode over fp8, 64 x 4096", "attention_bf16_e4m3", "decode_attention_kernelI13__nv_bfloat16NS_4E4m3ELi128",
           "HMMA", 64 * 4096 * 2 * 8 * 128, 64 * 8 * 4096 / 16, flops=64 * 8 * 4096 / 16 * 16 * 4096),
    Kernel("prefill over fp8, 8192", "attention_bf16_e4m3", "prefill_attention_kernelI13__nv_bfloat16NS_4E4m3ELi128",
           "HMMA", 8192 * ((32 + 32) * 2 + 2 * 8) * 128, 32 * 4 * 128 * 129 / 2,
           flops=32 * 4 * 128 * 129 / 2 * 128 * 4096),
    Kernel("sampling, 256 x 151936", "sample", "sample_kernelILi4", "REDUX", 256 * 151936 * 4, 256 * 151936 / 128),
    Kernel("gated, 8192 x 14336", "gated", "gated_kernelI13__nv_bfloat16Li8ELi0", "", 8192 * 14336 * 3 * 2, 0,
           warps=8192 * 14336 / 8 / 2 / 32),
    Kernel("rope and store, 8192", "rope_and_store", "rope_and_store_kernelI13__nv_bfloat16S1_Li8", "LDG",
           8192 * (2 * (32 + 8) + 8 + 2 * 8) * 128 * 2, 8192 * 48 * 8 / 32),
    product("product after attention", 1, 4096, 4096),
    product("product after attention", 32, 4096, 4096),
    product("gate and up", 1, 28672, 4096),
    product("gate and up", 32, 28672, 4096),
    product("down", 8, 4096, 14336),
    product("logits", 1, 128256, 4096),
    Kernel("gate and up in 4 bits, 1 x 28672 x 4096", "grouped_bf16",
           "grouped_linear_kernelI13__nv_bfloat16LNS_5CodesE0ELi1E", "HMMA", 28672 * 4096 * (1 / 2 + 4 / 128),
           28672 / 64 * 4096 / 64, flops=28672 / 64 * 4096 / 64 * 20 * 4096),
]  # fmt: skip


def cubin(source: str) -> Path:
    """The machine code of a launcher for an H200."""
    home = toolkit()
    assert home is not None
    output = ROOT / "target" / "cuda-host" / f"{source}.sm_90.cubin"
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [str(home / "bin/nvcc"), "-O3", "-std=c++17", *INCLUDES, "-arch=sm_90", "-cubin"]
    subprocess.run([*command, str(CUDA / "launch" / f"{source}.cu"), "-o", str(output)], check=True)
    return output


def cuobjdump() -> str | None:
    """Where the disassembler is."""
    found = (Path(entry or ".") / "nvidia" / "cu13" / "bin" / "cuobjdump" for entry in sys.path)
    return shutil.which("cuobjdump") or next((str(path) for path in found if path.is_file()), None)


@cache
def functions(binary: Path, target: str) -> list[str]:
    """The machine code of each kernel in an object of the compiler, after its name."""
    command = [cuobjdump() or "", "-sass", "-arch", target, str(binary)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return text.split("Function : ")[1:]


def instructions(binary: Path, kernel: str, target: str = "sm_90") -> list[tuple[int, str, str]]:
    """Address, operation and operands of a kernel."""
    body = next(part for part in functions(binary, target) if kernel in part.split("\n")[0])
    return [(int(at, 16), operation, operands) for at, operation, operands in _LINE.findall(body)]


def main_loop(code: list[tuple[int, str, str]], mark: str) -> list[str]:
    """The operations of the smallest loop that has as many marked ones as any."""
    loops = []
    for at, operation, operands in code:
        target = re.search(r"0x([0-9a-f]+)", operands) if operation.startswith("BRA") else None
        if target and int(target[1], 16) < at:
            loops.append([name for place, name, _ in code if int(target[1], 16) <= place <= at])
    most = max(sum(name.startswith(mark) for name in loop) for loop in loops)
    return min((loop for loop in loops if sum(name.startswith(mark) for name in loop) == most), key=len)


def floor(kernel: Kernel) -> str:
    """A line of the table: microseconds by memory, issue and tensor cores, and the greatest."""
    memory = kernel.num_bytes / BANDWIDTH
    if cuobjdump() is None:
        return (
            f"| {kernel.title} | {kernel.num_bytes / 1e6:.0f} | {memory * 1e6:.0f} | | | {memory * 1e6:.0f} |"
        )
    code = instructions(cubin(kernel.source), kernel.name)
    count = len(main_loop(code, kernel.mark)) * kernel.rounds if kernel.mark else len(code) * kernel.warps
    issue = count / (4 * MULTIPROCESSORS * CLOCK)
    tensor = kernel.flops / (TENSOR * MMA_SYNC)
    times = [memory, issue, tensor]
    shown = " | ".join(f"{time * 1e6:.0f}" for time in [*times, max(times)])
    return f"| {kernel.title} | {kernel.num_bytes / 1e6:.0f} | {shown} |"


if __name__ == "__main__":
    lines = [
        "| kernel | MB | memory, µs | issue, µs | tensor cores, µs | floor, µs |",
        "|---|---|---|---|---|---|",
    ]
    sys.stdout.write("\n".join([*lines, *map(floor, KERNELS)]) + "\n")
