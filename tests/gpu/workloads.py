"""Whole models on the device, for `check.py`: throughput of many requests, one stream, and gaps between steps.

The weights are random and made on the device: nothing is read, and speed does not depend on what they are.
"""

import random
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from tests.checkpoints import LLAMA_3_1_8B
from tests.gpu.common import IS_EMULATED, capture, copy_rate, device, ops, run, say
from tests.models.engine_loop import Ask, EngineLoop
from torch import Tensor

from streamcore import _core
from streamcore.kernels import LinearWeight
from streamcore.layers.linear import Linear
from streamcore.layers.weights import Stack, Weights
from streamcore.models.model import Model, WeightSizes
from streamcore.models.opening import open_config
from streamcore.models.precision import Precision
from streamcore.runner.limits import choose_capture_sizes
from streamcore.runner.placement import Placement

SMALL = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
         "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True}  # fmt: skip
"""The shape of Qwen3-0.6B."""
EMULATED = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 256}  # fmt: skip
DTYPE = torch.float16 if IS_EMULATED else torch.bfloat16


class RandomWeights:
    """A source of weights that are made where they are needed."""

    def __init__(self) -> None:
        self.num_bytes = 0
        """Of the matrices of products."""

    def vector(self, _name: str, size: int, _shift: float) -> Tensor:
        """See `Source`."""
        return torch.ones(size, dtype=DTYPE, device=device())

    def matrix(self, _name: str, rows: int, columns: int) -> Tensor:
        """See `Source`."""
        made = torch.randn(rows, columns, dtype=DTYPE, device=device())
        return made.mul_(columns**-0.5)

    def linear(self, parts: Mapping[str, int], inputs: int, _bias: bool) -> Linear:
        """See `Source`."""
        return self.tied(self.matrix("", sum(parts.values()), inputs))

    def stack(self, stack: Stack) -> Sequence[Linear]:
        """See `Source`."""
        raise NotImplementedError(stack.name)

    def tied(self, matrix: Tensor) -> Linear:
        """See `Source`."""
        self.num_bytes += matrix.nbytes
        num_outputs, num_inputs = matrix.shape
        return Linear(LinearWeight(matrix, num_outputs, num_inputs, packed=False), None)


def random_model(shape: Mapping[str, Any]) -> tuple[Model, int]:
    """A model of a shape, and the bytes that a step reads of its weights."""
    chosen = EMULATED if IS_EMULATED else shape
    family, config, _ = open_config({**LLAMA_3_1_8B, "rope_scaling": None, **chosen})
    source = RandomWeights()
    decoder, precision = family.build(config, Weights(source)), Precision(DTYPE, DTYPE, DTYPE, DTYPE)
    model = Model(config, decoder, precision, device(), WeightSizes(source.num_bytes))
    model.ops = ops()
    model.measure()
    return model, source.num_bytes


def loop_of(model: Model, max_num_seqs: int, num_blocks: int, max_model_len: int) -> EngineLoop:
    """An engine with its runner: two steps in flight, captured."""
    max_num_batched_tokens = 512 if IS_EMULATED else 8192
    model.prepare(max_model_len, max_num_batched_tokens, max_num_seqs)
    return EngineLoop(
        model,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        num_blocks=num_blocks,
        max_model_len=max_model_len,
        capture_sizes=choose_capture_sizes(max_num_seqs, max_num_batched_tokens),
        placement=Placement(2, True, capture()),
    )


def small() -> None:
    """nano-vllm's workload: 256 requests of 100 to 1024 tokens, as many drawn."""
    model, _ = random_model(SMALL)
    count, least, most = (4, 3, 9) if IS_EMULATED else (256, 100, 1024)
    draw = random.Random(0)
    vocab = model.config.vocab_size
    prompts = [[draw.randrange(vocab) for _ in range(draw.randint(least, most))] for _ in range(count)]
    lengths = [draw.randint(least, most) for _ in range(count)]
    loop = loop_of(model, count, 64 if IS_EMULATED else 32768, 4096 if not IS_EMULATED else 256)
    # What is set up once is not the workload's: every captured size comes up here.
    loop.answer([Ask([1] * 8, 3 + i % 5, {"temperature": 0.6, "seed": i}) for i in range(count)])
    options = {"temperature": 0.6}
    asked = [Ask(prompt, length, options) for prompt, length in zip(prompts, lengths, strict=True)]
    started = time.perf_counter()
    answers = loop.answer(asked)
    taken = time.perf_counter() - started
    drawn = sum(len(answer.tokens) for answer in answers)
    assert drawn == sum(lengths)
    say(
        {
            "output tokens": drawn,
            "output tokens/s (goal 25000)": round(drawn / taken),
            "seconds": round(taken, 2),
        }
    )


def gaps_us(loop: EngineLoop, asked: list[Ask]) -> list[float]:
    """How long the device did nothing before each step, in microseconds."""
    marks: list[tuple[Any, Any]] = []
    launch = loop.runner.launch

    def marked(plan: _core.StepPlan) -> None:
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        before.record()
        launch(plan)
        after.record()
        marks.append((before, after))

    loop.runner.launch = marked  # type: ignore[method-assign]
    loop.answer(asked)
    torch.cuda.synchronize()
    loop.runner.launch = launch  # type: ignore[method-assign]
    return [last[1].elapsed_time(following[0]) * 1e3 for last, following in pairwise(marks)]


def large() -> None:
    """One stream of an 8B model: its share of what memory gives, and the gaps between its steps."""
    model, num_bytes = random_model({})
    loop = loop_of(model, 1, 64, 256 if IS_EMULATED else 1024)
    num_drawn = 4 if IS_EMULATED else 256
    asked = [Ask([1] * (5 if IS_EMULATED else 128), num_drawn)]
    loop.answer(asked)
    started = time.perf_counter()
    loop.answer(asked)
    each = (time.perf_counter() - started) / num_drawn
    copied = copy_rate()
    share = round(num_bytes / each / copied, 3)
    say({"one stream, ms a token": round(each * 1e3, 3), "share of a copy (goal 0.85)": share})
    if not IS_EMULATED:
        gaps = sorted(gaps_us(loop, asked)[2:])
        say({"gap between decode steps, median µs (goal 20)": round(gaps[len(gaps) // 2], 1)})
        say({"gap between decode steps, 99 % µs": round(gaps[len(gaps) * 99 // 100], 1)})


if __name__ == "__main__":
    sys.exit(run({"small": small, "large": large}[sys.argv[1]]))
