"""Prints what the kernels cost on a device at least: bytes by the emulator's count, instructions by the machine code.

Run it with: python -m tests.cuda.floors

For each kernel, on a shape of Llama 3.1 8B in bfloat16 (32 query heads, 8 KV heads of 128): the bytes of the sectors that it
touches beside those of its tensors, and the times that memory and the issue of instructions take. The greater is the
floor: no forecast, since nothing waits in it. Instructions need `cuobjdump`, from the CUDA toolkit or the package
nvidia-cuda-cuobjdump; without it the floor is that of memory.
"""

import sys
from dataclasses import dataclass

from tests.cuda.compile import TARGET, compiled_for_device
from tests.cuda.machine_code import codes_of, cuobjdump
from tests.cuda.toolkit import CUDA, nvcc

CLOCK, MULTIPROCESSORS, BANDWIDTH, TENSOR = 1.755e9, 132, 4.8e12, 989e12
"""Of an H200."""
MMA_SYNC = 0.62
"""What `mma.sync` reaches of wgmma on Hopper (arXiv:2402.13499)."""


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


DECODE, PREFILL = (
    "decode_attention_kernel<__nv_bfloat16, __nv_bfloat16, 128>",
    "prefill_attention_kernel<__nv_bfloat16, __nv_bfloat16, 128>",
)


def product(title: str, num_rows: int, num_outputs: int, num_inputs: int, *, is_fp8: bool = False) -> Kernel:
    """A product of few rows: its weights, and what goes in and out. In fp8 an output has a scale for each 128 inputs."""
    most_rows = 16 if is_fp8 else 32
    tiles = next(count for count in (1, 2, 4) if min(num_rows, most_rows) <= 8 * count)
    passes = -(-num_rows // most_rows)
    turns = passes * num_outputs / 64 * num_inputs / (128 if is_fp8 else 64)
    weights = "Fp8Weights" if is_fp8 else "PlainWeights"
    bytes_of_weight = 1 + 4 / 128 if is_fp8 else 2
    return Kernel(
        f"{title}, {num_rows} x {num_outputs} x {num_inputs}",
        "fp8_bf16" if is_fp8 else "linear_bf16",
        f"linear_kernel<__nv_bfloat16, {weights}<__nv_bfloat16>, {tiles}>",
        "HMMA",
        bytes_of_weight * num_outputs * num_inputs + 2 * num_rows * (num_inputs + num_outputs),
        turns,
        flops=passes * num_outputs / 64 * num_inputs / 64 * 4 * tiles * 4 * 4096,
    )


KERNELS = [
    Kernel("decode attention, 64 x 4096", "attention_bf16", DECODE, "HMMA",
           64 * 4096 * 2 * 8 * 128 * 2, 64 * 8 * 4096 / 16, flops=64 * 8 * 4096 / 16 * 16 * 4096),
    Kernel("decode attention, 1 x 32768", "attention_bf16", DECODE, "HMMA",
           32768 * 2 * 8 * 128 * 2, 8 * 32768 / 16, flops=8 * 32768 / 16 * 16 * 4096),
    Kernel("prefill attention, 8192", "attention_bf16", PREFILL, "HMMA",
           8192 * (32 + 32 + 2 * 8) * 128 * 2, 32 * 4 * 128 * 129 / 2, flops=32 * 4 * 128 * 129 / 2 * 128 * 4096),
    Kernel("decode over fp8, 64 x 4096", "attention_bf16_e4m3", "decode_attention_kernel<__nv_bfloat16, E4m3, 128>",
           "HMMA", 64 * 4096 * 2 * 8 * 128, 64 * 8 * 4096 / 16, flops=64 * 8 * 4096 / 16 * 16 * 4096),
    Kernel("prefill over fp8, 8192", "attention_bf16_e4m3", "prefill_attention_kernel<__nv_bfloat16, E4m3, 128>",
           "HMMA", 8192 * ((32 + 32) * 2 + 2 * 8) * 128, 32 * 4 * 128 * 129 / 2,
           flops=32 * 4 * 128 * 129 / 2 * 128 * 4096),
    Kernel("sampling, 256 x 151936", "sample", "sample_kernel<4, false>", "REDUX",
           256 * 151936 * 4, 256 * 151936 / 128),
    Kernel("sampling with penalties, 256 x 151936", "sample", "sample_kernel<4, true>", "REDUX",
           256 * 151936 * 5, 256 * 151936 / 128),
    Kernel("log-probabilities, 256 x 151936", "sample", "score_kernel<4>", "MUFU.EX2",
           256 * 151936 * 8, 256 * 151936 / 128),
    Kernel("gated, 8192 x 14336", "gated", "gated_kernel<__nv_bfloat16, 8, 0>", "", 8192 * 14336 * 3 * 2, 0,
           warps=8192 * 14336 / 8 / 2 / 32),
    Kernel("rope and store, 8192", "rope_and_store", "rope_and_store_kernel<__nv_bfloat16, __nv_bfloat16, 8>", "LDG",
           8192 * (2 * (32 + 8) + 8 + 2 * 8) * 128 * 2, 8192 * 48 * 8 / 32),
    Kernel("norm with residual, 8192 x 4096", "rms_norm", "rms_norm_kernel<__nv_bfloat16, 8, true>", "",
           8192 * 4096 * 4 * 2, 0, warps=8192 * 4096 / 8 / 32),
    Kernel("norm with residual, 1 x 4096", "rms_norm", "rms_norm_kernel<__nv_bfloat16, 8, true>", "",
           4096 * 4 * 2, 0, warps=4096 / 8 / 32),
    Kernel("embedding, 8192 x 4096", "rows", "embed_kernel<__nv_bfloat16, 8>", "", 8192 * 4096 * 2 * 2, 0,
           warps=8192 * 4096 / 8 / 32),
    Kernel("wanted rows, 256 x 4096", "rows", "take_kernel<__nv_bfloat16, 8>", "", 256 * 4096 * 2 * 2, 0,
           warps=256 * 4096 / 8 / 32),
    Kernel("sum, 8192 x 4096", "rows", "add_into_kernel<__nv_bfloat16, 8>", "", 8192 * 4096 * 3 * 2, 0,
           warps=8192 * 4096 / 8 / 32),
    Kernel("factor, 8192 x 4096", "rows", "scale_kernel<__nv_bfloat16, 8>", "", 8192 * 4096 * 2 * 2, 0,
           warps=8192 * 4096 / 8 / 32),
    product("product after attention", 1, 4096, 4096),
    product("product after attention", 32, 4096, 4096),
    product("gate and up", 1, 28672, 4096),
    product("gate and up", 32, 28672, 4096),
    product("gate and up in fp8", 1, 28672, 4096, is_fp8=True),
    product("gate and up in fp8", 32, 28672, 4096, is_fp8=True),
    product("down", 8, 4096, 14336),
    product("logits", 1, 128256, 4096),
    Kernel("gate and up in 4 bits, 1 x 28672 x 4096", "grouped_bf16",
           "grouped_linear_kernel<__nv_bfloat16, 0, 1>", "HMMA", 28672 * 4096 * (1 / 2 + 4 / 128),
           28672 / 64 * 4096 / 64, flops=28672 / 64 * 4096 / 64 * 20 * 4096),
    Kernel("widening of fp8, 28672 x 4096", "fp8_bf16", "widen_fp8_kernel<__nv_bfloat16>", "",
           28672 * 4096 * (3 + 4 / 128), 0, warps=28672 * 4096 / 16 / 32),
    # 32 tokens that take 8 of 128 each use about 112.
    Kernel("gate and up of experts, 112 of 1536 x 2048", "linear_bf16",
           "gate_up_of_experts_kernel<__nv_bfloat16, PlainWeights<__nv_bfloat16>, 4>", "HMMA", 112 * 1536 * 2048 * 2,
           112 * 24 * 32, flops=112 * 24 * 32 * 64 * 4096),
]  # fmt: skip


def floor(kernel: Kernel) -> str:
    """A line of the table: microseconds by memory, issue and tensor cores, and the greatest."""
    memory = kernel.num_bytes / BANDWIDTH
    if cuobjdump() is None or nvcc() is None:
        return (
            f"| {kernel.title} | {kernel.num_bytes / 1e6:.0f} | {memory * 1e6:.0f} | | | {memory * 1e6:.0f} |"
        )
    cubin, _ = compiled_for_device(CUDA / "launch" / f"{kernel.source}.cu")
    code = next(code for code in codes_of(cubin, TARGET) if code.kernel == kernel.name)
    loop = len(code.main_loop(kernel.mark)) if kernel.mark else len(code.instructions)
    count = loop * (kernel.rounds or kernel.warps)
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
