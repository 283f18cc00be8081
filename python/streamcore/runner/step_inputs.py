"""The columns that the engine writes a plan into, and their way to the device."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamcore.kernels import PagedSequences
from streamcore.runner.masks import MaskInputs
from streamcore.runner.penalties import BiasInputs, PenaltyInputs
from streamcore.runner.plan import StepPlan
from streamcore.runner.rows import DTYPES, Rows
from streamcore.runner.sampler import SamplingColumns
from streamcore.runner.scores import ScoreInputs

# What few plans need, or little of each time, and how much of it a plan fills: behind the others, copied one by one and
# only then.
_RARE = {
    "block_places": "num_block_updates",
    "block_ids": "num_block_updates",
    "counted_indices": "num_counted_tokens",
    "counted_rows": "num_counted_tokens",
    "counted_as_output": "num_counted_tokens",
    "penalised_samples": "num_penalised_samples",
    "masked_samples": "num_masked_samples",
    "mask_words": "num_masked_samples",
    "bias_samples": "num_biases",
    "bias_tokens": "num_biases",
    "bias_values": "num_biases",
    "scored_samples": "num_scored_samples",
    "scored_indices": "num_scored_tokens",
    "scored_targets": "num_scored_tokens",
}
# Columns begin on cache lines of their own.
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class StepInputs:
    """One step on the device."""

    token_ids: Tensor
    """int32 [num_tokens + num_padding]"""
    positions: Tensor
    """int32 [num_tokens + num_padding]"""
    slot_mapping: Tensor
    """int64 [num_tokens + num_padding], block id times block size plus offset"""
    sequences: PagedSequences
    logits_indices: Tensor
    """int32 [num_samples]"""
    sample_rows: Tensor
    """int32 [num_samples], where each sampled token is kept for the next step"""
    device_token_indices: Tensor
    """int32 [num_device_tokens], which of `token_ids` are still to be filled in"""
    device_token_rows: Tensor
    """int32 [num_device_tokens], the rows that hold them"""
    sampling: SamplingColumns
    device_sampling: SamplingColumns
    """The same on the device."""
    penalties: PenaltyInputs | None
    """None if no token is counted"""
    masks: MaskInputs | None
    biases: BiasInputs | None
    scores: ScoreInputs | None

    def wanted(self) -> Tensor:
        """Which tokens' logits are needed: those of the samples, then of the scored prompt tokens; int32."""
        if self.scores is None or not len(self.scores.indices):
            return self.logits_indices
        return torch.cat([self.logits_indices, self.scores.indices])


class StepBuffers:
    """One set of columns: written by the engine, read by one step at a time.

    The columns lie in one piece of memory, those that each plan fills in front, so that they go to the device in
    one copy; what few plans need comes after that and is copied by itself. On CUDA that memory is pinned, so that
    the copies are queued without waiting, and the set must not be written again before its step is complete. On the
    CPU the step reads the columns themselves.
    """

    def __init__(self, columns: Sequence[tuple[str, str, int]], device: torch.device) -> None:
        """Allocates the columns, given as the engine lists them: name, type, length."""
        in_memory = sorted(columns, key=lambda column: column[0] in _RARE)
        places, num_bytes = {}, 0
        for name, dtype, length in in_memory:
            places[name] = (num_bytes, DTYPES[dtype], length)
            num_bytes += -(-length * DTYPES[dtype].itemsize // _ALIGNMENT) * _ALIGNMENT
        self._num_common_bytes = min(places[name][0] for name in _RARE if name in places)
        self._host_memory = torch.zeros(num_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._device_memory = self._host_memory.to(device)

        def carve(memory: Tensor) -> dict[str, Tensor]:
            return {
                name: memory[start : start + length * dtype.itemsize].view(dtype)
                for name, (start, dtype, length) in places.items()
            }

        self._host = carve(self._host_memory)
        self._resident = self._host if device.type == "cpu" else carve(self._device_memory)
        self._order = [name for name, _, _ in columns]

    def addresses(self) -> list[tuple[int, int]]:
        """Address and length, in elements, of each column in the engine's order."""
        return [(self._host[name].data_ptr(), self._host[name].numel()) for name in self._order]

    def column(self, name: str) -> Tensor:
        """A whole column on the host."""
        return self._host[name]

    def places(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor, PagedSequences, Tensor]:
        """Where steps find their token ids, positions, slots, sequences and wanted tokens, on the device: whole columns."""
        resident = self._resident
        sequences = PagedSequences(
            rows.block_tables, resident["seq_rows"], resident["context_lens"], resident["query_starts"]
        )
        columns = (resident["token_ids"], resident["positions"], resident["slot_mapping"])
        return *columns, sequences, resident["logits_indices"]

    def inputs(self, plan: StepPlan, rows: Rows) -> StepInputs:
        """What a plan fills of the columns, on the device, and what it leaves as it is in the rows.

        First brings the rows up to date. Copies are queued on the current stream.
        """
        host, resident = self._host, self._resident
        if resident is not host:
            common = self._device_memory[: self._num_common_bytes]
            common.copy_(self._host_memory[: self._num_common_bytes], non_blocking=True)
        self._update(rows, plan)
        num_tokens, num_seqs = plan.num_tokens + plan.num_padding, plan.num_seqs + plan.num_padding
        sequences = PagedSequences(
            rows.block_tables,
            resident["seq_rows"][:num_seqs],
            resident["context_lens"][:num_seqs],
            resident["query_starts"][: num_seqs + 1],
            host_context_lens=host["context_lens"][:num_seqs],
            host_query_starts=host["query_starts"][: num_seqs + 1],
        )
        sampling = SamplingColumns.of(rows.host_parameters, host, plan.num_samples)
        device_sampling = sampling
        if resident is not host:
            device_sampling = SamplingColumns.of(rows.parameters, resident, plan.num_samples)
        return StepInputs(
            token_ids=resident["token_ids"][:num_tokens],
            positions=resident["positions"][:num_tokens],
            slot_mapping=resident["slot_mapping"][:num_tokens],
            sequences=sequences,
            logits_indices=resident["logits_indices"][: plan.num_samples],
            sample_rows=resident["sample_rows"][: plan.num_samples],
            device_token_indices=resident["device_token_indices"][: plan.num_device_tokens],
            device_token_rows=resident["device_token_rows"][: plan.num_device_tokens],
            sampling=sampling,
            device_sampling=device_sampling,
            penalties=self._penalties(plan, rows) if plan.num_counted_tokens else None,
            masks=self._masks(plan) if plan.num_masked_samples else None,
            biases=self._biases(plan) if plan.num_biases else None,
            scores=self._scores(plan) if plan.num_scored_samples or plan.num_scored_tokens else None,
        )

    def _update(self, rows: Rows, plan: StepPlan) -> None:
        if plan.num_new_rows:
            rows.set_parameters(self._host, self._resident, plan.num_new_rows)
        if plan.num_block_updates:
            rows.set_blocks(self._rare("block_places", plan), self._rare("block_ids", plan))

    def _penalties(self, plan: StepPlan, rows: Rows) -> PenaltyInputs:
        return PenaltyInputs(
            new_rows=self._resident["new_rows"][: plan.num_new_rows],
            counted_indices=self._rare("counted_indices", plan),
            counted_rows=self._rare("counted_rows", plan),
            counted_as_output=self._rare("counted_as_output", plan),
            samples=self._rare("penalised_samples", plan),
            sample_rows=self._resident["sample_rows"][: plan.num_samples],
            repetition=rows.parameters["repetition_penalty"],
            frequency=rows.parameters["frequency_penalty"],
            presence=rows.parameters["presence_penalty"],
        )

    def _masks(self, plan: StepPlan) -> MaskInputs:
        # One mask for each sequence that runs, in one column.
        num_words = self._host["mask_words"].numel() // self._host["masked_samples"].numel()
        words = self._rare("mask_words", plan, num_words)
        return MaskInputs(samples=self._rare("masked_samples", plan), words=words.view(-1, num_words))

    def _biases(self, plan: StepPlan) -> BiasInputs:
        return BiasInputs(
            samples=self._rare("bias_samples", plan),
            tokens=self._rare("bias_tokens", plan),
            values=self._rare("bias_values", plan),
        )

    def _scores(self, plan: StepPlan) -> ScoreInputs:
        return ScoreInputs(
            samples=self._rare("scored_samples", plan),
            indices=self._rare("scored_indices", plan),
            targets=self._rare("scored_targets", plan),
            num_top=plan.max_top_logprobs,
        )

    def _rare(self, name: str, plan: StepPlan, width: int = 1) -> Tensor:
        length: int = getattr(plan, _RARE[name]) * width
        column = self._resident[name][:length]
        if self._resident is not self._host:
            column.copy_(self._host[name][:length], non_blocking=True)
        return column
