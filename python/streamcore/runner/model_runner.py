"""Runs step plans: forward pass and sampling, two steps deep on CUDA.

    buffers()  the columns that the engine writes the next plan into
    launch()   queues the step on the device
    collect()  waits for the oldest step and returns its tokens, and the log-probabilities that were asked for

A sequence's newest token stays on the device, in the sequence's row, so that the next step can be launched
before the host has seen it.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamcore.kernels import KvGroup, LayerCache
from streamcore.models.model import Model, Recording
from streamcore.runner.masks import apply_masks
from streamcore.runner.penalties import TokenCounts, add_biases
from streamcore.runner.plan import StepPlan
from streamcore.runner.rows import Rows
from streamcore.runner.sampler import sample
from streamcore.runner.scores import Scores, score_prompt, score_samples
from streamcore.runner.step_inputs import StepBuffers, StepInputs
from streamcore.step import NOT_FINITE

Place = tuple[int, int]


def steps_in_flight(device: torch.device) -> int:
    """How many plans may be handed out before the first is completed: a CPU computes within `launch`, a GPU
    beside it.
    """
    return 2 if device.type == "cuda" else 1


@dataclass(frozen=True, slots=True)
class _WarmUpPlan:
    """A step of one sequence, at the start of the first block: rows that nobody has had are greedy, and begin there."""

    num_tokens: int
    id: int = 0
    num_seqs: int = 1
    num_padding: int = 0
    num_samples: int = 1
    num_device_tokens: int = 0
    num_block_updates: int = 0
    num_new_rows: int = 0
    num_counted_tokens: int = 0
    num_penalised_samples: int = 0
    num_masked_samples: int = 0
    num_biases: int = 0
    num_scored_samples: int = 0
    num_scored_tokens: int = 0
    max_top_logprobs: int = 0


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


def _place(column: Tensor) -> Place:
    return column.data_ptr(), column.numel()


class ModelRunner:
    """A model, its KV cache and the buffers between them and the engine. Belongs to one thread."""

    def __init__(
        self,
        model: Model,
        caches: Sequence[LayerCache],
        columns: Sequence[tuple[str, str, int]],
        device: torch.device,
    ) -> None:
        """Allocates buffers.

        Args:
            model: on `device`.
            caches: one per layer, on `device`.
            columns: name, type and length of each column, as the engine lists them.
            device: where steps run.
        """
        model.check_caches(caches)
        self._model = model
        self.caches = caches
        self._device = device
        self.depth = steps_in_flight(device)
        self.all_buffers = [StepBuffers(columns, device) for _ in range(self.depth)]
        self._rows = Rows(columns, device)
        num_rows = self._rows.num_rows
        pinned = device.type == "cuda"
        self._results = [
            torch.empty(num_rows, dtype=torch.int32, pin_memory=pinned) for _ in range(self.depth)
        ]
        self._events = [
            torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]
            for _ in range(self.depth)
        ]
        self._last_tokens = torch.zeros(num_rows, dtype=torch.int32, device=device)
        self._counts = TokenCounts(num_rows, model.config.vocab_size, device)
        self._num_launched = 0
        self.last_warm_up_s = 0.0
        self._recording = self._record() if device.type == "cpu" else None
        self._in_flight: deque[tuple[StepOutput, torch.cuda.Event | None]] = deque()

    def _record(self) -> Recording | None:
        """A forward pass over the columns of the only set of buffers."""
        token_ids, positions, slots, sequences, wanted = self.all_buffers[0].places(self._rows)
        return self._model.record(token_ids, positions, [KvGroup(self.caches, slots, sequences)], wanted)

    def buffers(self) -> StepBuffers:
        """The columns that the next plan must be written into; no step in flight reads them."""
        assert len(self._in_flight) < self.depth, "a step must be collected before another is planned"
        return self.all_buffers[self.turn]

    @property
    def turn(self) -> int:
        """Which of `all_buffers` the next plan must be written into."""
        return self._num_launched % self.depth

    @torch.inference_mode()
    def launch(self, plan: StepPlan) -> None:
        """Queues the step whose plan is in `buffers()`. On the CPU it has run when this returns."""
        result, event = self._results[self.turn][: plan.num_samples], self._events[self.turn]
        inputs = self.buffers().inputs(plan, self._rows)
        self._num_launched += 1
        if plan.num_device_tokens:
            tokens = self._last_tokens.index_select(0, inputs.device_token_rows)
            inputs.token_ids[inputs.device_token_indices] = tokens
        if inputs.penalties is not None:
            self._counts.count(inputs.token_ids, inputs.penalties)
        logits, scored = self._forward(plan, inputs)
        scores: list[Scores] = []
        if logits is not None:
            tokens = sample(self._changed(logits, inputs), inputs.sampling, inputs.device_sampling)
            self._last_tokens[inputs.sample_rows] = tokens
            # A sum is finite if all its terms are: finite logits are far too small to overflow it.
            is_finite = logits.sum(dim=-1).isfinite()
            result.copy_(torch.where(is_finite, tokens, NOT_FINITE), non_blocking=True)
            if inputs.scores is not None:
                scores += score_samples(logits, tokens, inputs.scores)
        if inputs.scores is not None and scored is not None:
            scores += score_prompt(self._model, scored, inputs.scores)
        output = StepOutput(result, Scores.concatenate(scores) if scores else None)
        if event is not None:
            event.record(torch.cuda.current_stream(self._device))
        self._in_flight.append((output, event))

    def _forward(self, plan: StepPlan, inputs: StepInputs) -> tuple[Tensor | None, Tensor | None]:
        """The logits of the samples, and what those of the scored prompt tokens are made of; None where there are none.

        Prompt tokens are scored in pieces, which no recording has.
        """
        if self._recording is not None and not plan.num_scored_tokens:
            num_seqs = plan.num_seqs + plan.num_padding
            logits = self._recording.run(len(inputs.token_ids), num_seqs, plan.num_samples)
            return logits if plan.num_samples else None, None
        kv = [KvGroup(self.caches, inputs.slot_mapping, inputs.sequences)]
        hidden = self._model.forward(inputs.token_ids, inputs.positions, kv, inputs.wanted())
        scored = hidden[plan.num_samples :] if plan.num_scored_tokens else None
        return self._model.logits(hidden[: plan.num_samples]) if plan.num_samples else None, scored

    def _changed(self, logits: Tensor, inputs: StepInputs) -> Tensor:
        """The logits with penalties, biases and masks. The model's own stay as they are, for the log-probabilities."""
        penalties, biases, masks = inputs.penalties, inputs.biases, inputs.masks
        if penalties is None and biases is None and masks is None:
            return logits
        logits = logits.clone()
        if penalties is not None:
            self._counts.penalise(logits, penalties)
        if biases is not None:
            add_biases(logits, biases)
        if masks is not None:
            apply_masks(logits, masks)
        return logits

    def collect(self) -> StepOutput:
        """Waits for the oldest step in flight; its results are valid until the buffers are used again."""
        output, event = self._in_flight.popleft()
        if event is not None:
            event.synchronize()
        return output

    def execute(self, plan: StepPlan) -> StepOutput:
        """Runs one step alone: `launch` and `collect`."""
        self.launch(plan)
        return self.collect()

    def warm_up(self) -> None:
        """Runs a small prefill and a decode, so that the first request does not pay for what torch sets up
        once, and measures the decode.

        They write into the first block, which holds nothing yet.
        """
        block_size = self.caches[0].keys.shape[1]
        for buffers in self.all_buffers:
            for name in ("token_ids", "seq_rows", "logits_indices", "sample_rows"):
                buffers.column(name).zero_()
        budget = self.all_buffers[0].column("token_ids").numel()
        length = min(block_size, budget, self._model.max_len)
        for num_tokens in [length, 1] * self.depth:
            self._write_warm_up(self.buffers(), num_tokens)
            started = time.monotonic()
            self.execute(_WarmUpPlan(num_tokens))
            self.last_warm_up_s = time.monotonic() - started

    def _write_warm_up(self, buffers: StepBuffers, num_tokens: int) -> None:
        order = torch.arange(num_tokens)
        buffers.column("positions")[:num_tokens] = order
        buffers.column("slot_mapping")[:num_tokens] = order
        buffers.column("query_starts")[:2] = torch.tensor([0, num_tokens])
        buffers.column("context_lens")[0] = num_tokens
        buffers.column("logits_indices")[0] = num_tokens - 1
