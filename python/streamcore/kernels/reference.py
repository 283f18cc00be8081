"""The operations in plain torch: the oracle of the kernel tests, and what runs where no kernel was compiled.

Each function has the contract of its namesake in `streamcore.kernels`, which states shapes and dtypes;
arithmetic is in float32 whatever the dtype of the tensors.
"""

import torch
from torch import Tensor
from torch.nn.functional import silu

from streamcore.kernels.gathered import paged_attention

__all__ = ["add_rms_norm", "paged_attention", "rms_norm", "rope_and_store_kv", "silu_mul"]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`x / sqrt(mean(x²) + eps) * weight`, per row (Zhang and Sennrich, 2019)."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)
    return (wide * scale * weight.float()).to(x.dtype)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Adds `x` to `residual` in place, then normalises the sum as it was stored."""
    residual.copy_(residual.float() + x.float())
    return rms_norm(residual, weight, eps)


def silu_mul(gate_up: Tensor) -> Tensor:
    """`silu(gate) * up`, where each row is gate, then up."""
    gate, up = gate_up.float().chunk(2, dim=-1)
    return (silu(gate) * up).to(gate_up.dtype)


def rope_and_store_kv(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cos_sin: Tensor,
    positions: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slot_mapping: Tensor,
) -> None:
    """Rotates query and key in place (Su et al., 2021; half-split pairs), then stores key and value."""
    cos, sin = cos_sin.index_select(0, positions).unsqueeze(1).chunk(2, dim=-1)
    _rotate(query, cos, sin)
    _rotate(key, cos, sin)
    key, value = key.to(key_cache.dtype), value.to(value_cache.dtype)
    stored = slot_mapping >= 0
    slots, num_slots = slot_mapping, key_cache.shape[0] * key_cache.shape[1]
    if key.device.type == "cpu":
        slots, key, value = slots[stored], key[stored], value[stored]
        _slots_of(key_cache, num_slots).index_copy_(0, slots, key)
        _slots_of(value_cache, num_slots).index_copy_(0, slots, value)
        return
    # A boolean index would make the host wait for the device.
    _store_where(_slots_of(key_cache, num_slots), stored, slots, key)
    _store_where(_slots_of(value_cache, num_slots), stored, slots, value)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    half = cos.shape[-1]
    first, second = x[..., :half], x[..., half : 2 * half]
    a, b = first.float(), second.float()
    # Both before either is stored: float32 inputs are `a` and `b` themselves.
    rotated_first, rotated_second = a * cos - b * sin, b * cos + a * sin
    first.copy_(rotated_first)
    second.copy_(rotated_second)


def _slots_of(cache: Tensor, num_slots: int) -> Tensor:
    return cache.view(num_slots, cache.shape[2], cache.shape[3])


def _store_where(slots_of_cache: Tensor, stored: Tensor, slots: Tensor, rows: Tensor) -> None:
    # Skipped rows are redirected to the last stored row's slot and value, so that duplicate writes agree.
    order = torch.arange(rows.shape[0], device=rows.device)
    last = torch.where(stored, order, -1).amax()
    source = torch.where(stored, order, last.clamp(min=0))
    target = slots.index_select(0, source).clamp(min=0)
    kept = slots_of_cache.index_select(0, target)
    new = torch.where(stored.any(), rows.index_select(0, source), kept)
    slots_of_cache.index_copy_(0, target, new)
