"""The operations in plain torch: the oracle of the kernel tests, and what runs where no kernel was
compiled.

Each method has the contract of its namesake in `ops.Ops`; arithmetic is in float32 whatever the
dtype of the tensors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import gelu, silu

from streamcore.kernels.gathered import gathered_attention
from streamcore.kernels.paged import LayerCache, PagedSequences
from streamcore.kernels.routed import routed_experts
from streamcore.kernels.ruled import ruled_attention
from streamcore.kernels.weight import LinearWeight, widened
from streamcore.operands import Activation, AttentionRule, Expert, ExpertRule, HeadNorms, Rotation

_CLAMP = 7.0


class ReferenceOps:
    """`Ops` in plain torch, on any device."""

    reads_blocks_apart = True

    def embed(self, out: Tensor, token_ids: Tensor, table: Tensor, factor: float) -> None:
        """See `Ops`."""
        out.copy_(torch.nn.functional.embedding(token_ids, table).float() * factor)

    def take(self, out: Tensor, x: Tensor, rows: Tensor) -> None:
        """See `Ops`."""
        torch.index_select(x, 0, rows, out=out)

    def add(self, total: Tensor, x: Tensor) -> None:
        """See `Ops`."""
        total.copy_(total.float() + x.float())

    def scale(self, x: Tensor, factor: float) -> None:
        """See `Ops`."""
        x.copy_(x.float() * factor)

    def soft_cap(self, x: Tensor, cap: float) -> None:
        """See `Ops`."""
        # float32 is bent where it lies.
        x.copy_(x.float().div_(cap).tanh_().mul_(cap))

    def rms_norm(self, out: Tensor, x: Tensor, weight: Tensor, eps: float) -> None:
        """See `Ops`."""
        out.copy_(_normalised(x, weight, eps))

    def add_rms_norm(self, out: Tensor, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> None:
        """See `Ops`."""
        self.add(residual, x)
        out.copy_(_normalised(residual, weight, eps))

    def gated(self, out: Tensor, gate_up: Tensor, activation: Activation) -> None:
        """See `Ops`."""
        gate, up = gate_up.float().chunk(2, dim=-1)
        if activation == "silu":
            out.copy_(silu(gate) * up)
        elif activation == "gelu_tanh":
            out.copy_(gelu(gate, approximate="tanh") * up)
        else:
            gate, up = gate.clamp(max=_CLAMP), up.clamp(-_CLAMP, _CLAMP)
            out.copy_((up + 1) * gate * torch.sigmoid(1.702 * gate))

    def linear(self, out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None) -> None:
        """See `Ops`."""
        matrix = widened(weight, x.dtype)
        if bias is None:
            torch.mm(x, matrix.t(), out=out)
        else:
            torch.addmm(bias, x, matrix.t(), out=out)

    def gated_linear(
        self,
        out: Tensor,
        gate_up: Tensor,
        x: Tensor,
        weight: LinearWeight,
        bias: Tensor | None,
        activation: Activation,
    ) -> None:
        """See `Ops`."""
        self.linear(gate_up, x, weight, bias)
        self.gated(out, gate_up, activation)

    def rope_and_store_kv(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rotation: Rotation,
        positions: Tensor,
        cache: LayerCache,
        slot_mapping: Tensor,
        norms: HeadNorms | None = None,
    ) -> None:
        """See `Ops`."""
        if norms is not None:
            query.copy_(_normalised(query, norms.query, norms.eps))
            key.copy_(_normalised(key, norms.key, norms.eps))
        cos, sin = rotation.cos_sin.index_select(0, positions).unsqueeze(1).chunk(2, dim=-1)
        _rotate(query, cos, sin)
        _rotate(key, cos, sin)
        if rotation.query_factors is not None:
            factors = rotation.query_factors.index_select(0, positions)
            query.copy_(query.float() * factors[:, None, None])
        _store(_rounded(key, cache.keys.dtype), _rounded(value, cache.values.dtype), cache, slot_mapping)

    def paged_attention(
        self, out: Tensor, query: Tensor, cache: LayerCache, sequences: PagedSequences, rule: AttentionRule
    ) -> None:
        """See `Ops`."""
        if rule.is_plain:
            gathered_attention(out, query, cache.keys, cache.values, sequences, rule.scale)
        else:
            ruled_attention(out, query, cache, sequences, rule)

    def experts(
        self, out: Tensor, x: Tensor, scores: Tensor, experts: Sequence[Expert], rule: ExpertRule
    ) -> None:
        """See `Ops`."""
        routed_experts(self, out, x, scores, experts, rule)


def _normalised(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)
    return wide * scale * weight.float()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    half = cos.shape[-1]
    first, second = x[..., :half], x[..., half : 2 * half]
    a, b = first.float(), second.float()
    # Both before either is stored: float32 inputs are `a` and `b` themselves.
    rotated_first, rotated_second = a * cos - b * sin, b * cos + a * sin
    first.copy_(rotated_first)
    second.copy_(rotated_second)


def _rounded(rows: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype == torch.float8_e4m3fn:
        # torch makes NaN of what is beyond the greatest number; the bytes alone can be indexed.
        greatest = torch.finfo(dtype).max
        return rows.clamp(-greatest, greatest).to(dtype).view(torch.uint8)
    return rows.to(dtype)


def _store(key: Tensor, value: Tensor, cache: LayerCache, slots: Tensor) -> None:
    stored = slots >= 0
    if key.device.type == "cpu":
        slots, key, value = slots[stored], key[stored], value[stored]
        for blocks, rows in ((_bytes_of(cache.keys), key), (_bytes_of(cache.values), value)):
            blocks[slots // blocks.shape[1], slots % blocks.shape[1]] = rows
        return
    # A boolean index would make the host wait for the device.
    _store_where(_bytes_of(cache.keys).flatten(0, 1), stored, slots, key)
    _store_where(_bytes_of(cache.values).flatten(0, 1), stored, slots, value)


def _bytes_of(cache: Tensor) -> Tensor:
    """Numbers in eight bits as bytes, which alone can be indexed."""
    return cache.view(torch.uint8) if cache.dtype == torch.float8_e4m3fn else cache


def _store_where(slots_of_cache: Tensor, stored: Tensor, slots: Tensor, rows: Tensor) -> None:
    # Skipped rows are redirected to the last stored row's slot and value, so that duplicate writes
    # agree.
    order = torch.arange(rows.shape[0], device=rows.device)
    last = torch.where(stored, order, -1).amax()
    source = torch.where(stored, order, last.clamp(min=0))
    target = slots.index_select(0, source).clamp(min=0)
    kept = slots_of_cache.index_select(0, target)
    new = torch.where(stored.any(), rows.index_select(0, source), kept)
    slots_of_cache.index_copy_(0, target, new)
