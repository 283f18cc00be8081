"""Runs step plans: forward pass and sampling, two steps deep on CUDA.

    loan       the columns that the engine writes the next plan into
    launch()   queues the step on the device
    collect()  waits for the oldest step and returns its tokens and log-probabilities

A sequence's newest token stays on the device, in the sequence's row, so that the next step can be
launched before the host has seen it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamcore import _core
from streamcore.kernels import LayerCache
from streamcore.models.model import Model, Recording
from streamcore.runner.columns import Columns, PlanColumns
from streamcore.runner.device_sampler import DeviceSampler
from streamcore.runner.graphs import DecodeGraphs
from streamcore.runner.masks import MaskInputs, apply_masks
from streamcore.runner.penalties import BiasInputs, add_biases
from streamcore.runner.placement import Placement
from streamcore.runner.sampler import sample
from streamcore.runner.scores import ScoreInputs, Scores, score, score_prompt, score_samples
from streamcore.runner.state import RowState
from streamcore.step import NOT_FINITE

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class StepOutput:
    """The results of a step, on the CPU."""

    tokens: Tensor
    """int32 [num_samples], in the order of the plan's samples"""
    scores: Scores | None
    """None if the plan scores nothing"""

    def places(self) -> tuple[Place, tuple[Place, Place, Place] | None]:
        """Address and number of elements of each column, as the engine takes them back."""
        scores = self.scores
        if scores is None:
            return _place(self.tokens), None
        return _place(self.tokens), (
            _place(scores.logprobs),
            _place(scores.top_ids),
            _place(scores.top_logprobs),
        )


def _is_plain(plan: _core.StepPlan) -> bool:
    """Whether a plan is a forward pass and draws by the parameters of rows, and no more."""
    return not (
        plan.num_scored_tokens
        or plan.num_scored_samples
        or plan.num_counted_tokens
        or plan.num_penalised_samples
        or plan.num_masked_samples
        or plan.num_biases
    )


def _place(column: Tensor) -> Place:
    return column.data_ptr(), column.numel()


class ModelRunner:
    """A model, its KV cache, and the memory between them and the engine. Belongs to one thread."""

    def __init__(
        self,
        model: Model,
        caches: Sequence[LayerCache],
        config: _core.EngineConfig,
        placement: Placement | None = None,
    ) -> None:
        """Allocates columns and rows.

        Args:
            model: ready for the sequences and steps of `config`.
            caches: one per layer, on the device of the model.
            config: the limits of the engine whose plans it will run.
            placement: how plans come to the device; None: as the model's device has it.
        """
        model.check_caches(caches)
        self._model = model
        self.caches = caches
        device = model.device
        placement = placement or Placement.of(model)
        self.depth = placement.depth
        columns = config.step_columns()
        self._columns = Columns(columns, device, self.depth, is_apart=placement.is_apart)
        self._loans = [_core.StepBuffers(config, self._columns.addresses(turn)) for turn in range(self.depth)]
        self._rows = RowState(columns, model.config.vocab_size, device)
        sampler = DeviceSampler.where_possible(model.ops, self._rows, model.config.vocab_size, device)
        self._sampler = sampler
        self._score = score if sampler is None else sampler.score
        self._score_samples = score_samples if sampler is None else sampler.score_samples
        is_cuda = device.type == "cuda"
        self._results = [
            torch.empty(self._rows.num_rows, dtype=torch.int32, pin_memory=is_cuda) for _ in range(self.depth)
        ]
        self._events = [
            torch.cuda.Event() if is_cuda else None  # type: ignore[no-untyped-call]
            for _ in range(self.depth)
        ]
        self._num_launched = 0
        self.recording = None if placement.is_apart else self._record()
        """The forward pass and a plain draw written down, None where it is computed layer by layer
        """
        if self.recording is not None:
            self._rows.write_down(self._columns)
            if sampler is not None:
                sampler.write_down(self.recording, self._columns)
        self._graphs = (
            None
            if placement.capture is None
            else DecodeGraphs(model, caches, self._columns, self._rows, placement.capture)
        )
        self._in_flight: deque[tuple[StepOutput, torch.cuda.Event | None]] = deque()

    def _record(self) -> Recording | None:
        """A forward pass over whole columns: each step has its own in the same memory."""
        resident = self._columns.resident
        kv = [self._rows.whole_kv(self.caches, self._columns)]
        return self._model.record(
            resident["token_ids"], resident["positions"], kv, resident["logits_indices"]
        )

    @property
    def loan(self) -> _core.StepBuffers:
        """The columns that the next plan must be written into; no step in flight reads them."""
        assert len(self._in_flight) < self.depth, "a step must be collected before another is planned"
        return self._loans[self._turn]

    @property
    def _turn(self) -> int:
        return self._num_launched % self.depth

    def launch(self, plan: _core.StepPlan) -> None:
        """Queues the step whose plan is in `loan`. On the CPU it has run when this returns."""
        turn = self._turn
        self._num_launched += 1
        columns = self._columns.upload(turn, plan)
        if self._sampler is not None and self.recording is not None and _is_plain(plan):
            self._rows.update(columns)
            self._run_recording(self.recording, plan, plan.num_samples)
            output = StepOutput(self._sampler.drawn(plan.num_samples), None)
        else:
            output = self._launch(columns, turn)
        event = self._events[turn]
        if event is not None:
            event.record(torch.cuda.current_stream(self._model.device))
        self._in_flight.append((output, event))

    @torch.inference_mode()
    def _launch(self, columns: PlanColumns, turn: int) -> StepOutput:
        self._rows.update(columns)
        tokens, scores = self._run(columns, turn)
        return StepOutput(tokens, Scores.concatenate(scores) if scores else None)

    @staticmethod
    def _run_recording(recording: Recording, plan: _core.StepPlan, num_drawn: int) -> Tensor:
        num_padding = plan.num_padding
        num_tokens, num_seqs = plan.num_tokens + num_padding, plan.num_seqs + num_padding
        return recording.run(num_tokens, num_seqs, plan.num_samples, num_drawn)

    def _run(self, columns: PlanColumns, turn: int) -> tuple[Tensor, list[Scores]]:
        """Computes and draws; the tokens are on their way to the host."""
        plan = columns.plan
        logits, scored = self._forward(columns)
        is_scored = plan.num_scored_samples or plan.num_scored_tokens
        inputs = ScoreInputs.of(columns) if is_scored else None
        scores: list[Scores] = []
        results = self._results[turn][: plan.num_samples]
        if logits is not None:
            tokens, drawn = self._draw(logits, columns)
            # Of one step at a time the host has the tokens before the next.
            if self.depth > 1:
                self._rows.keep(columns, tokens)
                results.copy_(drawn, non_blocking=True)
            else:
                results = drawn
            if inputs is not None:
                scores += self._score_samples(logits, tokens, inputs)
        if inputs is not None and scored is not None:
            scores += score_prompt(self._model, scored, inputs, self._score)
        return results, scores

    def _forward(self, columns: PlanColumns) -> tuple[Tensor | None, Tensor | None]:
        """The logits of the samples, and what those of the scored prompt tokens are made of; None
        where there are none.

        Prompt tokens are scored in pieces, which no recording has.
        """
        plan = columns.plan
        if self.recording is not None and not plan.num_scored_tokens:
            logits = self._run_recording(self.recording, plan, 0)
            return logits if plan.num_samples else None, None
        if self._graphs is not None and self._graphs.takes(plan):
            return self._graphs.run(plan), None
        wanted = columns["logits_indices"]
        if plan.num_scored_tokens:
            wanted = torch.cat([wanted, columns["scored_indices"]])
        kv = [self._rows.kv(self.caches, columns)]
        hidden = self._model.forward(columns["token_ids"], columns["positions"], kv, wanted)
        scored = hidden[plan.num_samples :] if plan.num_scored_tokens else None
        return self._model.logits(hidden[: plan.num_samples]) if plan.num_samples else None, scored

    def _draw(self, logits: Tensor, columns: PlanColumns) -> tuple[Tensor, Tensor]:
        """Returns the tokens of the samples, and the results for the host."""
        if self._sampler is not None:
            return self._sampler.draw(logits, columns)
        tokens = sample(self._changed(logits, columns), *self._rows.sampling(columns))
        # A sum is finite if all its terms are: finite logits are far too small to overflow it.
        is_finite = logits.sum(dim=-1).isfinite()
        return tokens, torch.where(is_finite, tokens, NOT_FINITE)

    def _changed(self, logits: Tensor, columns: PlanColumns) -> Tensor:
        """The logits with penalties, biases and masks. The model's own stay as they are, for the
        log-probabilities.
        """
        plan = columns.plan
        if not (plan.num_penalised_samples or plan.num_biases or plan.num_masked_samples):
            return logits
        logits = logits.clone()
        if plan.num_penalised_samples:
            self._rows.penalise(logits, columns)
        if plan.num_biases:
            add_biases(logits, BiasInputs.of(columns))
        if plan.num_masked_samples:
            apply_masks(logits, MaskInputs.of(columns))
        return logits

    def collect(self) -> StepOutput:
        """Waits for the oldest step in flight; its results are valid until the columns are used
        again.
        """
        output, event = self._in_flight.popleft()
        if event is not None:
            event.synchronize()
        return output

    def execute(self, plan: _core.StepPlan) -> StepOutput:
        """Runs one step alone: `launch` and `collect`."""
        self.launch(plan)
        return self.collect()
