"""The parts of `check.py` that are no tests: one is named on the command line, and prints its numbers as JSON."""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tests.checkpoints import write_checkpoint
from tests.models.engine_loop import Ask, EngineLoop

from streamcore.kernels import LayerCache, PagedSequences, library, native
from streamcore.kernels.ops import Ops
from streamcore.kernels.reference import ReferenceOps
from streamcore.models.folder import check_model_folder
from streamcore.models.load import load_model
from streamcore.models.model import Model
from streamcore.operands import AttentionRule
from streamcore.runner.device import choose_device
from streamcore.runner.placement import Placement, cuda_capture
from streamcore.runner.sampler import SamplingColumns, sample

IS_EMULATED = os.environ.get("STREAMCORE_GPU_CHECK") == "emulated"


def device() -> torch.device:
    """Where kernels run."""
    return torch.device("cpu") if IS_EMULATED else choose_device("cuda")


def ops() -> native.CudaOps:
    """The kernels."""
    if IS_EMULATED:
        from tests.cuda.emulated import EmulatedOps
        from tests.cuda.emulator import Emulator
        from tests.cuda.host_library import host_library

        # A device's weights are not packed.
        library.packs_weights = lambda: False
        emulator = Emulator(host_library("fast"))
        emulator.begin()
        return EmulatedOps(emulator)
    found = native.ops_for(device())
    assert isinstance(found, native.CudaOps), "the kernels have no code for this device"
    return found


def sampling() -> dict[str, Any]:
    """How many of some rows are drawn as on the CPU."""
    count, vocab = (16, 2000) if IS_EMULATED else (256, 151936)
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(count, vocab, generator=generator)

    def pick(*values: float) -> torch.Tensor:
        return torch.tensor(values)[torch.randint(len(values), (count,), generator=generator)]

    columns = SamplingColumns(
        pick(0.0, 0.3, 1.0), pick(0, 1, 50).int(), pick(0.5, 0.95, 1.0), pick(0.0, 0.05), pick(0.0, 0.0, 1.5),
        torch.rand(count, generator=generator),
    )  # fmt: skip
    place = device()
    tokens, results = torch.empty(2, count, dtype=torch.int32, device=place)
    parameters = {name: getattr(columns, name).to(place) for name in SamplingColumns.parameters()}
    rows = torch.arange(count, dtype=torch.int32, device=place)
    on_device = logits.to(place)
    ops().sample(tokens, results, on_device, parameters, rows, columns.uniform.to(place), None, -2)
    equal = int((tokens.cpu() == sample(logits, columns)).sum())
    assert equal >= count - max(2, count // 64), f"{equal} of {count} tokens are those of the CPU"
    return {"sampled as on the CPU": f"{equal} of {count}"}


def model() -> dict[str, Any]:
    """Whole steps: against torch, and every way to run them against the others."""
    with tempfile.TemporaryDirectory() as folder:
        shape: dict[str, Any] = {
            "hidden_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
        }
        path = write_checkpoint(Path(folder), **shape)

        def loaded(chosen: Ops) -> Model:
            read = load_model(check_model_folder(path), device(), torch.float16)
            read.ops = chosen
            read.prepare(256, 512, 16)
            return read

        kernels, torchs = loaded(ops()), loaded(ReferenceOps())
    prompts = [
        [(seed * 37 + i * 11) % 250 + 2 for i in range(length)] for seed, length in enumerate((1, 9, 40, 70))
    ]

    def answered(chosen: Model, placement: Placement, **limits: Any) -> list[Any]:
        asked = [Ask(prompt, 16, {"logprobs": 1}) for prompt in prompts]
        return EngineLoop(chosen, num_blocks=64, placement=placement, **limits).answer(asked)

    capture = (lambda work: work) if IS_EMULATED else cuda_capture(device())
    one, two = Placement(1, True, None), Placement(2, True, None)
    eager = answered(kernels, one)
    first = [answer.likelihoods[0][0] for answer in eager]
    expected = [answer.likelihoods[0][0] for answer in answered(torchs, one)]
    difference = max(abs(a - b) for a, b in zip(first, expected, strict=True))
    assert difference < 0.05, f"log-probabilities differ by {difference} from torch's"
    sizes = [4, 8, 16]
    padded = [answer.tokens for answer in answered(kernels, one, capture_sizes=sizes)]
    for name, placement in {"depth 2": two, "captured": Placement(2, True, capture)}.items():
        tokens = [answer.tokens for answer in answered(kernels, placement, capture_sizes=sizes)]
        assert tokens == padded, f"{name}: other tokens than one step at a time"
    return {"largest difference of a log-probability from torch's": difference}


def median_s(launch: Callable[[], None], repeats: int = 20) -> float:
    """Seconds of a captured launch."""
    launch()
    torch.cuda.synchronize()
    replay = cuda_capture(device())(launch)
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return float(sorted(times)[repeats // 2])


def attention_s(
    num_seqs: int, context: int, new: int, dtype: torch.dtype = torch.bfloat16
) -> tuple[float, int]:
    """Seconds of attention on the shape of an 8B model over a KV cache of that dtype, and its bytes; over enough layers
    that no cache holds them.
    """
    heads, kv_heads, dim, block = 32, 8, 128, 16
    place, kernels = device(), ops()
    blocks = num_seqs * context // block
    layers = max(1, 400_000_000 // (2 * blocks * block * kv_heads * dim * dtype.itemsize))
    shape = (layers, 2, blocks, block, kv_heads, dim)
    numbers = torch.randn(shape, device=place, dtype=torch.bfloat16).to(dtype)
    caches = [LayerCache(keys, values) for keys, values in numbers]
    query = torch.randn(num_seqs * new, heads, dim, device=place, dtype=torch.bfloat16)
    out = torch.empty_like(query)
    lens, starts = torch.full((num_seqs,), context).int(), (torch.arange(num_seqs + 1) * new).int()
    sequences = PagedSequences(
        torch.randperm(blocks, device=place).int().view(num_seqs, -1),
        torch.arange(num_seqs, device=place).int(),
        lens.to(place),
        starts.to(place),
        host_context_lens=lens,
        host_query_starts=starts,
    )
    rule = AttentionRule(dim**-0.5)

    def launch() -> None:
        for cache in caches:
            kernels.paged_attention(out, query, cache, sequences, rule)

    return median_s(launch) / layers, 2 * num_seqs * context * kv_heads * dim * dtype.itemsize


def times() -> dict[str, Any]:
    """Times of the kernels beside what a copy takes."""
    if IS_EMULATED:
        return {"times": "the emulator has none"}
    source = torch.empty(1 << 31, dtype=torch.uint8, device=device())
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)

    copied = 2 * source.numel() / median_s(copy)
    numbers: dict[str, Any] = {"device": torch.cuda.get_device_name(), "copy, TB/s": round(copied / 1e12, 2)}
    for num_seqs, context in ((1, 32768), (16, 4096), (64, 4096), (256, 2048)):
        seconds, size = attention_s(num_seqs, context, 1)
        share = size / seconds / copied
        numbers[f"decode {num_seqs} x {context}"] = f"{seconds * 1e6:.1f} µs, {share:.2f} of a copy"
    seconds, size = attention_s(64, 4096, 1, torch.float8_e4m3fn)
    share = size / seconds / copied
    numbers["decode over fp8 64 x 4096"] = f"{seconds * 1e6:.1f} µs, {share:.2f} of a copy"
    for num_seqs, context, new in ((1, 8192, 8192), (1, 32768, 2048), (8, 1024, 1024)):
        seconds, _ = attention_s(num_seqs, context, new)
        flops = 4 * 32 * 128 * num_seqs * (new * (context - new) + new * (new + 1) / 2)
        numbers[f"prefill {num_seqs} x {new} of {context}"] = (
            f"{seconds * 1e6:.0f} µs, {flops / seconds / 1e12:.0f} TFLOP/s"
        )
    count, vocab, place = 256, 151936, device()
    logits = torch.randn(count, vocab, device=place) * 3
    parameters = {name: torch.full((count,), value, device=place) for name, value in
                  (("temperature", 1.0), ("top_p", 0.95), ("min_p", 0.0), ("top_n_sigma", 0.0))}  # fmt: skip
    parameters["top_k"] = torch.zeros(count, dtype=torch.int32, device=place)
    tokens, results = torch.empty(2, count, dtype=torch.int32, device=place)
    rows, uniform = torch.arange(count, device=place).int(), torch.rand(count, device=place)
    kernels = ops()
    seconds = median_s(lambda: kernels.sample(tokens, results, logits, parameters, rows, uniform, None, -2))
    numbers["sampling 256 x 151936"] = f"{seconds * 1e6:.0f} µs"
    return numbers


if __name__ == "__main__":
    part = {"sampling": sampling, "model": model, "times": times}[sys.argv[1]]
    sys.stdout.write(json.dumps(part()) + "\n")
