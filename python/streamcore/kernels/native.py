"""`Ops` by the compiled kernels, on the CPU and on CUDA devices."""

import ctypes
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from streamcore.kernels.few_rows import (
    MAX_ROWS,
    ExpertMemory,
    ProductTable,
    device_seconds,
    takes_experts,
    takes_product,
)
from streamcore.kernels.grouped import FP8_GROUP, form_struct
from streamcore.kernels.groups_on_cuda import (
    MAX_ROWS_OF_GROUPS,
    WidenedMemory,
    is_fp8,
    multiplies_with,
    num_groups,
    takes_groups,
)
from streamcore.kernels.library import CUDA_OPERATIONS, DTYPE_CODES, Operation, compiled
from streamcore.kernels.ops import Ops
from streamcore.kernels.paged import LayerCache, PagedSequences
from streamcore.kernels.reference import ReferenceOps
from streamcore.kernels.sampled import SampledOps
from streamcore.kernels.splits import Splits
from streamcore.kernels.structs import (
    ACTIVATION_CODES,
    attention_arguments,
    product_arguments,
)
from streamcore.kernels.weight import LinearWeight
from streamcore.operands import Activation, AttentionRule, Expert, ExpertRule


class CpuOps(SampledOps):
    """The Rust kernels."""

    def put(self, out: Tensor, places: Tensor, x: Tensor) -> None:
        """`out[places] = x`: int32 or float32 [any], by int32 [num_rows], all contiguous."""
        self._call(
            "Put",
            output=out.data_ptr(),
            places=places.data_ptr(),
            x=x.data_ptr(),
            num_rows=places.shape[0],
            limit=out.shape[0],
        )

    def run(self, operation: Operation, num_rows: int, arguments: ctypes.Structure) -> None:
        """See `NativeOps`."""
        compiled.run(operation.number, ctypes.addressof(arguments))


class CudaOps(SampledOps):
    """The CUDA kernels, launched on torch's current stream. Torch's are products of many rows, and
    what `takes_product`, `takes_experts` and `takes_attention` refuse.
    """

    operations = CUDA_OPERATIONS
    reads_blocks_apart = False

    def __init__(self, device: torch.device, num_multiprocessors: int) -> None:
        """Takes no memory yet."""
        self._index = device.index or 0
        self._splits = Splits(device, num_multiprocessors)
        self._expert_memory = ExpertMemory()
        self._widened_memory = WidenedMemory()
        seconds = device_seconds(device) if device.type == "cuda" else None
        self._table = ProductTable(seconds, self._few_rows, self._many_rows)

    def run(self, operation: Operation, num_rows: int, arguments: ctypes.Structure) -> None:
        """See `NativeOps`."""
        # What `torch.cuda.current_stream` reads, without an object around it at every call.
        stream = (self._index, torch._C._cuda_getCurrentRawStream(self._index))
        compiled.cuda_run(operation.number, ctypes.addressof(arguments), stream)

    def soft_cap(self, x: Tensor, cap: float) -> None:
        """See `Ops`."""
        ReferenceOps.soft_cap(self, x, cap)

    def multiply(self, out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None) -> None:
        """See `NativeOps`."""
        if self._has_few_rows(x, weight):
            self._few_rows(out, x, weight, bias)
        elif not takes_groups(x, weight):
            self._many_rows(out, x, weight, bias)
        elif x.shape[0] <= MAX_ROWS_OF_GROUPS and multiplies_with(weight):
            self._few_rows_of_groups(out, x, weight, bias)
        else:
            self._widened(out, x, weight, bias)

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
        if self._has_few_rows(x, weight):
            self._few_rows(out, x, weight, bias, 1 + ACTIVATION_CODES[activation])
        else:
            super().gated_linear(out, gate_up, x, weight, bias, activation)

    def _has_few_rows(self, x: Tensor, weight: LinearWeight) -> bool:
        """Whether a product is that of the kernel of plain weights and fp8."""
        if is_fp8(weight):
            return takes_groups(x, weight) and x.shape[0] <= MAX_ROWS_OF_GROUPS
        return takes_product(x, weight) and x.shape[0] <= self._table.max_rows(x, weight)

    def _few_rows(
        self,
        out: Tensor,
        x: Tensor,
        weight: LinearWeight,
        bias: Tensor | None = None,
        activation: int = 0,
    ) -> None:
        turn = FP8_GROUP if is_fp8(weight) else 64
        splits = self._splits.of_product(weight.num_inputs, weight.num_outputs, turn)
        self._call(
            "Linear",
            **product_arguments(out, x, weight, bias),
            weight=weight.data.data_ptr(),
            output_stride=out.stride(0),
            num_groups=num_groups(weight),
            activation=activation,
            dtype=DTYPE_CODES[x.dtype],
            weight_dtype=_dtype_code(weight),
            **(splits if x.shape[0] <= MAX_ROWS else {"num_splits": 1}),
        )

    def _few_rows_of_groups(self, out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None) -> None:
        assert weight.form is not None
        splits = self._splits.of_product(weight.num_inputs, weight.num_outputs)
        self._call(
            "GroupedLinear",
            **product_arguments(out, x, weight, bias),
            weight=weight.data.data_ptr(),
            output_stride=out.stride(0),
            form=ctypes.addressof(form_struct(weight.form)),
            dtype=DTYPE_CODES[x.dtype],
            **(splits if x.shape[0] <= MAX_ROWS else {"num_splits": 1}),
        )

    def _widened(self, out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None) -> None:
        """Many rows by torch, over some rows of the weight after others, widened."""
        matrix = self._widened_memory.rows(weight.num_inputs, x)
        for first in range(0, weight.num_outputs, matrix.shape[0]):
            part = matrix[: weight.num_outputs - first]
            self._widen(part, weight, first)
            columns = slice(first, first + part.shape[0])
            if bias is None:
                torch.mm(x, part.t(), out=out[:, columns])
            else:
                torch.addmm(bias[columns], x, part.t(), out=out[:, columns])

    def _widen(self, out: Tensor, weight: LinearWeight, first: int) -> None:
        """Some rows of a weight from one of them on."""
        assert weight.form is not None
        arguments = {
            "output": out.data_ptr(),
            "weight": weight.data.data_ptr(),
            "first_output": first,
            "num_outputs": out.shape[0],
            "num_inputs": weight.num_inputs,
            "dtype": DTYPE_CODES[out.dtype],
        }
        if weight.form.is_fp8:
            groups = num_groups(weight)
            self._call("WidenFp8", **arguments, weight_outputs=weight.num_outputs, num_groups=groups)
        else:
            self._call("WidenGroups", **arguments, form=ctypes.addressof(form_struct(weight.form)))

    def _many_rows(self, out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None = None) -> None:
        ReferenceOps.linear(self, out, x, weight, bias)

    def experts(
        self, out: Tensor, x: Tensor, scores: Tensor, experts: Sequence[Expert], rule: ExpertRule
    ) -> None:
        """See `Ops`."""
        takes = takes_experts(x.dtype, x.shape[0], experts, rule)
        if not (takes and self._expert_memory.are_alike(experts)):
            ReferenceOps.experts(self, out, x, scores, experts, rule)
            return
        num_tokens, hidden = x.shape
        gate_up, down = experts[0].gate_up, experts[0].down
        inter = down.num_inputs
        memory = self._expert_memory.rows(x, inter, len(experts), rule.num_used)
        self._call(
            "Experts",
            output=out.data_ptr(),
            x=x.data_ptr(),
            scores=scores.data_ptr(),
            experts=self.addresses(experts).data_ptr(),
            num_tokens=num_tokens,
            hidden=hidden,
            inter=inter,
            num_experts=len(experts),
            num_used=rule.num_used,
            over_chosen=rule.chooses_first or rule.is_normalised,
            activation=ACTIVATION_CODES[rule.activation],
            gate_up_groups=num_groups(gate_up),
            down_groups=num_groups(down),
            dtype=DTYPE_CODES[x.dtype],
            weight_dtype=_dtype_code(down),
            **{name: tensor.data_ptr() for name, tensor in memory.items()},
        )

    def _slots_of(self, cache: LayerCache) -> dict[str, int]:
        return {"num_slots": cache.num_slots}

    def addresses(self, experts: Sequence[Expert]) -> Tensor:
        """See `NativeOps`; those of a layer are brought to the device once."""
        return self._expert_memory.addresses(experts, super().addresses, experts[0].down.data.device)

    def paged_attention(
        self, out: Tensor, query: Tensor, cache: LayerCache, sequences: PagedSequences, rule: AttentionRule
    ) -> None:
        """See `Ops`."""
        if not takes_attention(query, cache):
            ReferenceOps.paged_attention(self, out, query, cache, sequences, rule)
            return
        num_seqs, num_heads, num_kv_heads = len(sequences.lens), query.shape[1], cache.keys.shape[2]
        self._call(
            "PagedAttention",
            **attention_arguments(out, query, cache, sequences, rule),
            **self._splits.arguments(num_seqs, num_heads, num_kv_heads),
            num_tokens=query.shape[0],
            parts=sequences.has_decodes + 2 * sequences.has_prefills,
        )


def _dtype_code(weight: LinearWeight) -> int:
    return DTYPE_CODES[torch.float8_e4m3fn if is_fp8(weight) else weight.data.dtype]


def takes_heads(dtype: torch.dtype, head_dim: int) -> bool:
    """Whether the CUDA kernels of attention take heads: 16-bit numbers, a size of 64, 80, 96, 128 or
    256. Sequences, blocks and rules may be any.
    """
    return dtype in (torch.bfloat16, torch.float16) and head_dim in (64, 80, 96, 128, 256)


def takes_attention(query: Tensor, cache: LayerCache) -> bool:
    """Whether they take these tensors: rows also begin at multiples of 16 bytes."""
    return (
        takes_heads(query.dtype, query.shape[2])
        and cache.keys.dtype in (query.dtype, torch.float8_e4m3fn)
        and query.stride(0) % 8 == 0
        and query.data_ptr() % 16 == 0
    )


@cache
def has_cuda_kernels(device: int) -> bool:
    """Whether the kernels are compiled, and run on the CUDA device of that number."""
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
    if device.type == "cuda" and has_cuda_kernels(device.index or 0):
        properties = torch.cuda.get_device_properties(device)
        return CudaOps(device, properties.multi_processor_count)
    return ReferenceOps()
