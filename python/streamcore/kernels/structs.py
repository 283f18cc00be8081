"""`Ops` as one struct of arguments each: tensors become addresses, sizes and strides here and
nowhere else.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from streamcore.kernels.grouped import form_struct
from streamcore.kernels.library import DTYPE_CODES, OPERATIONS, Operation
from streamcore.kernels.paged import LayerCache, PagedSequences
from streamcore.kernels.reference import ReferenceOps
from streamcore.kernels.weight import LinearWeight
from streamcore.operands import Activation, AttentionRule, Expert, ExpertRule, HeadNorms, Rotation

ACTIVATION_CODES = {"silu": 0, "gelu_tanh": 1, "clamped": 2}
"""As the kernels number them."""


def address(tensor: Tensor | None) -> int:
    """That of a tensor's first element, 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()


class NativeOps(ReferenceOps):
    """Operations that are one struct of arguments each; `run` says what carries them out."""

    operations = OPERATIONS
    """By name, those that `run` takes."""

    def run(self, operation: Operation, num_rows: int, arguments: ctypes.Structure) -> None:
        """Carries an operation out; `num_rows` is the number of rows in its arguments."""
        raise NotImplementedError

    def _call(self, name: str, **arguments: Any) -> None:
        operation = self.operations[name]
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

    def soft_cap(self, x: Tensor, cap: float) -> None:
        """See `Ops`."""
        num_rows, width = x.shape
        dtype = DTYPE_CODES[x.dtype]
        self._call("SoftCap", x=x.data_ptr(), num_rows=num_rows, width=width, cap=cap, dtype=dtype)

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
            residual=address(residual),
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
            activation=ACTIVATION_CODES[activation],
            dtype=DTYPE_CODES[out.dtype],
        )

    def linear(self, out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None) -> None:
        """See `Ops`."""
        first = 0
        for part in weight.parts:
            outputs = slice(first, first + part.num_outputs)
            self.linear(out[:, outputs], x, part, None if bias is None else bias[outputs])
            first = outputs.stop
        if not weight.parts:
            self.multiply(out, x, weight, bias)

    def multiply(self, out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None) -> None:
        """`Ops.linear` by a weight that is not in parts."""
        if weight.packed:
            self._multiply_packed(out, x, weight, bias)
        else:
            super().linear(out, x, weight, bias)

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
        if weight.packed and not weight.parts:
            code = 1 + ACTIVATION_CODES[activation]
            self._multiply_packed(out, x, weight, bias, gate_up=gate_up.data_ptr(), activation=code)
        else:
            super().gated_linear(out, gate_up, x, weight, bias, activation)

    def _multiply_packed(
        self, out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None, **gate: int
    ) -> None:
        self._call(
            "Linear",
            **product_arguments(out, x, weight, bias),
            packed=weight.data.data_ptr(),
            output_stride=out.stride(0),
            weight_dtype=DTYPE_CODES[torch.bfloat16 if weight.form else weight.data.dtype],
            round_x=weight.round_x,
            quantize_x=weight.quantize_x,
            form=_form(weight),
            **gate,
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
            query_factors=address(rotation.query_factors),
            query_norm=0 if norms is None else norms.query.data_ptr(),
            key_norm=0 if norms is None else norms.key.data_ptr(),
            positions=positions.data_ptr(),
            slot_mapping=slot_mapping.data_ptr(),
            **self._slots_of(cache),
            key_cache=cache.keys.data_ptr(),
            value_cache=cache.values.data_ptr(),
            eps=0.0 if norms is None else norms.eps,
            dtype=DTYPE_CODES[query.dtype],
            cache_dtype=DTYPE_CODES[cache.keys.dtype],
        )

    def _slots_of(self, cache: LayerCache) -> dict[str, int]:
        """How many slots there are, and where."""
        num_blocks, block_size = cache.keys.shape[:2]
        return {"num_blocks": num_blocks, "block_size": block_size, "block_stride": cache.keys.stride(0)}

    def paged_attention(
        self, out: Tensor, query: Tensor, cache: LayerCache, sequences: PagedSequences, rule: AttentionRule
    ) -> None:
        """See `Ops`."""
        self._call(
            "PagedAttention",
            **attention_arguments(out, query, cache, sequences, rule),
            num_tokens=query.shape[0],
            num_table_rows=sequences.block_tables.shape[0],
            num_blocks=cache.keys.shape[0],
            block_stride=cache.keys.stride(0),
        )

    def experts(
        self, out: Tensor, x: Tensor, scores: Tensor, experts: Sequence[Expert], rule: ExpertRule
    ) -> None:
        """See `Ops`."""
        weight = experts[0].gate_up
        if not weight.packed or not are_alike(experts):
            super().experts(out, x, scores, experts, rule)
            return
        addresses = self.addresses(experts)
        num_tokens, hidden = x.shape
        self._call(
            "Experts",
            output=out.data_ptr(),
            x=x.data_ptr(),
            scores=scores.data_ptr(),
            experts=addresses.data_ptr(),
            num_tokens=num_tokens,
            hidden=hidden,
            inter=weight.num_outputs // 2,
            num_experts=len(experts),
            num_used=rule.num_used,
            over_chosen=rule.chooses_first or rule.is_normalised,
            activation=ACTIVATION_CODES[rule.activation],
            weight_dtype=DTYPE_CODES[torch.bfloat16 if weight.form else weight.data.dtype],
            round_x=weight.round_x,
            quantize_x=weight.quantize_x,
            is_grouped=weight.form is not None,
        )

    def addresses(self, experts: Sequence[Expert]) -> Tensor:
        """int64 [num_experts, 6]: where weight, bias and form of the products of each are."""
        return torch.tensor(
            [
                [
                    number
                    for weight, bias in (
                        (expert.gate_up, expert.gate_up_bias),
                        (expert.down, expert.down_bias),
                    )
                    for number in (weight.data.data_ptr(), address(bias), _form(weight))
                ]
                for expert in experts
            ]
        )


def are_alike(experts: Sequence[Expert]) -> bool:
    """Whether all weights are in groups, each of one form, or none."""
    weights = [weight for expert in experts for weight in (expert.gate_up, expert.down)]
    return (
        len({(weight.form is None, bool(weight.parts)) for weight in weights}) == 1 and not weights[0].parts
    )


def _form(weight: LinearWeight) -> int:
    """The address of a weight's form; 0 for one that is not in groups."""
    return 0 if weight.form is None else ctypes.addressof(form_struct(weight.form))


def product_arguments(out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None) -> dict[str, Any]:
    """What products take on every device, whatever their weights are stored in."""
    return {
        "output": out.data_ptr(),
        "x": x.data_ptr(),
        "bias": address(bias),
        "num_rows": x.shape[0],
        "num_inputs": weight.num_inputs,
        "num_outputs": weight.num_outputs,
        "x_stride": x.stride(0),
    }


def attention_arguments(
    out: Tensor, query: Tensor, cache: LayerCache, sequences: PagedSequences, rule: AttentionRule
) -> dict[str, Any]:
    """What attention takes on every device."""
    block_tables, context_lens = sequences.block_tables, sequences.context_lens
    _, block_size, num_kv_heads, head_dim = cache.keys.shape
    return {
        "output": out.data_ptr(),
        "query": query.data_ptr(),
        "key_cache": cache.keys.data_ptr(),
        "value_cache": cache.values.data_ptr(),
        "block_tables": block_tables.data_ptr(),
        "rows": sequences.rows.data_ptr(),
        "context_lens": context_lens.data_ptr(),
        "query_starts": sequences.query_starts.data_ptr(),
        "num_seqs": context_lens.shape[0],
        "num_heads": query.shape[1],
        "num_kv_heads": num_kv_heads,
        "head_dim": head_dim,
        "block_size": block_size,
        "query_stride": query.stride(0),
        "block_table_stride": block_tables.stride(0),
        "scale": rule.scale,
        "window": rule.window,
        "sinks": address(rule.sinks),
        "soft_cap": rule.soft_cap,
        "dtype": DTYPE_CODES[query.dtype],
        "cache_dtype": DTYPE_CODES[cache.keys.dtype],
    }
