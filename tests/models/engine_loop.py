"""The real engine and the real runner, without the server between them."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from streamcore import _core
from streamcore.models.folder import check_model_folder
from streamcore.models.load import load_model
from streamcore.models.model import Model
from streamcore.runner.memory import allocate_kv_cache
from streamcore.runner.model_runner import ModelRunner
from streamcore.runner.placement import Placement

CPU = torch.device("cpu")


def load(folder: Path, max_model_len: int, dtype: torch.dtype = torch.float32, **options: str) -> Model:
    """The model of a folder, with the options of `load_model`."""
    model = load_model(check_model_folder(folder), CPU, dtype, None, **options)
    model.prepare(max_model_len)
    return model


Likelihood = tuple[float, list[tuple[int, float]]]
"""The log-probability of a token, and the most likely tokens with theirs."""


@dataclass(frozen=True)
class Ask:
    """A request: greedy, unless the keyword arguments of `Scheduler.add_request` say otherwise."""

    prompt: list[int]
    max_tokens: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Answer:
    """What a request got."""

    tokens: list[int] = field(default_factory=list)
    likelihoods: list[Likelihood] = field(default_factory=list)
    prompt_likelihoods: list[Likelihood] = field(default_factory=list)


class EngineLoop:
    """An engine, a runner, and the loop between them."""

    def __init__(
        self,
        model: Model,
        *,
        max_num_seqs: int = 16,
        max_num_batched_tokens: int = 512,
        num_blocks: int = 512,
        max_model_len: int = 256,
        capture_sizes: Sequence[int] = (),
        placement: Placement | None = None,
    ) -> None:
        self.config = _core.EngineConfig(
            block_size=16,
            num_blocks=num_blocks,
            max_num_batched_tokens=max_num_batched_tokens,
            max_num_seqs=max_num_seqs,
            max_model_len=max_model_len,
            capture_sizes=list(capture_sizes),
            max_steps_in_flight=1 if placement is None else placement.depth,
        )
        caches = allocate_kv_cache(model, block_size=16, num_blocks=num_blocks)
        self.runner = ModelRunner(model, caches, self.config, placement)
        self.scheduler = _core.Scheduler(self.config)
        self.largest_step = 0
        self.num_padding = 0
        self.num_cached_tokens = 0

    def generate(self, prompts: list[list[int]], max_tokens: int) -> list[list[int]]:
        """Greedy tokens of every prompt, all queued at once."""
        return [answer.tokens for answer in self.answer([Ask(prompt, max_tokens) for prompt in prompts])]

    def answer(self, asked: Sequence[Ask]) -> list[Answer]:
        """What every request gets, all queued at once."""
        for index, ask in enumerate(asked):
            self.scheduler.add_request(index, ask.prompt, max_tokens=ask.max_tokens, **ask.options)
        answers = [Answer() for _ in asked]
        for _ in self._steps():
            for request_id, kind, token, likelihoods in self.scheduler.drain_events():
                answer = answers[request_id]
                self.num_cached_tokens += token or 0 if kind == "scheduled" else 0
                if kind == "token" and token is not None:
                    answer.tokens.append(token)
                    answer.likelihoods += likelihoods
                answer.prompt_likelihoods += likelihoods if kind == "prompt_logprobs" else []
        assert not self.scheduler.has_work
        assert self.scheduler.num_free_blocks == self.runner.caches[0].keys.shape[0]
        return answers

    def _steps(self) -> Iterator[None]:
        """Runs steps, as many in flight as the runner takes; stops at each that is complete."""
        in_flight: deque[_core.StepPlan] = deque()
        while True:
            plan = self.scheduler.next_step(self.runner.loan)
            if plan is not None:
                self.largest_step = max(self.largest_step, plan.num_seqs)
                self.num_padding += plan.num_padding
                self.runner.launch(plan)
                in_flight.append(plan)
            if in_flight and (plan is None or len(in_flight) == self.runner.depth):
                output = self.runner.collect()
                self.scheduler.complete_step(in_flight.popleft().id, *output.places())
                yield
            elif plan is None:
                return
