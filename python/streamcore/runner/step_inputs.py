"""The columns that the engine writes a plan into, and their way to the device."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamcore.layers.attention import AttentionInputs
from streamcore.runner.plan import StepPlan
from streamcore.runner.sampler import SamplingColumns

_DTYPES = {"int32": torch.int32, "int64": torch.int64, "float32": torch.float32}


@dataclass(frozen=True, slots=True)
class StepInputs:
    """One step on the device."""

    token_ids: Tensor
    """int32 [num_tokens]"""
    attention: AttentionInputs
    logits_indices: Tensor
    """int32 [num_samples]"""
    sample_rows: Tensor
    """int32 [num_samples], where each sampled token is kept for the next step"""
    device_token_indices: Tensor
    """int32 [num_device_tokens], which of `token_ids` are still to be filled in"""
    device_token_rows: Tensor
    """int32 [num_device_tokens], the rows that hold them"""
    sampling: SamplingColumns


class StepBuffers:
    """One set of columns: written by the engine, read by one step at a time.

    On CUDA the columns are pinned, so that the copies of a step are queued without waiting, and the set must
    not be written again before that step is complete. On the CPU the step reads the columns themselves.
    """

    def __init__(self, columns: Sequence[tuple[str, str, int]], device: torch.device) -> None:
        """Allocates the columns, given as the engine lists them: name, type, length."""
        pinned = device.type == "cuda"
        self._device = device
        self._host = {
            name: torch.zeros(length, dtype=_DTYPES[dtype], pin_memory=pinned)
            for name, dtype, length in columns
        }
        self._resident = {
            name: column if device.type == "cpu" else torch.empty_like(column, device=device)
            for name, column in self._host.items()
        }

    def addresses(self) -> list[tuple[int, int]]:
        """Address and length, in elements, of each column in the engine's order."""
        return [(column.data_ptr(), column.numel()) for column in self._host.values()]

    def column(self, name: str) -> Tensor:
        """A whole column on the host."""
        return self._host[name]

    def inputs(self, plan: StepPlan) -> StepInputs:
        """What a plan fills of the columns, on the device; copies are queued on the current stream."""
        block_tables = self._move("block_tables", plan.num_seqs * plan.block_table_stride)
        attention = AttentionInputs(
            positions=self._move("positions", plan.num_tokens),
            slot_mapping=self._move("slot_mapping", plan.num_tokens),
            block_tables=block_tables.view(plan.num_seqs, plan.block_table_stride),
            context_lens=self._move("context_lens", plan.num_seqs),
            query_starts=self._move("query_starts", plan.num_seqs + 1),
            max_query_len=plan.max_query_len,
            max_context_len=plan.max_context_len,
        )
        return StepInputs(
            token_ids=self._move("token_ids", plan.num_tokens),
            attention=attention,
            logits_indices=self._move("logits_indices", plan.num_samples),
            sample_rows=self._move("sample_rows", plan.num_samples),
            device_token_indices=self._move("device_token_indices", plan.num_device_tokens),
            device_token_rows=self._move("device_token_rows", plan.num_device_tokens),
            sampling=SamplingColumns(
                temperature=self._host["temperature"][: plan.num_samples],
                top_k=self._host["top_k"][: plan.num_samples],
                top_p=self._host["top_p"][: plan.num_samples],
                uniform=self._host["uniform"][: plan.num_samples],
            ),
        )

    def _move(self, name: str, length: int) -> Tensor:
        resident = self._resident[name][:length]
        if self._device.type != "cpu":
            resident.copy_(self._host[name][:length], non_blocking=True)
        return resident
