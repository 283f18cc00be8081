"""If one of these fails, what a client gets depends on who else is served, or is not what the model
says.
"""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.checkpoints import write_checkpoint
from tests.models.engine_loop import EngineLoop, load
from transformers import LlamaForCausalLM

from streamcore.models.model import Model

# The reference takes a minute on two busy cores.
pytestmark = pytest.mark.timeout(1800)

NUM_PROMPTS, NUM_TOKENS = 20, 64
TINY_27M: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1344,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 8192,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), **TINY_27M)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(folder, max_model_len=256)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    dice = random.Random(0)
    return [
        [dice.randrange(3, TINY_27M["vocab_size"]) for _ in range(dice.randrange(1, 100))]
        for _ in range(NUM_PROMPTS)
    ]


@pytest.fixture(scope="module")
def expected(folder: Path, prompts: list[list[int]]) -> list[list[int]]:
    """Each prompt's greedy continuation by `transformers`."""
    reference = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        return [
            reference.generate(
                torch.tensor([prompt]),
                max_new_tokens=NUM_TOKENS,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )[0, len(prompt) :].tolist()
            for prompt in prompts
        ]


def test_alone(model: Model, prompts: list[list[int]], expected: list[list[int]]) -> None:
    """One request at a time."""
    loop = EngineLoop(model, max_num_seqs=1)
    assert loop.generate(prompts, NUM_TOKENS) == expected
    assert loop.largest_step == 1


def test_in_a_batch(model: Model, prompts: list[list[int]], expected: list[list[int]]) -> None:
    """Sixteen sequences of different lengths share each step."""
    loop = EngineLoop(model, max_num_seqs=16)
    assert loop.generate(prompts, NUM_TOKENS) == expected
    assert loop.largest_step == 16


def test_chunked(model: Model, prompts: list[list[int]], expected: list[list[int]]) -> None:
    """Prompts are computed in pieces, beside the decodes of others."""
    loop = EngineLoop(model, max_num_batched_tokens=32)
    assert loop.generate(prompts, NUM_TOKENS) == expected


def test_preempted(model: Model, prompts: list[list[int]], expected: list[list[int]]) -> None:
    """Blocks run out, sequences lose theirs and are computed again."""
    loop = EngineLoop(model, num_blocks=40)
    assert loop.generate(prompts, NUM_TOKENS) == expected
    assert loop.scheduler.num_preemptions > 3


def test_padded(model: Model, prompts: list[list[int]], expected: list[list[int]]) -> None:
    """Steps are filled up to the sizes that a device has captured graphs for, with rows of no
    sequence.
    """
    loop = EngineLoop(model, num_blocks=40, capture_sizes=[4, 16])
    assert loop.generate(prompts, NUM_TOKENS) == expected
    assert loop.num_padding > 100
