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
    """The Rust kernels; tensors are on the CPU and were checked."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """See `streamcore.kernels.rms_norm`."""
        output = torch.empty(x.shape, dtype=x.dtype)
        _library.cpu_rms_norm(
            output.data_ptr(), x.data_ptr(), 0, weight.data_ptr(),
            x.shape[0], x.shape[1], x.stride(0), 0, eps, _DTYPE_CODES[x.dtype],
        )  # fmt: skip
        return output

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
        """See `streamcore.kernels.add_rms_norm`."""
        output = torch.empty(x.shape, dtype=x.dtype)
        _library.cpu_rms_norm(
            output.data_ptr(), x.data_ptr(), residual.data_ptr(), weight.data_ptr(),
            x.shape[0], x.shape[1], x.stride(0), residual.stride(0), eps, _DTYPE_CODES[x.dtype],
        )  # fmt: skip
        return output

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        """See `streamcore.kernels.silu_mul`."""
        num_tokens, width = gate_up.shape
        output = torch.empty(num_tokens, width // 2, dtype=gate_up.dtype)
        _library.cpu_silu_mul(
            output.data_ptr(), gate_up.data_ptr(),
            num_tokens, width // 2, gate_up.stride(0), _DTYPE_CODES[gate_up.dtype],
        )  # fmt: skip
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
        num_tokens, num_heads, head_dim = query.shape
        _library.cpu_rope_and_store_kv(
            (query.data_ptr(), key.data_ptr(), value.data_ptr()),
            (query.stride(0), key.stride(0), value.stride(0)),
            (num_tokens, num_heads, key.shape[1], head_dim, cos_sin.shape[1]),
            (cos_sin.data_ptr(), positions.data_ptr(), slot_mapping.data_ptr()),
            (key_cache.data_ptr(), value_cache.data_ptr()),
            _DTYPE_CODES[query.dtype],
        )  # fmt: skip

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
        _, num_heads, head_dim = query.shape
        output = torch.empty(query.shape, dtype=query.dtype)
        _library.cpu_paged_attention(
            (output.data_ptr(), query.data_ptr(), key_cache.data_ptr(), value_cache.data_ptr()),
            (block_tables.data_ptr(), context_lens.data_ptr(), query_starts.data_ptr()),
            (context_lens.shape[0], num_heads, key_cache.shape[2], head_dim, key_cache.shape[1]),
            (query.stride(0), block_tables.stride(0)),
            scale,
            _DTYPE_CODES[query.dtype],
        )  # fmt: skip
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
    return "CPU kernels: Rust"
