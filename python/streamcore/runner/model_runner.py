"""Runs step plans: forward pass and sampling, two steps deep on CUDA.

    buffers()  the columns that the engine writes the next plan into
    launch()   queues the step on the device
    collect()  waits for the oldest step and returns its tokens

A sequence's newest token stays on the device, in the sequence's row, so that the next step can be launched
before the host has seen it.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamcore.layers.attention import LayerCache
from streamcore.models.llama import LlamaModel
from streamcore.runner.plan import StepPlan
from streamcore.runner.sampler import sample
from streamcore.runner.step_inputs import StepBuffers


def steps_in_flight(device: torch.device) -> int:
    """How many plans may be handed out before the first is completed: a CPU computes within `launch`, a GPU
    beside it.
    """
    return 2 if device.type == "cuda" else 1


@dataclass(frozen=True, slots=True)
class _WarmUpPlan:
    """A step of one sequence, at the start of the first block."""

    num_tokens: int
    id: int = 0
    num_seqs: int = 1
    num_samples: int = 1
    num_device_tokens: int = 0
    block_table_stride: int = 1


class ModelRunner:
    """A model, its KV cache and the buffers between them and the engine. Belongs to one thread."""

    def __init__(
        self,
        model: LlamaModel,
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
        num_rows = next(length for name, _, length in columns if name == "sample_rows")
        pinned = device.type == "cuda"
        self._results = [
            torch.empty(num_rows, dtype=torch.int32, pin_memory=pinned) for _ in range(self.depth)
        ]
        self._events = [
            torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]
            for _ in range(self.depth)
        ]
        self._last_tokens = torch.zeros(num_rows, dtype=torch.int32, device=device)
        self._num_launched = 0
        self.last_warm_up_s = 0.0
        self._in_flight: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

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
        inputs = self.buffers().inputs(plan)
        self._num_launched += 1
        if plan.num_device_tokens:
            tokens = self._last_tokens.index_select(0, inputs.device_token_rows)
            inputs.token_ids[inputs.device_token_indices] = tokens
        logits = self._model.forward(inputs.token_ids, inputs.attention, self.caches, inputs.logits_indices)
        if plan.num_samples:
            tokens = sample(logits, inputs.sampling, inputs.device_sampling)
            self._last_tokens[inputs.sample_rows] = tokens
            result.copy_(tokens, non_blocking=True)
        if event is not None:
            event.record(torch.cuda.current_stream(self._device))
        self._in_flight.append((result, event))

    def collect(self) -> Tensor:
        """Waits for the oldest step in flight.

        Returns:
            int32 [num_samples] on the CPU, in the order of the plan's samples; valid until the buffers are
            used again.
        """
        result, event = self._in_flight.popleft()
        if event is not None:
            event.synchronize()
        return result

    def execute(self, plan: StepPlan) -> Tensor:
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
            for name in ("token_ids", "block_tables", "context_lens", "logits_indices", "temperature"):
                buffers.column(name).zero_()
        length = min(block_size, self.all_buffers[0].column("token_ids").numel())
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
