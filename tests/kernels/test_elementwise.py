"""Norms, activation and rotary embedding against plain torch in float64."""

import math
from typing import Any

import pytest
import torch

from streamcore.operands import HeadNorms

EPS = 1e-5
SHAPES = [(1, 1), (3, 7), (2, 16), (5, 80), (1, 512), (33, 513), (300, 1344)]


def norm_in_float64(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    wide = x.double()
    return wide / (wide.square().mean(-1, keepdim=True) + EPS).sqrt() * weight.double()


@pytest.mark.parametrize("shape", SHAPES)
def test_rms_norm(implementation: Any, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """A wrong norm changes every logit of every model."""
    x = implementation.random(*shape, dtype=dtype)
    weight = implementation.random(shape[1], dtype=dtype)
    implementation.assert_near(implementation.operations.rms_norm(x, weight, EPS), norm_in_float64(x, weight))


@pytest.mark.parametrize("shape", SHAPES)
def test_add_rms_norm(implementation: Any, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """The residual stream must be what the next layer adds to, rounded as it is stored."""
    x = implementation.random(*shape, dtype=dtype)
    residual = implementation.random(*shape, dtype=dtype, seed=1)
    weight = implementation.random(shape[1], dtype=dtype)
    total = (x.float() + residual.float()).to(dtype)
    actual = implementation.operations.add_rms_norm(x, residual, weight, EPS)
    assert torch.equal(residual, total)
    implementation.assert_near(actual, norm_in_float64(total, weight))


def test_norm_takes_rows_of_a_wider_tensor(implementation: Any) -> None:
    """Per-head norms read slices of the fused projection: a row stride taken for the width mixes
    heads.
    """
    wide = implementation.random(6, 50)
    weight = implementation.random(32)
    actual = implementation.operations.rms_norm(wide[:, 9:41], weight, EPS)
    implementation.assert_near(actual, norm_in_float64(wide[:, 9:41], weight))


@pytest.mark.parametrize("shape", [(1, 2), (3, 14), (2, 32), (7, 162), (130, 2688)])
def test_gated(implementation: Any, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """A wrong activation, or gate and up exchanged, changes every MLP."""
    gate_up = implementation.random(*shape, dtype=dtype) * 4
    gate, up = gate_up.double().chunk(2, -1)
    expected = gate / (1 + (-gate).exp()) * up
    implementation.assert_near(implementation.operations.gated(gate_up), expected)


def test_gated_at_the_ends_of_the_range(implementation: Any) -> None:
    """A great activation must not become NaN in the exponential: one NaN poisons the sequence."""
    gate = torch.tensor([[-1e4, -100.0, -87.5, 0.0, 87.5, 100.0, 1e4]], device=implementation.device)
    actual = implementation.operations.gated(torch.cat([gate, torch.ones_like(gate)], dim=1))
    expected = torch.where(gate > 0, gate, 0.0).double()
    torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=1e-30 + 1e-4)


GATED: dict[Any, Any] = {
    "gelu_tanh": lambda g, u: g / 2 * (1 + (math.sqrt(2 / math.pi) * (g + 0.044715 * g**3)).tanh()) * u,
    "clamped": lambda g, u: (u.clamp(-7, 7) + 1) * g.clamp(max=7) / (1 + (-1.702 * g.clamp(max=7)).exp()),
}


@pytest.mark.parametrize("activation", GATED)
@pytest.mark.parametrize("shape", [(1, 2), (3, 14), (7, 162)])
def test_other_activations(
    implementation: Any, dtype: torch.dtype, activation: Any, shape: tuple[int, int]
) -> None:
    """Gemma's and gpt-oss's MLPs, also where they clamp."""
    gate_up = implementation.random(*shape, dtype=dtype) * 6
    expected = GATED[activation](*gate_up.double().chunk(2, -1))
    implementation.assert_near(implementation.operations.gated(gate_up, activation), expected)


def test_small_operations(implementation: Any, dtype: torch.dtype) -> None:
    """A row looked up, chosen or scaled for its neighbour is another token's."""
    ops = implementation.operations.ops
    table = implementation.random(11, 37, dtype=dtype)
    token_ids = implementation.ints([4, 0, 10, 4])
    out = torch.full((4, 37), torch.nan, dtype=dtype, device=implementation.device)
    ops.embed(out, token_ids, table, 2.5)
    implementation.assert_near(out, table.double()[token_ids.long()] * 2.5)
    chosen = torch.empty_like(out[:2])
    ops.take(chosen, out, implementation.ints([3, 1]))
    assert torch.equal(chosen, out[[3, 1]])
    x = implementation.random(4, 37, dtype=dtype, seed=1)
    total = (out.float() + x.float()).to(dtype)
    ops.add(out, x)
    assert torch.equal(out, total)
    ops.scale(out, 0.37)
    implementation.assert_near(out, total.double() * 0.37)


@pytest.mark.parametrize("shape", [(1, 1), (3, 37), (2, 70_001)])
def test_soft_cap(implementation: Any, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """Logits that are not bent, or bent to another limit, change every temperature."""
    x = implementation.random(*shape, dtype=dtype) * 40
    expected = 30 * (x.double() / 30).tanh()
    implementation.operations.ops.soft_cap(x, 30.0)
    implementation.assert_near(x, expected)
    assert float(x.abs().max()) <= 30


def test_a_narrow_table_is_widened_exactly(implementation: Any) -> None:
    """On the CPU the embedding stays bfloat16 under float32 activations."""
    if implementation.is_cuda:
        pytest.skip("on CUDA both have one dtype")
    table, out = implementation.random(5, 9, dtype=torch.bfloat16), torch.empty(2, 9)
    implementation.operations.ops.embed(out, implementation.ints([3, 1]), table, 1.0)
    assert torch.equal(out, table.float()[[3, 1]])


def test_a_token_beyond_the_vocabulary_is_an_error(implementation: Any) -> None:
    """A token that the table lacks must not be read from whatever lies behind it."""
    if implementation.is_cuda:
        pytest.skip("a device does not say so at once")
    out, table = torch.empty(2, 4), torch.ones(3, 4)
    for tokens in ([0, 3], [-1, 0]):
        with pytest.raises((ValueError, IndexError)):
            implementation.operations.ops.embed(out, implementation.ints(tokens), table, 1.0)


def test_norm_in_place_of_a_slice(implementation: Any, dtype: torch.dtype) -> None:
    """OLMo normalises all heads of the query where they lie: what is beside them must stay."""
    wide = implementation.random(6, 50, dtype=dtype)
    weight = implementation.random(32, dtype=dtype)
    before = wide.clone()
    implementation.operations.ops.rms_norm(wide[:, 9:41], wide[:, 9:41], weight, EPS)
    implementation.assert_near(wide[:, 9:41], norm_in_float64(before[:, 9:41], weight))
    assert torch.equal(wide[:, :9], before[:, :9])
    assert torch.equal(wide[:, 41:], before[:, 41:])


def rotated(x: torch.Tensor, cos_sin: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    half = cos_sin.shape[1] // 2
    cos, sin = cos_sin.double()[positions.long()].unsqueeze(1).chunk(2, -1)
    wide = x.double()
    a, b, rest = wide[..., :half], wide[..., half : 2 * half], wide[..., 2 * half :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


@pytest.mark.parametrize(
    ("num_tokens", "num_heads", "num_kv_heads", "head_dim", "rotary_dim", "block_size"),
    [
        (1, 1, 1, 16, 16, 1),
        (5, 4, 2, 64, 64, 16),
        (9, 8, 1, 80, 80, 8),
        (3, 6, 3, 96, 48, 32),
        (7, 2, 2, 10, 6, 3),
        (200, 8, 4, 128, 128, 16),
    ],
)
def test_rope_and_store_kv(
    implementation: Any,
    dtype: torch.dtype,
    num_tokens: int,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    rotary_dim: int,
    block_size: int,
) -> None:
    """A key stored wrongly is read wrongly by every later token; a skipped one must
    touch nothing.
    """
    widths = [num_heads * head_dim, num_kv_heads * head_dim, num_kv_heads * head_dim]
    qkv = implementation.random(num_tokens, sum(widths), dtype=dtype)
    query, key, value = (part.unflatten(1, (-1, head_dim)) for part in qkv.split(widths, dim=1))
    cos_sin = implementation.random(300, rotary_dim)
    generator = torch.Generator().manual_seed(num_tokens)
    positions = implementation.ints(torch.randint(300, (num_tokens,), generator=generator).tolist())
    num_blocks = 2 + -(-num_tokens // block_size)
    slots = torch.randperm(num_blocks * block_size, generator=generator)[:num_tokens].tolist()
    slots[1::3] = [-1] * len(slots[1::3])
    caches = [
        implementation.random(num_blocks, block_size, num_kv_heads, head_dim, dtype=dtype, seed=seed)
        for seed in (1, 2)
    ]
    before = [cache.clone() for cache in caches]
    expected_query, expected_key = rotated(query, cos_sin, positions), rotated(key, cos_sin, positions)
    expected_value = value.clone()

    implementation.operations.rope_and_store_kv(
        query, key, value, cos_sin, positions, *caches, implementation.ints(slots, torch.int64)
    )

    implementation.assert_near(query, expected_query)
    implementation.assert_near(key, expected_key)
    assert torch.equal(value, expected_value)
    for cache, was, rows in zip(caches, before, (key, value), strict=True):
        expected = was.flatten(0, 1)
        for token, slot in enumerate(slots):
            if slot >= 0:
                expected[slot] = rows[token]
        assert torch.equal(cache, was)


@pytest.mark.parametrize("head_dim", [16, 20, 64])
@pytest.mark.parametrize("rotary_dim", [0, 8])
def test_rope_after_norms_and_with_factors(
    implementation: Any, dtype: torch.dtype, head_dim: int, rotary_dim: int
) -> None:
    """Qwen3 normalises each head before it turns, Ministral grows queries with their position; some
    layers turn nothing.
    """
    query, key, value = (implementation.random(5, heads, head_dim, dtype=dtype) for heads in (4, 2, 2))
    query_norm, key_norm = (implementation.random(head_dim, dtype=dtype, seed=seed) for seed in (3, 4))
    norms = HeadNorms(query_norm, key_norm, EPS)
    cos_sin, factors = implementation.random(9, rotary_dim), implementation.random(9).abs() + 0.5
    positions = implementation.ints([8, 0, 3, 3, 1])
    wanted = [
        rotated(norm_in_float64(x, weight).to(dtype), cos_sin, positions)
        for x, weight in ((query, norms.query), (key, norms.key))
    ]
    wanted[0] = wanted[0] * factors.double()[positions.long()].view(-1, 1, 1)
    caches = torch.zeros(2, 2, 4, 2, head_dim, dtype=dtype, device=implementation.device)
    slots = implementation.ints([7, 2, 0, -1, 4], torch.int64)
    implementation.operations.rope_and_store_kv(
        query, key, value, cos_sin, positions, *caches, slots, factors, norms
    )
    tolerance = {torch.float32: 2e-5, torch.bfloat16: 4e-2, torch.float16: 5e-3}[dtype]
    for x, expected in zip((query, key), wanted, strict=True):
        torch.testing.assert_close(x.double(), expected, rtol=tolerance, atol=tolerance)
    assert torch.equal(caches[0].flatten(0, 1)[7], key[0])


def test_rope_stores_nothing_when_every_slot_is_skipped(implementation: Any) -> None:
    """A padding step must leave the cache of live sequences as it is."""
    query, key, value = (implementation.random(4, 2, 16, seed=seed) for seed in (0, 1, 2))
    cache = implementation.random(2, 4, 2, 16)
    before = cache.clone()
    implementation.operations.rope_and_store_kv(
        query,
        key,
        value,
        implementation.random(8, 16),
        implementation.ints([0, 1, 2, 3]),
        cache,
        cache.clone(),
        implementation.ints([-1] * 4, torch.int64),
    )
    assert torch.equal(cache, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_rope_rounds_into_a_narrow_cache(implementation: Any, dtype: torch.dtype) -> None:
    """A float32 key must be stored as the nearest number, not as its upper or lower half; beyond the
    greatest as that, not as none.
    """
    if implementation.is_cuda:
        pytest.skip("on CUDA the cache has the dtype of the activations")
    query, key, value = (implementation.random(3, 2, 20, seed=seed) for seed in (0, 1, 2))
    cos_sin, positions = implementation.random(8, 20), implementation.ints([5, 0, 7])
    value[2, 1, 3] = -500.0
    key_cache, value_cache = torch.zeros(2, 2, 4, 2, 20, dtype=dtype)
    slots = implementation.ints([6, -1, 1], torch.int64)
    implementation.operations.rope_and_store_kv(
        query, key, value, cos_sin, positions, key_cache, value_cache, slots
    )
    for cache, rows in ((key_cache, key), (value_cache, value)):
        expected = torch.zeros(8, 2, 20)
        expected[6], expected[1] = rows[0], rows[2]
        greatest = torch.finfo(dtype).max
        expected = expected.clamp(-greatest, greatest).to(dtype)
        assert torch.equal(cache.flatten(0, 1).float(), expected.float())
