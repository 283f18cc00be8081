"""`Ops` that looks at every argument before it passes it on: a wrong one raises `ValueError`
instead of touching foreign memory.

The kernel tests run on it, and a whole server with `STREAMCORE_CHECK=1`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from streamcore.kernels import checks
from streamcore.kernels.ops import Ops
from streamcore.kernels.paged import LayerCache, PagedSequences
from streamcore.kernels.weight import LinearWeight
from streamcore.operands import Activation, AttentionRule, Expert, ExpertRule, HeadNorms, Rotation


class Checked:
    """Checks, then the operations of another object."""

    def __init__(self, ops: Ops) -> None:
        self._ops = ops

    @property
    def reads_blocks_apart(self) -> bool:
        """See `Ops`."""
        return self._ops.reads_blocks_apart

    def embed(self, out: Tensor, token_ids: Tensor, table: Tensor, factor: float) -> None:
        """See `Ops`."""
        _packed_rows("out", out)
        _packed_rows("table", table)
        checks.vector("token_ids", token_ids, out.shape[0], torch.int32, out)
        if table.shape[1] != out.shape[1] or not _is_narrow_or_same(table, out):
            raise ValueError(f"`table` {checks.describe(table)} does not match `out` {checks.describe(out)}")
        self._ops.embed(out, token_ids, table, factor)

    def take(self, out: Tensor, x: Tensor, rows: Tensor) -> None:
        """See `Ops`."""
        _packed_rows("out", out)
        _packed_rows("x", x)
        checks.same_kind("x", x, out)
        checks.vector("rows", rows, out.shape[0], torch.int32, out)
        if x.shape[1] != out.shape[1]:
            raise ValueError(f"`x` must be {out.shape[1]} wide, got {x.shape[1]}")
        self._ops.take(out, x, rows)

    def add(self, total: Tensor, x: Tensor) -> None:
        """See `Ops`."""
        _packed_rows("total", total)
        _packed_rows("x", x)
        _same_shape("x", x, total)
        self._ops.add(total, x)

    def scale(self, x: Tensor, factor: float) -> None:
        """See `Ops`."""
        _packed_rows("x", x)
        self._ops.scale(x, factor)

    def soft_cap(self, x: Tensor, cap: float) -> None:
        """See `Ops`."""
        _packed_rows("x", x)
        self._ops.soft_cap(x, cap)

    def rms_norm(self, out: Tensor, x: Tensor, weight: Tensor, eps: float) -> None:
        """See `Ops`."""
        _check_norm(out, x, weight)
        self._ops.rms_norm(out, x, weight, eps)

    def add_rms_norm(self, out: Tensor, x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> None:
        """See `Ops`."""
        _check_norm(out, x, weight)
        checks.rows("residual", residual)
        _same_shape("residual", residual, x)
        self._ops.add_rms_norm(out, x, residual, weight, eps)

    def gated(self, out: Tensor, gate_up: Tensor, activation: Activation) -> None:
        """See `Ops`."""
        _check_gated(out, gate_up)
        self._ops.gated(out, gate_up, activation)

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
        _check_linear(out, x, weight, bias, num_halves=2)
        _packed_rows("gate_up", gate_up)
        checks.same_kind("gate_up", gate_up, x)
        _check_shape("gate_up", gate_up, [x.shape[0], weight.gate_up_width])
        self._ops.gated_linear(out, gate_up, x, weight, bias, activation)

    def linear(self, out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None) -> None:
        """See `Ops`."""
        _check_linear(out, x, weight, bias)
        self._ops.linear(out, x, weight, bias)

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
        checks.heads("query", query)
        checks.heads("key", key)
        checks.heads("value", value)
        checks.same_kind("key", key, query)
        checks.same_kind("value", value, query)
        num_tokens, num_kv_heads, head_dim = key.shape
        if value.shape != key.shape or query.shape[0] != num_tokens or query.shape[2] != head_dim:
            raise ValueError(
                f"query {list(query.shape)}, key {list(key.shape)} and value {list(value.shape)} do not match"
            )
        checks.caches(cache.keys, cache.values, query, may_be_apart=self.reads_blocks_apart)
        if cache.keys.shape[2] != num_kv_heads:
            raise ValueError(f"caches have {cache.keys.shape[2]} heads, `key` has {num_kv_heads}")
        checks.rotary_table(rotation.cos_sin, head_dim, query.device)
        if rotation.query_factors is not None:
            num_positions = rotation.cos_sin.shape[0]
            checks.vector("query_factors", rotation.query_factors, num_positions, torch.float32, query)
        if norms is not None:
            checks.vector("query norm", norms.query, head_dim, query.dtype, query)
            checks.vector("key norm", norms.key, head_dim, query.dtype, query)
        checks.vector("positions", positions, num_tokens, torch.int32, query)
        checks.vector("slot_mapping", slot_mapping, num_tokens, torch.int64, query)
        self._ops.rope_and_store_kv(query, key, value, rotation, positions, cache, slot_mapping, norms)

    def paged_attention(
        self, out: Tensor, query: Tensor, cache: LayerCache, sequences: PagedSequences, rule: AttentionRule
    ) -> None:
        """See `Ops`."""
        checks.heads("query", query)
        checks.caches(cache.keys, cache.values, query, may_be_apart=self.reads_blocks_apart)
        _same_shape("out", out, query)
        if not out.is_contiguous():
            raise ValueError(f"`out` must be contiguous, got strides {out.stride()}")
        if query.shape[1] % cache.keys.shape[2] != 0:
            raise ValueError(
                f"{query.shape[1]} query heads do not divide among {cache.keys.shape[2]} KV heads"
            )
        if sequences.context_lens.device != query.device:
            raise ValueError(f"`sequences` must be on {query.device}, got {sequences.context_lens.device}")
        if rule.sinks is not None:
            checks.vector("sinks", rule.sinks, query.shape[1], query.dtype, query)
        self._ops.paged_attention(out, query, cache, sequences, rule)

    def experts(
        self, out: Tensor, x: Tensor, scores: Tensor, experts: Sequence[Expert], rule: ExpertRule
    ) -> None:
        """See `Ops`."""
        _packed_rows("out", out)
        _packed_rows("x", x)
        _same_shape("out", out, x)
        if list(scores.shape) != [x.shape[0], len(experts)]:
            raise ValueError(f"`scores` must be {[x.shape[0], len(experts)]}, got {list(scores.shape)}")
        _packed_rows("scores", scores)
        checks.same_kind("scores", scores, x)
        if not 0 < rule.num_used <= len(experts):
            raise ValueError(f"{rule.num_used} of {len(experts)} experts cannot be used")
        for expert in experts:
            _check_expert(expert, experts[0], x)
        self._ops.experts(out, x, scores, experts, rule)


def _packed_rows(name: str, x: Tensor) -> None:
    checks.rows(name, x)
    if not x.is_contiguous():
        raise ValueError(f"`{name}` must be contiguous, got strides {x.stride()}")


def _same_shape(name: str, x: Tensor, like: Tensor) -> None:
    checks.same_kind(name, x, like)
    if x.shape != like.shape:
        raise ValueError(f"`{name}` must be {list(like.shape)}, got {list(x.shape)}")


def _check_shape(name: str, x: Tensor, expected: list[int]) -> None:
    if list(x.shape) != expected:
        raise ValueError(f"`{name}` must be {expected}, got {list(x.shape)}")


def _check_norm(out: Tensor, x: Tensor, weight: Tensor) -> None:
    checks.rows("x", x)
    checks.rows("out", out)
    _same_shape("out", out, x)
    checks.vector("weight", weight, x.shape[1], x.dtype, x)


def _check_gated(out: Tensor, gate_up: Tensor) -> None:
    _packed_rows("out", out)
    checks.rows("gate_up", gate_up)
    checks.same_kind("gate_up", gate_up, out)
    _check_shape("gate_up", gate_up, [out.shape[0], 2 * out.shape[1]])


def _check_linear(
    out: Tensor, x: Tensor, weight: LinearWeight, bias: Tensor | None, *, num_halves: int = 1
) -> None:
    """`num_halves` outputs of the weight make one of `out`."""
    _packed_rows("out", out)
    checks.rows("x", x)
    checks.same_kind("x", x, out)
    num_outputs = num_halves * out.shape[1]
    if (out.shape[0], num_outputs, weight.num_inputs) != (x.shape[0], weight.num_outputs, x.shape[1]):
        width = weight.num_outputs // num_halves
        raise ValueError(
            f"`x` must be [num_tokens, {weight.num_inputs}] and `out` [num_tokens, {width}], "
            f"got {list(x.shape)} and {list(out.shape)}"
        )
    if weight.packed and (x.dtype != torch.float32 or x.device.type != "cpu"):
        raise ValueError(f"`x` must be float32 on the CPU, got {x.dtype} on {x.device}")
    if bias is not None:
        checks.vector("bias", bias, weight.num_outputs, x.dtype, x)


def _check_expert(expert: Expert, first: Expert, x: Tensor) -> None:
    """An expert takes the rows of `x`, and is stored like the first one."""
    gate_up, down = expert.gate_up, expert.down
    sizes = (gate_up.num_inputs, down.num_outputs, 2 * down.num_inputs)
    if sizes != (x.shape[1], x.shape[1], gate_up.num_outputs):
        raise ValueError(
            f"an expert of `x` {x.shape[1]} wide cannot have products "
            f"{[gate_up.num_outputs, gate_up.num_inputs]} and {[down.num_outputs, down.num_inputs]}"
        )
    kinds = {
        (weight.form is None and weight.data.dtype, weight.packed, weight.round_x, weight.quantize_x)
        for weight in (gate_up, down, first.gate_up, first.down)
    }
    if len(kinds) > 1 or gate_up.num_outputs != first.gate_up.num_outputs:
        raise ValueError("all experts must be stored alike and have one size")
    for bias, weight in ((expert.gate_up_bias, gate_up), (expert.down_bias, down)):
        if bias is not None:
            checks.vector("bias", bias, weight.num_outputs, x.dtype, x)


def _is_narrow_or_same(x: Tensor, like: Tensor) -> bool:
    narrow = like.dtype == torch.float32 and x.dtype == torch.bfloat16 and like.device.type == "cpu"
    return x.device == like.device and (x.dtype == like.dtype or narrow)
