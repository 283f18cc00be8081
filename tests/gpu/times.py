"""Times of the kernels beside their floors and beside what a copy takes, for `check.py`."""

import sys
from collections.abc import Callable, Iterator
from itertools import chain

import torch
from tests.gpu.common import IS_EMULATED, copy_rate, device, floors, median_s, ops, run, say

from streamcore.kernels import LayerCache, LinearWeight, PagedSequences
from streamcore.kernels.native import CudaOps
from streamcore.kernels.sampled import SAMPLED_BY
from streamcore.operands import AttentionRule, Rotation

HEADS, KV_HEADS, DIM, BLOCK = 32, 8, 128, 16
"""Of Llama 3.1 8B."""
SMALLER = 64 if IS_EMULATED else 1
"""The emulator takes this part of each shape."""
BEYOND_CACHES = 400_000_000
"""Bytes that no cache of a device holds."""


def attention_s(
    kernels: CudaOps, num_seqs: int, context: int, new: int, dtype: torch.dtype = torch.bfloat16
) -> float:
    """Seconds of one layer's attention over a KV cache of that dtype, over enough layers that no cache holds them."""
    place, context, new = device(), max(context // SMALLER, BLOCK), max(new // SMALLER, 1)
    blocks = num_seqs * context // BLOCK
    layers = (
        1 if IS_EMULATED else max(1, BEYOND_CACHES // (2 * blocks * BLOCK * KV_HEADS * DIM * dtype.itemsize))
    )
    shape = (layers, 2, blocks, BLOCK, KV_HEADS, DIM)
    numbers = torch.randn(shape, device=place, dtype=torch.bfloat16).to(dtype)
    caches = [LayerCache(keys, values) for keys, values in numbers]
    query = torch.randn(num_seqs * new, HEADS, DIM, device=place, dtype=torch.bfloat16)
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

    def launch() -> None:
        for cache in caches:
            kernels.paged_attention(out, query, cache, sequences, AttentionRule(DIM**-0.5))

    return median_s(launch) / layers


def sampling(kernels: CudaOps, *, is_penalised: bool) -> Callable[[], None]:
    """Draws from 256 rows of a vocabulary of 151936."""
    count, vocab, place = max(256 // SMALLER, 2), 151936 // SMALLER, device()
    logits = torch.randn(count, vocab, device=place) * 3
    values = {"temperature": 1.0, "top_p": 0.95, "repetition_penalty": 1.1}
    parameters = {name: torch.full((count,), values.get(name, 0.0), device=place) for name in SAMPLED_BY}
    parameters["top_k"] = parameters["top_k"].int()
    tokens, results = torch.empty(2, count, dtype=torch.int32, device=place)
    rows, uniform = torch.arange(count, device=place).int(), torch.rand(count, device=place)
    counts = torch.zeros(count, vocab, dtype=torch.int32, device=place)
    counts[:, :: max(vocab // 500, 1)] = 1
    counted = (counts, counts > 0) if is_penalised else None
    return lambda: kernels.sample(tokens, results, logits, parameters, rows, uniform, -2, counted=counted)


def scoring(kernels: CudaOps) -> Callable[[], None]:
    """Scores the same rows with twenty of the likeliest."""
    count, vocab, place = max(256 // SMALLER, 2), 151936 // SMALLER, device()
    logits, targets = (
        torch.randn(count, vocab, device=place) * 3,
        torch.zeros(count, dtype=torch.int32, device=place),
    )
    logprobs, top = torch.empty(count, device=place), torch.empty(count, 20, device=place)
    ids = torch.empty(count, 20, dtype=torch.int32, device=place)
    return lambda: kernels.score(logprobs, ids, top, logits, targets, None, -9999.0)


def elementwise(kernels: CudaOps) -> dict[str, Callable[[], None]]:
    """The kernels that do little but move memory, by their titles in the predictions."""
    place, tokens = device(), 8192 // SMALLER

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=place, dtype=torch.bfloat16)

    x, residual, out, weight = random(tokens, 4096), random(tokens, 4096), random(tokens, 4096), random(4096)
    gate_up, inner = random(tokens, 2 * 14336), random(tokens, 14336)
    qkv = random(tokens, HEADS + 2 * KV_HEADS, DIM)
    query, key, value = qkv[:, :HEADS], qkv[:, HEADS:-KV_HEADS], qkv[:, -KV_HEADS:]
    cache = LayerCache(*random(2, tokens // BLOCK, BLOCK, KV_HEADS, DIM))
    rotation = Rotation(torch.randn(tokens, DIM, device=place), None)
    positions, slots = torch.arange(tokens, device=place).int(), torch.arange(tokens, device=place)
    table, wanted = random(8192, 4096), torch.arange(min(256, tokens), device=place).int()
    return {
        "gated, 8192 x 14336": lambda: kernels.gated(inner, gate_up, "silu"),
        "rope and store, 8192": lambda: kernels.rope_and_store_kv(
            query, key, value, rotation, positions, cache, slots
        ),
        "norm with residual, 8192 x 4096": lambda: kernels.add_rms_norm(out, x, residual, weight, 1e-5),
        "embedding, 8192 x 4096": lambda: kernels.embed(out, positions, table, 1.0),
        "wanted rows, 256 x 4096": lambda: kernels.take(out[: len(wanted)], x, wanted),
        "sum, 8192 x 4096": lambda: kernels.add(out, x),
        "factor, 8192 x 4096": lambda: kernels.scale(out, 1.0),
    }


PRODUCTS = {
    "product after attention": (4096, 4096, (1, 32)),
    "gate and up": (28672, 4096, (1, 32)),
    "down": (4096, 14336, (8,)),
    "logits": (128256, 4096, (1,)),
}
"""Outputs, inputs and rows of the products of few rows."""


def product_s(kernels: CudaOps, num_rows: int, num_outputs: int, num_inputs: int) -> tuple[float, float]:
    """Seconds of a product by the kernel and by torch, over enough weights that no cache holds them."""
    num_outputs, num_inputs = (max(size // SMALLER // 64, 1) * 64 for size in (num_outputs, num_inputs))
    count = 1 if IS_EMULATED else max(BEYOND_CACHES // (2 * num_outputs * num_inputs), 1)
    shape, place = (count, num_outputs, num_inputs), device()
    weights = [
        LinearWeight(data, num_outputs, num_inputs, packed=False)
        for data in torch.randn(shape, device=place, dtype=torch.bfloat16)
    ]
    x = torch.randn(num_rows, num_inputs, device=place, dtype=torch.bfloat16)
    out = x.new_empty(num_rows, num_outputs)

    def seconds(multiply: Callable[..., None]) -> float:
        def launch() -> None:
            for weight in weights:
                multiply(out, x, weight, None)

        return median_s(launch) / count

    return seconds(kernels._few_rows), seconds(kernels._many_rows)


def attention(kernels: CudaOps, copied: float) -> Iterator[tuple[str, float, str]]:
    """Title, seconds and a remark for decode and prefill attention."""
    for num_seqs, context in ((64, 4096), (1, 32768), (16, 4096), (256, 2048)):
        taken = attention_s(kernels, num_seqs, context, 1)
        share = num_seqs * context * 2 * KV_HEADS * DIM * 2 / taken / copied
        yield f"decode attention, {num_seqs} x {context}", taken, f", {share:.3f} of a copy's rate"
    yield "decode over fp8, 64 x 4096", attention_s(kernels, 64, 4096, 1, torch.float8_e4m3fn), ""
    for num_seqs, context, new in ((1, 8192, 8192), (1, 32768, 2048), (8, 1024, 1024)):
        taken = attention_s(kernels, num_seqs, context, new)
        num_flops = 4 * HEADS * DIM * num_seqs * (new * (context - new) + new * (new + 1) / 2)
        title = "8192" if context == 8192 else f"{num_seqs} x {new} of {context}"
        yield f"prefill attention, {title}", taken, f", {num_flops / taken / 1e12:.0f} TFLOP/s"
    yield "prefill over fp8, 8192", attention_s(kernels, 1, 8192, 8192, torch.float8_e4m3fn), ""


def products(kernels: CudaOps) -> Iterator[tuple[str, float, str]]:
    """Likewise for products of few rows."""
    for name, (num_outputs, num_inputs, counts) in PRODUCTS.items():
        for num_rows in counts:
            taken, by_torch = product_s(kernels, num_rows, num_outputs, num_inputs)
            yield (
                f"{name}, {num_rows} x {num_outputs} x {num_inputs}",
                taken,
                f", torch {by_torch * 1e6:.1f} µs",
            )


def others(kernels: CudaOps) -> Iterator[tuple[str, float, str]]:
    """Likewise for the other kernels."""
    launches = elementwise(kernels) | {
        "sampling, 256 x 151936": sampling(kernels, is_penalised=False),
        "sampling with penalties, 256 x 151936": sampling(kernels, is_penalised=True),
        "log-probabilities, 256 x 151936": scoring(kernels),
    }
    for title, launch in launches.items():
        yield title, median_s(launch), ""


def times() -> None:
    """Says how long each kernel takes and what that is of its floor, as soon as it is known."""
    kernels, foreseen, copied = ops(), floors(), copy_rate()
    say({"copy, TB/s": round(copied / 1e12, 2)})
    for title, taken, remark in chain(attention(kernels, copied), products(kernels), others(kernels)):
        floor = foreseen.pop(title, None)
        share = "" if floor is None else f", floor {floor:.0f} µs, {floor / taken / 1e6:.2f} of it reached"
        say({title: f"{taken * 1e6:.1f} µs{share}{remark}"})
    say(dict.fromkeys(foreseen, "foreseen, not measured here"))


if __name__ == "__main__":
    sys.exit(run(times))
