"""Draws and scores tokens with the kernels of the CPU or of a CUDA device."""

from collections.abc import Iterator

import torch
from torch import Tensor

from streamcore.kernels.native import CpuOps, CudaOps
from streamcore.kernels.ops import Ops
from streamcore.kernels.recorder import DRAWN
from streamcore.kernels.sampled import MAX_BIASES, MAX_SAMPLED_VOCABULARY, SampledOps
from streamcore.models.model import Recording
from streamcore.runner.columns import Columns, PlanColumns
from streamcore.runner.masks import MaskInputs
from streamcore.runner.penalties import BiasInputs
from streamcore.runner.scores import LEAST, ScoreInputs, Scores
from streamcore.runner.state import RowState
from streamcore.step import NOT_FINITE


class DeviceSampler:
    """Penalties, biases, masks and the draw in one operation, by the parameters that lie on the
    device; log-probabilities in another.
    """

    def __init__(self, ops: SampledOps, rows: RowState, device: torch.device) -> None:
        """Allocates what is drawn."""
        self._ops = ops
        self._rows = rows
        self._tokens, self._results = torch.empty(2, rows.num_rows, dtype=torch.int32, device=device)
        self._views: list[Tensor] = [self._results[:count] for count in range(rows.num_rows + 1)]

    @classmethod
    def where_possible(
        cls, ops: Ops, rows: RowState, vocab_size: int, device: torch.device
    ) -> "DeviceSampler | None":
        """None on a CUDA device whose operations have no such kernel, or with a vocabulary that is
        too large for it.
        """
        if not isinstance(ops, CudaOps):
            return cls(CpuOps(), rows, device) if device.type == "cpu" else None
        if vocab_size > MAX_SAMPLED_VOCABULARY:
            return None
        assert rows.max_biases <= MAX_BIASES, "the kernel takes fewer biases than a plan may have"
        return cls(ops, rows, device)

    def write_down(self, recording: Recording, columns: Columns) -> None:
        """Adds the draw without penalties, biases and masks to a step on the CPU that was written
        down.
        """
        recorder, resident = recording.recorder, columns.resident
        recorder.count = DRAWN
        recorder.sample(
            self._tokens,
            self._results,
            recording.logits,
            self._rows.parameters,
            resident["sample_rows"],
            resident["uniform"],
            NOT_FINITE,
        )

    def drawn(self, num_samples: int) -> Tensor:
        """The results of the last draw; see `draw`."""
        return self._views[num_samples]

    def draw(self, logits: Tensor, columns: PlanColumns) -> tuple[Tensor, Tensor]:
        """Returns the tokens of a plan's samples, int32 [num_samples], and the results for the host:
        `NOT_FINITE` for a row whose logits are no finite numbers. Valid until the next call.
        """
        plan, num_samples = columns.plan, logits.shape[0]
        tokens, results = self._tokens[:num_samples], self.drawn(num_samples)
        masks = MaskInputs.of(columns) if plan.num_masked_samples else None
        biases = BiasInputs.of(columns) if plan.num_biases else None
        self._ops.sample(
            tokens,
            results,
            logits,
            self._rows.parameters,
            columns["sample_rows"],
            columns["uniform"],
            NOT_FINITE,
            counted=self._rows.counted() if plan.num_penalised_samples else None,
            biases=None if biases is None else (biases.samples, biases.tokens, biases.values),
            masks=None if masks is None else (masks.samples, masks.words),
        )
        return tokens, results

    def score_samples(self, logits: Tensor, tokens: Tensor, inputs: ScoreInputs) -> Iterator[Scores]:
        """See `scores.score_samples`."""
        if len(inputs.samples):
            yield self.score(logits, tokens, inputs.num_top, inputs.samples)

    def score(self, logits: Tensor, targets: Tensor, num_top: int, samples: Tensor | None = None) -> Scores:
        """See `scores.score`; with `samples`, int32, only these rows."""
        num_scored = len(logits if samples is None else samples)
        width = min(num_top, logits.shape[1])
        scores = Scores(
            logits.new_empty(num_scored),
            logits.new_empty(num_scored, width, dtype=torch.int32),
            logits.new_empty(num_scored, width),
        )
        self._ops.score(scores.logprobs, scores.top_ids, scores.top_logprobs, logits, targets, samples, LEAST)
        return scores
