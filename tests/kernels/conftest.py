"""Each kernel test runs on every implementation there is: plain torch, the Rust kernels, the CUDA
kernels on a device and, compiled for the host, on the emulator.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from tests.cuda.emulated import EmulatedOps
from tests.cuda.emulator import Emulator
from tests.cuda.host_library import host_library, missing

from streamcore.kernels import Checked, LayerCache, PagedSequences, native
from streamcore.kernels.reference import ReferenceOps
from streamcore.operands import AttentionRule, Rotation

# The tensors are small: handing them to other threads costs more than it brings.
torch.set_num_threads(1)

_TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}


class Operations:
    """Checked operations with outputs of their own, which begin as NaN: what an operation leaves
    out is seen.
    """

    def __init__(self, ops: Any) -> None:
        self.ops = Checked(ops)

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """Rows normalised."""
        self.ops.rms_norm(out := empty_like(x), x, weight, eps)
        return out

    def add_rms_norm(
        self, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
    ) -> torch.Tensor:
        """Rows added to the residual in place, then normalised."""
        self.ops.add_rms_norm(out := empty_like(x), x, residual, weight, eps)
        return out

    def gated(self, gate_up: torch.Tensor, activation: Any = "silu") -> torch.Tensor:
        """The middle of an MLP."""
        self.ops.gated(out := empty_like(gate_up[:, : gate_up.shape[1] // 2]), gate_up, activation)
        return out

    def rope_and_store_kv(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cos_sin: torch.Tensor,
        positions: torch.Tensor,
        key_cache: torch.Tensor,
        value_cache: torch.Tensor,
        slot_mapping: torch.Tensor,
        query_factors: torch.Tensor | None = None,
        norms: Any = None,
    ) -> None:
        """Rotates in place and stores; where blocks may lie apart, the same there."""
        rotation, cache = Rotation(cos_sin, query_factors), LayerCache(key_cache, value_cache)
        apart = Apart(cache) if self.ops.reads_blocks_apart else None
        other_query, other_key = query.clone(), key.clone()
        self.ops.rope_and_store_kv(query, key, value, rotation, positions, cache, slot_mapping, norms)
        if apart is not None:
            self.ops.rope_and_store_kv(
                other_query, other_key, value, rotation, positions, apart.cache, slot_mapping, norms
            )
            apart.assert_equal(cache)
            assert same_bits(query, other_query)
            assert same_bits(key, other_key)

    def paged_attention(
        self,
        query: torch.Tensor,
        key_cache: torch.Tensor,
        value_cache: torch.Tensor,
        sequences: PagedSequences,
        rule: float | AttentionRule,
    ) -> torch.Tensor:
        """Attends; a number is the scale of a plain rule. Where blocks may lie apart, the same there."""
        rule = rule if isinstance(rule, AttentionRule) else AttentionRule(rule)
        cache = LayerCache(key_cache, value_cache)
        self.ops.paged_attention(out := empty_like(query), query, cache, sequences, rule)
        if self.ops.reads_blocks_apart:
            self.ops.paged_attention(other := empty_like(query), query, Apart(cache).cache, sequences, rule)
            assert same_bits(out, other)
        return out


class Apart:
    """A cache with memory of others between its blocks."""

    def __init__(self, cache: LayerCache) -> None:
        num_blocks, *rest = cache.keys.shape
        shape = (num_blocks, 3, *rest[:-1], rest[-1] * cache.keys.itemsize)
        storage = torch.full(shape, 0xFF, dtype=torch.uint8, device=cache.keys.device)
        keys, values, self._others = storage.unbind(1)
        self.cache = LayerCache(keys.view(cache.keys.dtype), values.view(cache.values.dtype))
        for place, tensor in ((keys, cache.keys), (values, cache.values)):
            place.copy_(tensor.view(torch.uint8))

    def assert_equal(self, cache: LayerCache) -> None:
        """Both hold the same, and what lies between the blocks is as it was."""
        assert same_bits(self.cache.keys, cache.keys)
        assert same_bits(self.cache.values, cache.values)
        assert (self._others == 0xFF).all()


def same_bits(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether two tensors are equal, a NaN to the same NaN as well."""
    return torch.equal(x.contiguous().view(torch.uint8), y.contiguous().view(torch.uint8))


def empty_like(x: torch.Tensor) -> torch.Tensor:
    """A contiguous tensor of NaN."""
    return torch.full(x.shape, torch.nan, dtype=x.dtype, device=x.device)


@dataclass(frozen=True)
class Implementation:
    """The operations that are tested, and where their tensors live."""

    operations: Operations
    device: torch.device
    is_reference: bool = False
    is_cuda: bool = False
    """Whether the CUDA kernels run, on whichever device."""

    def random(self, *shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
        """Standard normal numbers, the same on every device."""
        generator = torch.Generator().manual_seed(seed + sum(shape))
        return torch.randn(*shape, generator=generator).to(self.device, dtype)

    def ints(self, values: list[int], dtype: torch.dtype = torch.int32) -> torch.Tensor:
        """A vector of integers."""
        return torch.tensor(values, dtype=dtype, device=self.device)

    def assert_near(self, actual: torch.Tensor, expected: torch.Tensor) -> None:
        """`actual` equals the float64 `expected` to within the rounding of its dtype."""
        tolerance = _TOLERANCE[actual.dtype]
        torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=tolerance)


@cache
def emulated_ops() -> EmulatedOps:
    """The CUDA kernels on the emulator, which is compiled for the first test that wants it."""
    return EmulatedOps(Emulator(host_library("fast")))


@pytest.fixture(params=["reference", "cpu", "emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def implementation(request: pytest.FixtureRequest) -> Implementation:
    """One of the implementations; skipped where this machine or this build has not got it."""
    cpu, cuda = torch.device("cpu"), torch.device("cuda:0")
    if request.param == "reference":
        return Implementation(Operations(ReferenceOps()), cpu, is_reference=True)
    if request.param == "cpu":
        if not isinstance(native.ops_for(cpu), native.CpuOps):
            pytest.skip("the extension is not built")
        return Implementation(Operations(native.ops_for(cpu)), cpu)
    if request.param == "emulated":
        if (lacking := missing()) is not None:
            pytest.skip(lacking)
        emulated_ops().emulator.begin()
        return Implementation(Operations(emulated_ops()), cpu, is_cuda=True)
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return Implementation(Operations(native.ops_for(cuda)), cuda, is_cuda=True)


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float16], ids=["f32", "bf16", "f16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtypes that kernels take."""
    chosen: torch.dtype = request.param
    return chosen
