"""Steps of decodes that were captured once for each number of sequences, and are replayed in one
call.

A captured step has its inputs in the resident columns, its state in the rows and the cache, and its
logits in memory of its own. The engine fills steps up to the captured sizes; rows of padding see
one key and store nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from streamcore import _core
from streamcore.kernels import KvGroup, LayerCache, PagedSequences
from streamcore.kernels.few_rows import MAX_TOKENS_OF_EXPERTS
from streamcore.models.model import Model
from streamcore.runner.columns import Columns
from streamcore.runner.placement import Capture, Replay
from streamcore.runner.state import RowState


class DecodeGraphs:
    """Captured steps of a model. A size is captured when it has come up once."""

    def __init__(
        self, model: Model, caches: Sequence[LayerCache], columns: Columns, rows: RowState, capture: Capture
    ) -> None:
        """Captures nothing yet."""
        self._model = model
        self._caches = caches
        self._columns = columns
        self._rows = rows
        self._capture = capture
        self._captured: dict[int, Replay] = {}
        self._logits: Tensor | None = None
        self.num_replays = 0

    def takes(self, plan: _core.StepPlan) -> bool:
        """Whether a plan is one token of each sequence, all of which are drawn from, and no more
        of them than the kernels choose experts for.
        """
        size = plan.num_seqs + plan.num_padding
        if self._model.has_experts and size > MAX_TOKENS_OF_EXPERTS:
            return False
        return (
            plan.num_tokens == plan.num_seqs == plan.num_samples
            and plan.num_samples > 0
            and not plan.num_scored_tokens
        )

    def run(self, plan: _core.StepPlan) -> Tensor:
        """The logits of a plan that is in the resident columns, float32 [num_samples, vocab_size];
        valid until the next step.
        """
        size = plan.num_seqs + plan.num_padding
        replay = self._captured.get(size)
        if replay is None:
            self._run_and_capture(size)
        else:
            replay()
            self.num_replays += 1
        return self._all_logits()[: plan.num_samples]

    def _all_logits(self) -> Tensor:
        """float32 [num_rows, vocab_size], one place for the steps of all sizes."""
        if self._logits is None:
            shape = (self._rows.num_rows, self._model.config.vocab_size)
            self._logits = torch.empty(shape, dtype=torch.float32, device=self._model.device)
        return self._logits

    def _run_and_capture(self, size: int) -> None:
        """Runs a step as it is, which sets up what must not be set up within a capture, then
        captures it without running it.
        """
        resident = self._columns.resident
        # The kernels read lengths on the device. The host needs only how many sequences have
        # one token: all of them.
        starts = torch.arange(size + 1, dtype=torch.int32)
        sequences = PagedSequences(
            self._rows.block_tables,
            resident["seq_rows"][:size],
            resident["context_lens"][:size],
            resident["query_starts"][: size + 1],
            host_context_lens=torch.ones(size, dtype=torch.int32),
            host_query_starts=starts,
        )
        wanted = starts[:size].to(self._model.device)
        kv = [KvGroup(self._caches, resident["slot_mapping"][:size], sequences)]

        logits = self._all_logits()[:size]

        def step() -> None:
            token_ids, positions = resident["token_ids"][:size], resident["positions"][:size]
            logits.copy_(self._model.logits(self._model.forward(token_ids, positions, kv, wanted)))

        step()
        replay = self._capture(step)

        def replayed() -> None:
            # `step` holds what the captured one reads.
            assert step is not None
            replay()

        self._captured[size] = replayed
