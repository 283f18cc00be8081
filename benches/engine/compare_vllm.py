"""What scheduling costs, ours through Python against vLLM's `Scheduler`, in turns, on the same requests.

Each side runs in a process of its own: ours with the interpreter that runs this, vLLM's with the one that is named.
A step is everything that a step loop asks of a scheduler: new requests for those that ended, the plan, and the sampled
tokens handed back.

    python benches/engine/compare_vllm.py --vllm VENV/bin/python --checkpoint FOLDER
"""

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

BLOCK_SIZE = 16
MAX_MODEL_LEN = 1024
MAX_NUM_BATCHED_TOKENS = 8192
# A token that ends nothing.
TOKEN = 7
_CTYPES: dict[str, Any] = {"int32": ctypes.c_int32, "int64": ctypes.c_int64, "float32": ctypes.c_float}


def prompt_of(number: int) -> list[int]:
    """The prompt of a request: 16 to 31 tokens, unlike any other's."""
    return [1 + (number * 64 + position) % 250 for position in range(16 + number % 16)]


def max_tokens_of(number: int) -> int:
    """How many tokens a request asks for: 400 to 599, so that with 256 running, one ends every other step."""
    return 400 + number * 37 % 200


def num_blocks_of(num_running: int) -> int:
    """Enough for all that run, so that none is ever preempted."""
    return num_running * (640 // BLOCK_SIZE) + 64


class OurLoop:
    """The engine of streamcore, called through its extension."""

    def __init__(self, num_running: int) -> None:
        from streamcore import _core

        config = _core.EngineConfig(
            block_size=BLOCK_SIZE,
            num_blocks=num_blocks_of(num_running),
            max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS,
            max_num_seqs=num_running,
            max_model_len=MAX_MODEL_LEN,
        )
        # The engine writes to these, so they are kept.
        self._columns = [(_CTYPES[dtype] * length)() for _, dtype, length in config.step_columns()]
        places = [(ctypes.addressof(column), len(column)) for column in self._columns]
        self._buffers = _core.StepBuffers(config, places)
        self._sampled = (ctypes.c_int32 * num_running)(*[TOKEN] * num_running)
        self._scheduler = _core.Scheduler(config)
        self._num_running = num_running
        self._num_added = self._num_live = 0

    def step(self) -> None:
        """New requests for those that have ended, a plan, and its tokens."""
        while self._num_live < self._num_running:
            number = self._num_added
            self._scheduler.add_request(number, prompt_of(number), max_tokens=max_tokens_of(number))
            self._num_added += 1
            self._num_live += 1
        plan = self._scheduler.next_step(self._buffers)
        assert plan is not None
        self._scheduler.complete_step(plan.id, (ctypes.addressof(self._sampled), plan.num_samples))
        self._num_live -= sum(event[1] == "length" for event in self._scheduler.drain_events())


def vllm_step(num_running: int, checkpoint: str) -> Callable[[], None]:
    """A step of vLLM's scheduler, built as vLLM's engine core builds it for a model with one kind of attention."""
    import torch
    from vllm.config import CacheConfig, ModelConfig, SchedulerConfig, VllmConfig
    from vllm.sampling_params import SamplingParams
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.outputs import ModelRunnerOutput
    from vllm.v1.request import Request
    from vllm.v1.structured_output import StructuredOutputManager

    model_config = ModelConfig(model=checkpoint, dtype="float32", max_model_len=MAX_MODEL_LEN)
    cache_config = CacheConfig(block_size=BLOCK_SIZE, enable_prefix_caching=True)
    cache_config.num_gpu_blocks = num_blocks_of(num_running)
    vllm_config = VllmConfig(
        model_config=model_config,
        cache_config=cache_config,
        scheduler_config=SchedulerConfig(
            max_num_seqs=num_running,
            max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS,
            max_model_len=MAX_MODEL_LEN,
            is_encoder_decoder=False,
            async_scheduling=False,
        ),
    )
    attention = FullAttentionSpec(block_size=BLOCK_SIZE, num_kv_heads=1, head_size=8, dtype=torch.float32)
    kv_cache_config = KVCacheConfig(
        num_blocks=num_blocks_of(num_running),
        kv_cache_tensors=[],
        kv_cache_groups=[KVCacheGroupSpec(["layer"], attention)],
    )
    scheduler = Scheduler(
        vllm_config=vllm_config,
        kv_cache_config=kv_cache_config,
        structured_output_manager=StructuredOutputManager(vllm_config),
        block_size=BLOCK_SIZE,
    )
    init_none_hash(sha256)
    block_hasher = get_request_block_hasher(BLOCK_SIZE, sha256)
    num_added = 0

    def step() -> None:
        nonlocal num_added
        while scheduler.get_num_unfinished_requests() < num_running:
            params = SamplingParams(max_tokens=max_tokens_of(num_added), ignore_eos=True, temperature=0.0)
            request = Request(
                str(num_added), prompt_of(num_added), params, pooling_params=None, block_hasher=block_hasher
            )
            scheduler.add_request(request)
            num_added += 1
        plan = scheduler.schedule()
        ids = list(plan.num_scheduled_tokens)
        index = {request_id: row for row, request_id in enumerate(ids)}
        scheduler.update_from_output(plan, ModelRunnerOutput(ids, index, [[TOKEN] for _ in ids]))

    return step


def work(make_step: Callable[[int], Callable[[], None]]) -> None:
    """Obey the lines on standard input: `[num_running, num_steps]`; answer each with microseconds per step.

    What the libraries print goes to standard error.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    steps: dict[int, Callable[[], None]] = {}
    for line in sys.stdin:
        num_running, num_steps = json.loads(line)
        if num_running not in steps:
            steps[num_running] = make_step(num_running)
        step = steps[num_running]
        began = time.perf_counter()
        for _ in range(num_steps):
            step()
        answers.write(f"{(time.perf_counter() - began) / num_steps * 1e6}\n")
        answers.flush()


class Side:
    """One of the two processes."""

    def __init__(self, python: str, name: str, checkpoint: str) -> None:
        command = [python, __file__, "--work", name, "--checkpoint", checkpoint]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def time_us(self, num_running: int, num_steps: int) -> float:
        """Microseconds per step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([num_running, num_steps]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("a side has died, its reason is above")
        return float(answer)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Let both sides take turns and print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vllm", metavar="PYTHON", help="interpreter of an environment with vLLM")
    parser.add_argument("--checkpoint", required=True, help="model folder that vLLM reads its limits from")
    parser.add_argument("--num-running", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=200, help="steps per round")
    parser.add_argument("--work", choices=("ours", "vllm"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work == "ours":
        from streamcore.console import complain_of_development_build

        complain_of_development_build()
        work(lambda num_running: OurLoop(num_running).step)
    elif arguments.work == "vllm":
        work(lambda num_running: vllm_step(num_running, arguments.checkpoint))
    elif arguments.vllm is None:
        parser.error("--vllm is missing")
    else:
        compare(arguments)


def compare(arguments: Any) -> None:
    """Print a table with a row for each number of running requests."""
    sides = [
        Side(sys.executable, "ours", arguments.checkpoint),
        Side(arguments.vllm, "vllm", arguments.checkpoint),
    ]
    print("| running | ours, µs per step | vLLM, µs per step | ratio |\n|---|---|---|---|")
    for num_running in arguments.num_running:
        for side in sides:
            side.time_us(num_running, 100)  # Prefills, and what is loaded at first use.
        rounds = [
            [side.time_us(num_running, arguments.steps) for side in sides] for _ in range(arguments.rounds)
        ]
        ours, theirs = (statistics.median(times) for times in zip(*rounds, strict=True))
        print(f"| {num_running} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.0f} |", flush=True)
    for side in sides:
        side.close()


if __name__ == "__main__":
    main()
