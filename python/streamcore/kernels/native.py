"""`Ops` by the compiled kernels: tensors become addresses, sizes and strides here and nowhere else."""

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from streamcore.kernels.library import DTYPE_CODES, OPERATIONS, Operation, compiled
from streamcore.kernels.ops import Ops
from streamcore.kernels.paged import LayerCache, PagedSequences
from streamcore.kernels.reference import ReferenceOps
from streamcore.kernels.weight import LinearWeight
from streamcore.operands import Activation, AttentionRule, HeadNorms, Rotation

_ACTIVATION_CODES = {"silu": 0, "gelu_tanh": 1, "clamped": 2}


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


class CpuOps(ReferenceOps):
    """The Rust kernels."""

    def run(self, operation: Operation, num_rows: int, arguments: ctypes.Structure) -> None:
        """Carries an operation out; `num_rows` is the number of rows in its arguments."""
        compiled.run(operation.number, ctypes.addressof(arguments))

    def _call(self, name: str, **arguments: Any) -> None:
        operation = OPERATIONS[name]
        self.run(operation, arguments[operation.rows], operation.struct(**arguments))

    def embed(self, out: Tensor, token_ids: Tensor, table: Tensor, factor: float) -> None:
        """See `Ops`."""
        num_rows, width = out.shape
        self._call(
            "Embed",
            output=out.data_ptr(),
            token_ids=token_ids.data_ptr(),
            table=table.data_ptr(),
            num_rows=num_rows,
            width=width,
            vocab_size=table.shape[0],
            factor=factor,
            dtype=DTYPE_CODES[out.dtype],
            table_dtype=DTYPE_CODES[table.dtype],
        )

    def take(self, out: Tensor, x: Tensor, rows: Tensor) -> None:
        """See `Ops`."""
        num_rows, width = out.shape
        self._call(
            "Take",
            output=out.data_ptr(),
            x=x.data_ptr(),
            rows=rows.data_ptr(),
            num_rows=num_rows,
            width=width,
            limit=x.shape[0],
            dtype=DTYPE_CODES[x.dtype],
        )

    def add(self, total: Tensor, x: Tensor) -> None:
        """See `Ops`."""
        num_rows, width = x.shape
        self._call(
            "AddInto",
            sum=total.data_ptr(),
            x=x.data_ptr(),
            num_rows=num_rows,
            width=width,
            dtype=DTYPE_CODES[x.dtype],
        )

    def scale(self, x: Tensor, factor: float) -> None:
        """See `Ops`."""
        num_rows, width = x.shape
        dtype = DTYPE_CODES[x.dtype]
        self._call("Scale", x=x.data_ptr(), num_rows=num_rows, width=width, factor=factor, dtype=dtype)

    def rms_norm(self, out: Tensor, x: Tensor, weight: Tensor, eps: float) -> None:
        """See `Ops`."""
        self._norm(out, x, None, weight, eps)

    def add_rms_norm(self, out: Tensor, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> None:
        """See `Ops`."""
        self._norm(out, x, residual, weight, eps)

    def _norm(self, out: Tensor, x: Tensor, residual: Tensor | None, weight: Tensor, eps: float) -> None:
        num_tokens, hidden = x.shape
        self._call(
            "RmsNorm",
            output=out.data_ptr(),
            x=x.data_ptr(),
            residual=_address(residual),
            weight=weight.data_ptr(),
            num_tokens=num_tokens,
            hidden=hidden,
            output_stride=out.stride(0),
            x_stride=x.stride(0),
            residual_stride=0 if residual is None else residual.stride(0),
            eps=eps,
            dtype=DTYPE_CODES[x.dtype],
        )

    def gated(self, out: Tensor, gate_up: Tensor, activation: Activation) -> None:
        """See `Ops`."""
        num_tokens, inter = out.shape
        self._call(
            "Gated",
            output=out.data_ptr(),
            gate_up=gate_up.data_ptr(),
            num_tokens=num_tokens,
            inter=inter,
            gate_up_stride=gate_up.stride(0),
            activation=_ACTIVATION_CODES[activation],
            dtype=DTYPE_CODES[out.dtype],
        )

    def linear(self, out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None) -> None:
        """See `Ops`."""
        if not weight.packed:
            super().linear(out, x, weight, bias)
            return
        self._call(
            "Linear",
            output=out.data_ptr(),
            x=x.data_ptr(),
            packed=weight.data.data_ptr(),
            bias=_address(bias),
            num_rows=x.shape[0],
            num_inputs=weight.num_inputs,
            num_outputs=weight.num_outputs,
            x_stride=x.stride(0),
            weight_dtype=DTYPE_CODES[weight.data.dtype],
            round_x=weight.round_x,
        )

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
        num_tokens, num_heads, head_dim = query.shape
        max_position, rotary_dim = rotation.cos_sin.shape
        self._call(
            "RopeAndStore",
            query=query.data_ptr(),
            key=key.data_ptr(),
            value=value.data_ptr(),
            query_stride=query.stride(0),
            key_stride=key.stride(0),
            value_stride=value.stride(0),
            num_tokens=num_tokens,
            num_heads=num_heads,
            num_kv_heads=key.shape[1],
            head_dim=head_dim,
            rotary_dim=rotary_dim,
            cos_sin=rotation.cos_sin.data_ptr(),
            max_position=max_position,
            query_factors=_address(rotation.query_factors),
            query_norm=0 if norms is None else norms.query.data_ptr(),
            key_norm=0 if norms is None else norms.key.data_ptr(),
            positions=positions.data_ptr(),
            slot_mapping=slot_mapping.data_ptr(),
            num_slots=cache.num_slots,
            key_cache=cache.keys.data_ptr(),
            value_cache=cache.values.data_ptr(),
            eps=0.0 if norms is None else norms.eps,
            dtype=DTYPE_CODES[query.dtype],
            cache_dtype=DTYPE_CODES[cache.keys.dtype],
        )

    def paged_attention(
        self, out: Tensor, query: Tensor, cache: LayerCache, sequences: PagedSequences, rule: AttentionRule
    ) -> None:
        """See `Ops`."""
        block_tables, context_lens = sequences.block_tables, sequences.context_lens
        num_seqs = context_lens.shape[0]
        num_blocks, block_size, num_kv_heads, head_dim = cache.keys.shape
        self._call(
            "PagedAttention",
            output=out.data_ptr(),
            query=query.data_ptr(),
            key_cache=cache.keys.data_ptr(),
            value_cache=cache.values.data_ptr(),
            block_tables=block_tables.data_ptr(),
            rows=sequences.rows.data_ptr(),
            context_lens=context_lens.data_ptr(),
            query_starts=sequences.query_starts.data_ptr(),
            num_seqs=num_seqs,
            num_tokens=query.shape[0],
            num_table_rows=block_tables.shape[0],
            num_blocks=num_blocks,
            num_heads=query.shape[1],
            num_kv_heads=num_kv_heads,
            head_dim=head_dim,
            block_size=block_size,
            query_stride=query.stride(0),
            block_table_stride=block_tables.stride(0),
            scale=rule.scale,
            window=rule.window,
            sinks=_address(rule.sinks),
            soft_cap=rule.soft_cap,
            dtype=DTYPE_CODES[query.dtype],
            cache_dtype=DTYPE_CODES[cache.keys.dtype],
        )


class CudaOps(ReferenceOps):
    """The CUDA kernels, launched on torch's current stream; attention and what has no kernel yet is
    torch's.
    """

    def _where(self, x: Tensor) -> tuple[int, int]:
        # What `torch.cuda.current_stream` reads, without an object around it at every call.
        return x.device.index, torch._C._cuda_getCurrentRawStream(x.device.index)

    def rms_norm(self, out: Tensor, x: Tensor, weight: Tensor, eps: float) -> None:
        """See `Ops`."""
        if not out.is_contiguous():
            super().rms_norm(out, x, weight, eps)
            return
        addresses = (out.data_ptr(), x.data_ptr(), 0, weight.data_ptr())
        strides = (x.stride(0), 0)
        compiled.cuda_rms_norm(addresses, x.shape, strides, eps, DTYPE_CODES[x.dtype], self._where(x))

    def add_rms_norm(self, out: Tensor, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> None:
        """See `Ops`."""
        addresses = (out.data_ptr(), x.data_ptr(), residual.data_ptr(), weight.data_ptr())
        strides = (x.stride(0), residual.stride(0))
        compiled.cuda_rms_norm(addresses, x.shape, strides, eps, DTYPE_CODES[x.dtype], self._where(x))

    def gated(self, out: Tensor, gate_up: Tensor, activation: Activation) -> None:
        """See `Ops`."""
        if activation != "silu":
            super().gated(out, gate_up, activation)
            return
        addresses = (out.data_ptr(), gate_up.data_ptr())
        dtype = DTYPE_CODES[out.dtype]
        compiled.cuda_silu_mul(addresses, out.shape, gate_up.stride(0), dtype, self._where(out))

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
        cos_sin = rotation.cos_sin
        if norms is not None or rotation.query_factors is not None or not cos_sin.shape[1]:
            super().rope_and_store_kv(query, key, value, rotation, positions, cache, slot_mapping, norms)
            return
        tensors = (query, key, value, cos_sin, positions, slot_mapping, cache.keys, cache.values)
        num_tokens, num_heads, head_dim = query.shape
        compiled.cuda_rope_and_store_kv(
            [tensor.data_ptr() for tensor in tensors],
            (num_tokens, num_heads, key.shape[1], head_dim, cos_sin.shape[1]),
            (query.stride(0), key.stride(0), value.stride(0)),
            DTYPE_CODES[query.dtype],
            self._where(query),
        )


@cache
def _has_cuda_kernels(device: int) -> bool:
    if compiled is None or compiled.cuda_build() is None:
        return False
    _, error = compiled.cuda_device_count()
    # A driver too old for our toolkit may still do for torch's: asking it about a device would
    # raise.
    return error is None and bool(compiled.cuda_device_covered(device))


def ops_for(device: torch.device) -> Ops:
    """The fastest operations that there are on a device."""
    if device.type == "cpu" and compiled is not None:
        return CpuOps()
    if device.type == "cuda" and _has_cuda_kernels(device.index or 0):
        return CudaOps()
    return ReferenceOps()


def uncovered_devices(num_devices: int) -> list[int]:
    """The CUDA devices for which the kernels have no code."""
    return [index for index in range(num_devices) if not _has_cuda_kernels(index)]
