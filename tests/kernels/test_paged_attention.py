"""Paged attention against a softmax in float64, over prefill chunks, decodes and mixtures."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from streamcore.kernels import PagedSequences, gathered, native, ruled
from streamcore.kernels.library import attention_rounds
from streamcore.operands import AttentionRule


@dataclass(frozen=True)
class Step:
    """The arguments of `paged_attention` for some sequences."""

    query: torch.Tensor
    key_cache: torch.Tensor
    value_cache: torch.Tensor
    block_tables: torch.Tensor
    rows: torch.Tensor
    context_lens: torch.Tensor
    query_starts: torch.Tensor
    scale: float

    def sequences(self) -> PagedSequences:
        """Whose tokens and blocks they are."""
        return PagedSequences(self.block_tables, self.rows, self.context_lens, self.query_starts)

    def expected(self, rule: AttentionRule | None = None) -> torch.Tensor:
        """One softmax per token and head, without any of the kernels' arithmetic."""
        rule = rule or AttentionRule(self.scale)
        outputs = []
        group = self.query.shape[1] // self.key_cache.shape[2]
        starts = self.query_starts.tolist()
        for seq, context_len in enumerate(self.context_lens.tolist()):
            chunk = self.query[starts[seq] : starts[seq + 1]].double()
            keys, values = (
                cache[self.block_tables[self.rows[seq]].long()].flatten(0, 1)[:context_len].double()
                for cache in (self.key_cache, self.value_cache)
            )
            keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
            scores = torch.einsum("qhd,khd->hqk", chunk, keys) * rule.scale
            if rule.soft_cap:
                scores = rule.soft_cap * (scores / rule.soft_cap).tanh()
            before = context_len - chunk.shape[0]
            seen = torch.ones(scores.shape[1:], device=scores.device).tril(before)
            if rule.window:
                seen = seen.triu(before - rule.window + 1)
            scores = scores.masked_fill(seen == 0, -torch.inf)
            if rule.sinks is not None:
                sinks = rule.sinks.double().view(-1, 1, 1).expand(-1, scores.shape[1], 1)
                scores = torch.cat([scores, sinks], -1)
            weights = scores.softmax(-1)[..., :context_len]
            outputs.append(torch.einsum("hqk,khd->qhd", weights, values))
        return torch.cat(outputs)


def make_step(
    implementation: Any,
    seqs: list[tuple[int, int]],
    *,
    num_heads: int = 8,
    num_kv_heads: int = 4,
    head_dim: int = 64,
    block_size: int = 16,
    dtype: torch.dtype = torch.float32,
    cache_dtype: torch.dtype | None = None,
) -> Step:
    """A step of (query length, context length) pairs: scattered rows and blocks, query sliced from
    a fused tensor.
    """
    needed = [-(-context_len // block_size) for _, context_len in seqs]
    num_blocks = sum(needed) + 3
    generator = torch.Generator().manual_seed(len(seqs))
    order = torch.randperm(num_blocks, generator=generator).tolist()
    # More rows than sequences; what no sequence has there is no block at all.
    rows = torch.randperm(len(seqs) + 3, generator=generator)[: len(seqs)].tolist()
    block_tables = torch.full((len(seqs) + 3, max(needed) + 1), -1, dtype=torch.int32)
    for row, count in zip(rows, needed, strict=True):
        blocks = [order.pop() for _ in range(count)]
        block_tables[row, :count] = torch.tensor(blocks, dtype=torch.int32)
    starts = [0]
    for query_len, _ in seqs:
        starts.append(starts[-1] + query_len)
    cache_shape = (num_blocks, block_size, num_kv_heads, head_dim)
    width = (num_heads + 2 * num_kv_heads) * head_dim
    fused = implementation.random(starts[-1], width, dtype=dtype)
    return Step(
        query=fused[:, : num_heads * head_dim].unflatten(1, (num_heads, head_dim)),
        key_cache=implementation.random(*cache_shape, dtype=cache_dtype or dtype, seed=1),
        value_cache=implementation.random(*cache_shape, dtype=cache_dtype or dtype, seed=2),
        block_tables=block_tables.to(implementation.device),
        rows=implementation.ints(rows),
        context_lens=implementation.ints([context_len for _, context_len in seqs]),
        query_starts=implementation.ints(starts),
        scale=1.5 * head_dim**-0.5,
    )


def attend(implementation: Any, step: Step, sequences: PagedSequences | None = None) -> torch.Tensor:
    output: torch.Tensor = implementation.operations.paged_attention(
        step.query,
        step.key_cache,
        step.value_cache,
        sequences or step.sequences(),
        step.scale,
    )
    assert output.is_contiguous()
    return output


MIXTURES = {
    "one decode": [(1, 1)],
    "decodes": [(1, 1), (1, 2), (1, 33), (1, 64), (1, 129), (1, 700)],
    "whole prompts": [(1, 1), (2, 2), (17, 17), (64, 64), (100, 100)],
    "chunks": [(5, 40), (64, 300), (33, 700)],
    "an idle one between": [(1, 5), (0, 0), (3, 9), (1, 8)],
    "mixed": [(1, 31), (16, 16), (1, 500), (50, 133), (2, 9), (1, 7)],
}


@pytest.mark.parametrize("seqs", MIXTURES.values(), ids=MIXTURES)
@pytest.mark.parametrize("block_size", [1, 8, 16, 32])
def test_mixtures(
    implementation: Any, dtype: torch.dtype, seqs: list[tuple[int, int]], block_size: int
) -> None:
    """A key too many or too few, or one of another sequence, is a wrong or a leaked token."""
    step = make_step(implementation, seqs, block_size=block_size, dtype=dtype)
    implementation.assert_near(attend(implementation, step), step.expected())


RULES: dict[str, dict[str, Any]] = {
    "a key": {"window": 1},
    "short window": {"window": 7},
    "window of a tile": {"window": 32},
    "window across tiles": {"window": 45},
    "window beyond": {"window": 5000},
    "soft cap": {"soft_cap": 3.0},
    "sinks": {"sinks": True},
    "all": {"window": 45, "soft_cap": 5.0, "sinks": True},
}


@pytest.mark.parametrize("seqs", MIXTURES.values(), ids=MIXTURES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("heads", [(8, 4), (6, 1), (3, 3)], ids=lambda heads: f"{heads[0]}q{heads[1]}kv")
def test_rules(
    implementation: Any,
    dtype: torch.dtype,
    rule: str,
    seqs: list[tuple[int, int]],
    heads: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gemma, gpt-oss and Mistral bend, forget and drain attention; a window one key too wide is
    another model.
    """
    monkeypatch.setattr(ruled, "_SCORES_BYTES", 1 << 14)
    step = make_step(implementation, seqs, num_heads=heads[0], num_kv_heads=heads[1], dtype=dtype)
    settings = dict(RULES[rule])
    if "sinks" in settings:
        settings["sinks"] = implementation.random(heads[0], dtype=dtype, seed=9) * 3
    chosen = AttentionRule(0.2, **settings)
    operations = implementation.operations
    actual = operations.paged_attention(
        step.query, step.key_cache, step.value_cache, step.sequences(), chosen
    )
    implementation.assert_near(actual, step.expected(chosen))


@pytest.mark.parametrize("head_dim", [16, 24, 32, 64, 80, 96, 100, 128, 256])
@pytest.mark.parametrize(
    "heads",
    [(1, 1), (2, 1), (6, 2), (4, 1), (8, 1), (12, 2), (40, 1)],
    ids=lambda heads: f"{heads[0]}q{heads[1]}kv",
)
def test_head_shapes(implementation: Any, heads: tuple[int, int], head_dim: int) -> None:
    """Models differ in head size and sharing; a head read for its neighbour garbles
    every answer.
    """
    step = make_step(
        implementation,
        [(1, 50), (9, 41), (1, 1), (20, 20)],
        num_heads=heads[0],
        num_kv_heads=heads[1],
        head_dim=head_dim,
    )
    implementation.assert_near(attend(implementation, step), step.expected())


@pytest.mark.parametrize("cache_dtype", [torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("seqs", MIXTURES.values(), ids=MIXTURES)
def test_narrow_cache(implementation: Any, seqs: list[tuple[int, int]], cache_dtype: torch.dtype) -> None:
    """On the CPU activations are float32 and the cache narrower: read as the other, it is noise."""
    if implementation.is_cuda:
        pytest.skip("on CUDA the cache has the dtype of the activations")
    step = make_step(implementation, seqs, cache_dtype=cache_dtype)
    actual, expected = attend(implementation, step), step.expected()
    is_rounded = cache_dtype == torch.bfloat16 and attention_rounds(step.query.shape[-1])
    if is_rounded and not implementation.is_reference:
        torch.testing.assert_close(actual.double(), expected, rtol=2**-6, atol=2**-6)
        return
    implementation.assert_near(actual, expected)


@pytest.mark.parametrize("seqs", MIXTURES.values(), ids=MIXTURES)
def test_lengths_known_on_the_host(
    implementation: Any, dtype: torch.dtype, seqs: list[tuple[int, int]]
) -> None:
    """The engine has the lengths: a step that asks the device for them would stall it in every
    layer.
    """
    step = make_step(implementation, seqs, dtype=dtype)
    sequences = PagedSequences(
        step.block_tables,
        step.rows,
        step.context_lens,
        step.query_starts,
        host_context_lens=step.context_lens.cpu(),
        host_query_starts=step.query_starts.cpu(),
    )
    if implementation.device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        output = attend(implementation, step, sequences)
    finally:
        if implementation.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    implementation.assert_near(output, step.expected())


@pytest.mark.parametrize("seqs", MIXTURES.values(), ids=MIXTURES)
def test_little_memory(
    implementation: Any, seqs: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long contexts are taken in parts, by sequences, heads and tiles of queries: no part may be
    left out or see another's keys.
    """
    step = make_step(implementation, seqs)
    whole = attend(implementation, step)
    for gathered_bytes, scores_bytes in ((1, 1), (300_000, 8 * 700 * 4 * 7), (3_000_000, 8 * 700 * 4 * 40)):
        monkeypatch.setattr(gathered, "_GATHERED_BYTES", gathered_bytes)
        monkeypatch.setattr(gathered, "_SCORES_BYTES", scores_bytes)
        torch.testing.assert_close(attend(implementation, step), whole, rtol=2e-5, atol=2e-5)


def test_great_scores_do_not_overflow(implementation: Any) -> None:
    """Scores above 88 overflow the exponential: without the running maximum they would be NaN."""
    step = make_step(implementation, [(1, 200), (30, 200)])
    step.key_cache.mul_(20)
    implementation.assert_near(attend(implementation, step), step.expected())


def test_a_sequence_does_not_depend_on_its_neighbours(implementation: Any) -> None:
    """The same request must give the same bits alone and in a batch, or streams would
    not repeat.
    """
    if not isinstance(native.ops_for(implementation.device), native.CpuOps) or implementation.is_reference:
        pytest.skip("torch chooses its algorithm by the shape of the batch")
    step = make_step(implementation, [(1, 65), (1, 300), (40, 90), (1, 12)])
    together = attend(implementation, step)
    alone = attend(
        implementation,
        Step(
            step.query[1:2],
            step.key_cache,
            step.value_cache,
            step.block_tables,
            step.rows[1:2],
            step.context_lens[1:2],
            implementation.ints([0, 1]),
            step.scale,
        ),
    )
    assert torch.equal(together[1:2], alone)
