"""The compiled kernels as typed calls: tensors become addresses, sizes and strides here and nowhere else."""

from typing import Any

import torch
from torch import Tensor

_DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


def _load() -> Any:
    try:
        from streamcore import _core  # type: ignore[attr-defined,unused-ignore]
    except ImportError:
        return None
    return _core.kernels


_library: Any = _load()


class CpuKernels:
    """The Rust kernels; their tensors are on the CPU and were checked."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """See `streamcore.kernels.rms_norm`."""
        output = torch.empty(x.shape, dtype=x.dtype)
        _library.cpu_rms_norm(
            (output.data_ptr(), x.data_ptr(), 0, weight.data_ptr()),
            x.shape,
            (x.stride(0), 0),
            eps,
            _DTYPE_CODES[x.dtype],
        )
        return output

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
        """See `streamcore.kernels.add_rms_norm`."""
        output = torch.empty(x.shape, dtype=x.dtype)
        _library.cpu_rms_norm(
            (output.data_ptr(), x.data_ptr(), residual.data_ptr(), weight.data_ptr()),
            x.shape,
            (x.stride(0), residual.stride(0)),
            eps,
            _DTYPE_CODES[x.dtype],
        )
        return output

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        """See `streamcore.kernels.silu_mul`."""
        sizes = (gate_up.shape[0], gate_up.shape[1] // 2)
        output = torch.empty(sizes, dtype=gate_up.dtype)
        _library.cpu_silu_mul(
            (output.data_ptr(), gate_up.data_ptr()), sizes, gate_up.stride(0), _DTYPE_CODES[gate_up.dtype]
        )
        return output

    def rope_and_store_kv(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cos_sin: Tensor,
        positions: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        slot_mapping: Tensor,
    ) -> None:
        """See `streamcore.kernels.rope_and_store_kv`."""
        tensors = (query, key, value, cos_sin, positions, slot_mapping, key_cache, value_cache)
        num_tokens, num_heads, head_dim = query.shape
        _library.cpu_rope_and_store_kv(
            [tensor.data_ptr() for tensor in tensors],
            (num_tokens, num_heads, key.shape[1], head_dim, cos_sin.shape[1]),
            (query.stride(0), key.stride(0), value.stride(0)),
            _DTYPE_CODES[query.dtype],
        )

    def paged_attention(
        self,
        query: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        block_tables: Tensor,
        context_lens: Tensor,
        query_starts: Tensor,
        scale: float,
    ) -> Tensor:
        """See `streamcore.kernels.paged_attention`."""
        output = torch.empty(query.shape, dtype=query.dtype)
        tensors = (output, query, key_cache, value_cache, block_tables, context_lens, query_starts)
        _, block_size, num_kv_heads, head_dim = key_cache.shape
        _library.cpu_paged_attention(
            [tensor.data_ptr() for tensor in tensors],
            (context_lens.shape[0], query.shape[1], num_kv_heads, head_dim, block_size),
            (query.stride(0), block_tables.stride(0)),
            scale,
            _DTYPE_CODES[query.dtype],
        )
        return output


_cpu_kernels = CpuKernels() if _library is not None else None


def kernels_for(x: Tensor) -> CpuKernels | None:
    """The compiled kernels for the device of `x`; None where `reference` must do."""
    if x.device.type == "cpu":
        return _cpu_kernels
    return None


def description() -> str:
    """Which kernels are active per device and why, in one line."""
    if _library is None:
        return "CPU kernels: torch (the extension is not built)"
    return f"CPU kernels: Rust, {_library.cpu_features()}, {_library.num_threads()} threads"
