"""Draws tokens with the kernel of a CUDA device."""

import torch
from torch import Tensor

from streamcore.kernels.native import MAX_SAMPLED_VOCABULARY, CudaOps
from streamcore.kernels.ops import Ops
from streamcore.runner.columns import PlanColumns
from streamcore.runner.masks import MaskInputs
from streamcore.runner.state import RowState
from streamcore.step import NOT_FINITE


class DeviceSampler:
    """Masks and draws in one launch, by the parameters that lie on the device."""

    def __init__(self, ops: CudaOps, rows: RowState, device: torch.device) -> None:
        """Allocates what is drawn."""
        self._ops = ops
        self._rows = rows
        self._tokens, self._results = torch.empty(2, rows.num_rows, dtype=torch.int32, device=device)

    @classmethod
    def where_possible(
        cls, ops: Ops, rows: RowState, vocab_size: int, device: torch.device
    ) -> "DeviceSampler | None":
        """None where the operations have no such kernel, or the vocabulary is too large for it."""
        if not isinstance(ops, CudaOps) or vocab_size > MAX_SAMPLED_VOCABULARY:
            return None
        return cls(ops, rows, device)

    def draw(self, logits: Tensor, columns: PlanColumns) -> tuple[Tensor, Tensor]:
        """Returns the tokens of a plan's samples, int32 [num_samples], and the results for the host:
        `NOT_FINITE` for a row whose logits are no finite numbers. Valid until the next call.
        """
        num_samples = logits.shape[0]
        tokens, results = self._tokens[:num_samples], self._results[:num_samples]
        masks = MaskInputs.of(columns) if columns.plan.num_masked_samples else None
        self._ops.sample(
            tokens,
            results,
            logits,
            self._rows.parameters,
            columns["sample_rows"],
            columns["uniform"],
            None if masks is None else (masks.samples, masks.words),
            NOT_FINITE,
        )
        return tokens, results
