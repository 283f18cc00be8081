"""A KV cache in eight bits under activations of sixteen, as a device keeps it: what is stored, and what is read."""

from typing import Any

import pytest
import torch
from tests.kernels.conftest import Implementation
from tests.kernels.test_paged_attention import MIXTURES, attend, make_step

from streamcore.operands import AttentionRule

E4M3 = torch.float8_e4m3fn
GREATEST = 448.0


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=["bf16", "f16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The activations."""
    chosen: torch.dtype = request.param
    return chosen


@pytest.fixture
def device_kernels(implementation: Implementation) -> Implementation:
    """The CUDA kernels: the activations of the others are float32 over such a cache."""
    if not implementation.is_cuda:
        pytest.skip("on the CPU activations are float32")
    return implementation


@pytest.mark.parametrize("seqs", MIXTURES.values(), ids=MIXTURES)
@pytest.mark.parametrize("heads", [(8, 4), (6, 1), (16, 1)], ids=lambda heads: f"{heads[0]}q{heads[1]}kv")
def test_mixtures(
    device_kernels: Implementation, dtype: torch.dtype, seqs: list[tuple[int, int]], heads: tuple[int, int]
) -> None:
    """A byte that is read for its neighbour is another token's key, or another dimension's value."""
    step = make_step(
        device_kernels, seqs, num_heads=heads[0], num_kv_heads=heads[1], dtype=dtype, cache_dtype=E4M3
    )
    device_kernels.assert_near(attend(device_kernels, step), step.expected())


@pytest.mark.parametrize("head_dim", [64, 80, 96, 128, 256])
@pytest.mark.parametrize("block_size", [1, 24])
def test_heads_and_blocks(
    device_kernels: Implementation, dtype: torch.dtype, head_dim: int, block_size: int
) -> None:
    """Each head size is cut in its own way, and filled up where it is not a multiple."""
    seqs = [(1, 31), (16, 16), (1, 700), (70, 233), (0, 0), (2, 9)]
    step = make_step(
        device_kernels, seqs, num_heads=3, num_kv_heads=1, head_dim=head_dim, block_size=block_size, dtype=dtype,
        cache_dtype=E4M3,
    )  # fmt: skip
    device_kernels.assert_near(attend(device_kernels, step), step.expected())
    sinks = device_kernels.random(3, dtype=dtype, seed=9) * 3
    rule = AttentionRule(0.2, window=45, soft_cap=5.0, sinks=sinks)
    actual = device_kernels.operations.paged_attention(
        step.query, step.key_cache, step.value_cache, step.sequences(), rule
    )
    device_kernels.assert_near(actual, step.expected(rule))


@pytest.mark.parametrize("head_dim", [64, 80, 128, 256])
@pytest.mark.parametrize("query_len", [1, 2])
def test_every_number_is_read_as_it_is(
    device_kernels: Implementation, dtype: torch.dtype, head_dim: int, query_len: int
) -> None:
    """A cache whose numbers are read as others is noise in every answer, and one that hides what is no number hides a
    model that has gone wrong.
    """
    num_tokens = 2 * 256 // head_dim + 1
    codes = torch.arange(num_tokens * head_dim, device=device_kernels.device) % 256
    values = codes.to(torch.uint8).view(E4M3).view(num_tokens, 1, 1, head_dim)
    # Each sequence sees equal keys and equal values, so that the result is the value.
    step = make_step(
        device_kernels, [(query_len, query_len)] * num_tokens, num_heads=1, num_kv_heads=1, head_dim=head_dim,
        block_size=2, dtype=dtype, cache_dtype=E4M3,
    )  # fmt: skip
    step.key_cache.zero_()
    blocks = step.block_tables[step.rows.long(), 0].long()
    step.value_cache.view(torch.uint8)[blocks] = values.view(torch.uint8)
    expected = values.float().view(num_tokens, 1, head_dim).repeat_interleave(query_len, 0)
    actual = attend(device_kernels, step).float()
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


def test_every_key_is_read_as_it_is(device_kernels: Implementation, dtype: torch.dtype) -> None:
    """As above; a key is seen by the weight that it gives to its value alone."""
    seqs = [(1, 256), (2, 256)]
    step = make_step(
        device_kernels, seqs, num_heads=1, num_kv_heads=1, head_dim=64, dtype=dtype, cache_dtype=E4M3
    )
    codes = torch.arange(step.key_cache.numel(), device=device_kernels.device) * 37 % 256
    codes[codes & 0x7F == 0x7F] = 0
    step.key_cache.view(torch.uint8).copy_(codes.view(step.key_cache.shape))
    step.query.mul_(0.01)
    device_kernels.assert_near(attend(device_kernels, step), step.expected())
    block = step.block_tables[step.rows[0], 3].long()
    step.key_cache.view(torch.uint8)[block, 5, 0, 17] = 0xFF
    assert attend(device_kernels, step)[0].isnan().all()


def test_numbers_are_rounded_to_the_nearest(device_kernels: Implementation, dtype: torch.dtype) -> None:
    """A rounding that leans to one side moves every key of a long context the same way. Each of the 65536 numbers is
    stored once.
    """
    place, shape = device_kernels.device, (64, 8, 128)
    numbers = torch.arange(-(1 << 15), 1 << 15, device=place).to(torch.int16).view(dtype).view(shape)
    keys, values = torch.zeros(2, 4, 16, 8, 128, dtype=E4M3, device=place)
    query, key = torch.zeros(64, 8, 128, dtype=dtype, device=place), numbers.clone()
    device_kernels.operations.rope_and_store_kv(
        query,
        key,
        numbers,
        torch.zeros(1, 0, device=place),
        torch.zeros(64, dtype=torch.int32, device=place),
        keys,
        values,
        torch.arange(64, device=place),
    )
    expected = numbers.float().clamp(-GREATEST, GREATEST).to(E4M3).view(torch.uint8)
    for cache in (keys, values):
        stored = cache.view(torch.uint8).view(shape)
        is_none = numbers.isnan()
        assert torch.equal(stored[~is_none], expected[~is_none])
        assert bool((stored[is_none] & 0x7F == 0x7F).all())


def test_what_is_stored_is_the_rotated_key(device_kernels: Implementation, dtype: torch.dtype) -> None:
    """A key that is stored before it turns, or in another's slot, is found by no later query."""
    query, key, value = (device_kernels.random(3, 2, 64, dtype=dtype, seed=seed) for seed in (0, 1, 2))
    caches: Any = torch.zeros(2, 2, 4, 2, 64, dtype=E4M3, device=device_kernels.device)
    device_kernels.operations.rope_and_store_kv(
        query, key, value, device_kernels.random(8, 64), device_kernels.ints([5, 0, 7]), caches[0], caches[1],
        device_kernels.ints([6, -1, 1], torch.int64),
    )  # fmt: skip
    for cache, rows in zip(caches, (key, value), strict=True):
        expected = torch.zeros(8, 2, 64, device=device_kernels.device)
        expected[6], expected[1] = rows[0].to(E4M3).float(), rows[2].to(E4M3).float()
        assert torch.equal(cache.float().flatten(0, 1), expected)
