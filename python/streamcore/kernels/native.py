"""The compiled kernels as typed calls: tensors become addresses, sizes and strides here and nowhere else."""

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from streamcore.kernels import gathered
from streamcore.kernels.sequences import PagedSequences

_DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


def _load() -> Any:
    try:
        return import_module("streamcore._core").kernels
    except ModuleNotFoundError:
        # Not built. One that is there and does not load raises another `ImportError`: nobody may swallow it.
        return None


_library: Any = _load()


class Kernels:
    """The operations that both sets of compiled kernels have; the tensors were checked."""

    _rms_norm: Any
    _silu_mul: Any
    _rope_and_store_kv: Any

    def _where(self, x: Tensor) -> tuple[Any, ...]:
        """What a call takes last: nothing on the CPU, the device and the stream on CUDA."""
        return ()

    def _kv_dtypes(self, x: Tensor, cache: Tensor) -> Any:
        """The dtype codes of a call with a cache."""
        raise NotImplementedError

    def _limits(self, cos_sin: Tensor, cache: Tensor) -> tuple[Any, ...]:
        """What positions and slots must be below, where the kernel looks: nothing on CUDA, whose memory the host does not see."""
        return ()

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """See `streamcore.kernels.rms_norm`."""
        output = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        self._rms_norm(
            (output.data_ptr(), x.data_ptr(), 0, weight.data_ptr()),
            x.shape,
            (x.stride(0), 0),
            eps,
            _DTYPE_CODES[x.dtype],
            *self._where(x),
        )
        return output

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
        """See `streamcore.kernels.add_rms_norm`."""
        output = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        self._rms_norm(
            (output.data_ptr(), x.data_ptr(), residual.data_ptr(), weight.data_ptr()),
            x.shape,
            (x.stride(0), residual.stride(0)),
            eps,
            _DTYPE_CODES[x.dtype],
            *self._where(x),
        )
        return output

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        """See `streamcore.kernels.silu_mul`."""
        sizes = (gate_up.shape[0], gate_up.shape[1] // 2)
        output = torch.empty(sizes, dtype=gate_up.dtype, device=gate_up.device)
        self._silu_mul(
            (output.data_ptr(), gate_up.data_ptr()),
            sizes,
            gate_up.stride(0),
            _DTYPE_CODES[gate_up.dtype],
            *self._where(gate_up),
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
        self._rope_and_store_kv(
            [tensor.data_ptr() for tensor in tensors],
            (num_tokens, num_heads, key.shape[1], head_dim, cos_sin.shape[1]),
            (query.stride(0), key.stride(0), value.stride(0)),
            self._kv_dtypes(query, key_cache),
            *self._limits(cos_sin, key_cache),
            *self._where(query),
        )


class CpuKernels(Kernels):
    """The Rust kernels."""

    def __init__(self) -> None:
        self._rms_norm = _library.cpu_rms_norm
        self._silu_mul = _library.cpu_silu_mul
        self._rope_and_store_kv = _library.cpu_rope_and_store_kv
        self._paged_attention = _library.cpu_paged_attention
        self._linear = _library.cpu_linear

    def _kv_dtypes(self, x: Tensor, cache: Tensor) -> Any:
        return (_DTYPE_CODES[x.dtype], _DTYPE_CODES[cache.dtype])

    def _limits(self, cos_sin: Tensor, cache: Tensor) -> tuple[Any, ...]:
        return ((cos_sin.shape[0], cache.shape[0] * cache.shape[1]),)

    def paged_attention(
        self, query: Tensor, key_cache: Tensor, value_cache: Tensor, sequences: PagedSequences, scale: float
    ) -> Tensor:
        """See `streamcore.kernels.paged_attention`."""
        output = torch.empty(query.shape, dtype=query.dtype)
        block_tables, context_lens = sequences.block_tables, sequences.context_lens
        tensors = (output, query, key_cache, value_cache, block_tables, sequences.rows, context_lens)
        _, block_size, num_kv_heads, head_dim = key_cache.shape
        self._paged_attention(
            [tensor.data_ptr() for tensor in (*tensors, sequences.query_starts)],
            (context_lens.shape[0], query.shape[1], num_kv_heads, head_dim, block_size),
            (query.stride(0), block_tables.stride(0)),
            scale,
            self._kv_dtypes(query, key_cache),
        )
        return output

    def packs_weights(self) -> bool:
        """Whether `linear` is worth its packing: not without vector instructions."""
        return bool(_library.cpu_features() != "portable")

    def pack_linear_weight(self, weight: Tensor) -> Tensor:
        """The packed form of a contiguous bfloat16 weight [num_outputs, num_inputs]."""
        packed = torch.empty(_library.cpu_packed_len(*weight.shape), dtype=weight.dtype)
        _library.cpu_pack_linear(packed.data_ptr(), weight.data_ptr(), weight.shape)
        return packed

    def prefers_rounding(self) -> bool:
        """Whether `linear` is faster with activations rounded to bfloat16: measured once."""
        return bool(_library.cpu_prefers_rounding())

    def linear(self, x: Tensor, packed: Tensor, num_outputs: int, round_x: bool) -> Tensor:
        """See `streamcore.kernels.linear`."""
        num_tokens, num_inputs = x.shape
        output = torch.empty(num_tokens, num_outputs, dtype=x.dtype)
        self._linear(
            (output.data_ptr(), x.data_ptr(), packed.data_ptr()),
            (num_tokens, num_inputs, num_outputs),
            x.stride(0),
            round_x,
        )
        return output


class CudaKernels(Kernels):
    """The CUDA kernels, launched on torch's current stream; attention is torch's."""

    def __init__(self) -> None:
        self._rms_norm = _library.cuda_rms_norm
        self._silu_mul = _library.cuda_silu_mul
        self._rope_and_store_kv = _library.cuda_rope_and_store_kv

    def _where(self, x: Tensor) -> tuple[Any, ...]:
        # What `torch.cuda.current_stream` reads, without an object around it at every call.
        return ((x.device.index, torch._C._cuda_getCurrentRawStream(x.device.index)),)

    def _kv_dtypes(self, x: Tensor, cache: Tensor) -> Any:
        return _DTYPE_CODES[x.dtype]

    def paged_attention(
        self, query: Tensor, key_cache: Tensor, value_cache: Tensor, sequences: PagedSequences, scale: float
    ) -> Tensor:
        """See `streamcore.kernels.paged_attention`."""
        return gathered.paged_attention(query, key_cache, value_cache, sequences, scale)


cpu_kernels = CpuKernels() if _library is not None else None
"""None where the extension is not built."""


@cache
def _cuda_kernels(device: int) -> CudaKernels | None:
    if _library is None or _library.cuda_build() is None:
        return None
    _, error = _library.cuda_device_count()
    # A driver too old for our toolkit may still do for torch's: asking it about a device would raise.
    if error is not None or not _library.cuda_device_covered(device):
        return None
    return CudaKernels()


def kernels_for(x: Tensor) -> CpuKernels | CudaKernels | None:
    """The compiled kernels for the device of `x`; None where `reference` must do."""
    if x.device.type == "cpu":
        return cpu_kernels
    if x.device.type == "cuda":
        return _cuda_kernels(x.device.index)
    return None


def set_num_threads(num_threads: int) -> None:
    """Sets how many threads share a CPU kernel, the calling one included; torch's own threads are apart."""
    if _library is not None:
        _library.set_num_threads(num_threads)


def description(dtype: torch.dtype | None = None) -> str:
    """Which kernels are active per device and why, in one line.

    Args:
        dtype: the precision that the user chose; with it the line says how bfloat16 weights are multiplied.
    """
    if _library is None:
        return "CPU kernels: torch (the extension is not built); CUDA kernels: torch"
    cpu = f"CPU kernels: Rust, {_library.cpu_features()}{_describe_products(dtype)}"
    return f"{cpu}, {_library.num_threads()} threads; CUDA kernels: {_describe_cuda()}"


def _describe_products(dtype: torch.dtype | None) -> str:
    if dtype == torch.float32:
        return ", float32 products"
    if dtype != torch.bfloat16 or cpu_kernels is None or not cpu_kernels.packs_weights():
        return ""
    return f", {'bfloat16' if cpu_kernels.prefers_rounding() else 'float32'} products"


def _describe_cuda() -> str:
    build = _library.cuda_build()
    if build is None:
        return "torch (built without a CUDA compiler)"
    toolkit, targets = build
    built = f"built for {targets.replace(' ', ', ')} with CUDA {toolkit}"
    num_devices, error = _library.cuda_device_count()
    if error == "cudaErrorInsufficientDriver":
        return f"{built}; no driver found, or one too old for it"
    if error is not None:
        return f"{built}; no device ({error})"
    uncovered = [index for index in range(num_devices) if _cuda_kernels(index) is None]
    if uncovered:
        return f"{built}; torch on devices {uncovered}, for which they have no code"
    return f"{built}; active on {num_devices} device{'s' if num_devices > 1 else ''}"
