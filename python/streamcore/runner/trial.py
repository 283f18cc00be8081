"""What the largest steps take of a device's memory, by running them before the KV cache has its
size.

Shapes say what tensors take. Workspaces of products, code that is loaded when it is first used,
graphs, and what an allocator cannot give back show only when steps run.
"""

import gc
from typing import Protocol

import torch

from streamcore import _core
from streamcore.config import engine_config_of
from streamcore.models.model import Model
from streamcore.runner.limits import choose_capture_sizes
from streamcore.runner.memory import allocate_kv_cache, block_bytes
from streamcore.runner.model_runner import ModelRunner
from streamcore.runner.placement import Placement

_NUM_TOP = 20
# The step after the prompts is one of decodes, which is captured.
_NUM_DRAWN = 2


class DeviceMemory(Protocol):
    """Counts what is taken of a device's memory."""

    def begin(self) -> None:
        """Counts from here."""

    def most_bytes(self) -> int:
        """The maximum that was taken since."""

    def end(self) -> None:
        """Gives back what is not used any more."""


class CudaMemory:
    """That of a CUDA device: what torch's allocator has taken, and what others have beside it."""

    def __init__(self, device: torch.device) -> None:
        """Counts nothing yet."""
        self._device = device
        self._free = self._reserved = 0

    def begin(self) -> None:
        """See `DeviceMemory`."""
        self.end()
        torch.cuda.reset_peak_memory_stats(self._device)
        self._free, _ = torch.cuda.mem_get_info(self._device)
        self._reserved = torch.cuda.memory_reserved(self._device)

    def most_bytes(self) -> int:
        """See `DeviceMemory`."""
        torch.cuda.synchronize(self._device)
        free, _ = torch.cuda.mem_get_info(self._device)
        beside = self._free - free - (torch.cuda.memory_reserved(self._device) - self._reserved)
        return torch.cuda.max_memory_reserved(self._device) - self._reserved + max(beside, 0)

    def end(self) -> None:
        """See `DeviceMemory`."""
        gc.collect()
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()


def tried_step_bytes(
    model: Model,
    memory: DeviceMemory,
    placement: Placement,
    *,
    block_size: int,
    max_num_batched_tokens: int,
    max_num_seqs: int,
    max_model_len: int,
) -> int:
    """Runs the largest steps that the limits allow; returns what they took beside weights and
    cache, in bytes.

    Everything that a request may ask for is asked for: penalties, filters, log-probabilities of
    drawn tokens and of a prompt.
    """
    num_seqs = min(max_num_seqs, max_num_batched_tokens)
    prompts = _prompt_lens(num_seqs, max_num_batched_tokens, max_model_len - _NUM_DRAWN)
    num_blocks = sum(-(-(length + _NUM_DRAWN) // block_size) for length in prompts) + num_seqs
    sizes = choose_capture_sizes(max_num_seqs, max_num_batched_tokens)
    config = engine_config_of(
        block_size=block_size,
        num_blocks=num_blocks,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        max_steps_in_flight=placement.depth,
        enable_prefix_caching=False,
        capture_sizes=sizes[-1:] if placement.capture is not None else [],
        num_mask_words=-(-model.config.vocab_size // 32),
    )
    memory.begin()
    model.prepare(config.max_seq_len, max_num_batched_tokens, max_num_seqs)
    caches = allocate_kv_cache(model, block_size=block_size, num_blocks=num_blocks)
    _run_steps(
        ModelRunner(model, caches, config, placement),
        _core.Scheduler(config),
        prompts,
        min(max_num_batched_tokens, config.max_seq_len - 1),
    )
    most = memory.most_bytes()
    del caches
    memory.end()
    return most - num_blocks * block_bytes(model.config, block_size, model.precision.cache)


def _prompt_lens(num_seqs: int, num_tokens: int, longest: int) -> list[int]:
    """Prompts that fill a step with as many sequences as it may have."""
    each = max(min(num_tokens // num_seqs, longest), 1)
    first = max(min(num_tokens - each * (num_seqs - 1), longest), 1)
    return [first] + [each] * (num_seqs - 1)


def _run_steps(runner: ModelRunner, engine: _core.Scheduler, prompts: list[int], scored_len: int) -> None:
    """Prompts together, then a step of decodes, then a prompt whose every token is scored."""
    for number, length in enumerate(prompts):
        engine.add_request(
            number,
            [0] * length,
            max_tokens=_NUM_DRAWN,
            logprobs=_NUM_TOP,
            temperature=1.0,
            top_p=0.9,
            repetition_penalty=1.1,
        )
    _drain(runner, engine)
    engine.add_request(len(prompts), [0] * scored_len, max_tokens=1, prompt_logprobs=_NUM_TOP)
    _drain(runner, engine)


def _drain(runner: ModelRunner, engine: _core.Scheduler) -> None:
    while (plan := engine.next_step(runner.loan)) is not None:
        output = runner.execute(plan)
        engine.complete_step(plan.id, *output.places())
