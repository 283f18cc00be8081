"""The same tokens must give the same bits however they are computed: alone, in any batch, in any
chunks, decoded or as a prompt, out of the prefix cache, or again after a preemption.

`INTERLEAVINGS` says how many random loads are played, shared out over the models. Each is named by
its number: a failure repeats.
"""

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.checkpoints import write_checkpoint
from tests.models.engine_loop import Answer, Ask, EngineLoop, Likelihood, load
from tests.models.family_checkpoints import VOCAB, Variant, write_reference
from tests.models.format_variants import MATRICES, STACKS
from tests.models.quantised import quantise
from tests.models.steps import random_prompt
from tests.models.test_families import VARIANTS

from streamcore.kernels import library
from streamcore.models.model import Model

pytestmark = pytest.mark.skipif(not library.packs_weights(), reason="torch multiplies here")

GPT_OSS = Variant(
    "gpt_oss",
    {
        "hidden_size": 64,
        "intermediate_size": 96,
        "head_dim": 16,
        "num_hidden_layers": 2,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 7,
    },
)
"""What a stack in four bits fits into."""

MODELS = [
    "llama", "qwen2 window", "qwen3", "mistral window", "gemma2", "gemma3_text", "phi3 long", "olmo2",
    "granite", "qwen3_moe", "mixtral", "gpt_oss", "llama awq", "llama compressed 8", "gpt_oss mxfp4",
]  # fmt: skip
CASES = [(name, dtype) for name in MODELS for dtype in ("float32", "bfloat16")]
# The model in bfloat16 over a cache in fp8.
CASES += [("llama", "fp8"), ("gemma2", "fp8")]
# Weights in groups, those of the file or made at load, with activations in eight bits.
CASES += [
    (name, "int8") for name in ("llama", "qwen3_moe", "llama awq", "llama compressed 8", "gpt_oss mxfp4")
]
OPTIONS = {
    "fp8": {"kv_cache_dtype": "fp8"},
    "int8": {"quantize": "int8", "quantize_activations": "int8"},
}
NUM_INTERLEAVINGS = -(-int(os.environ.get("INTERLEAVINGS", "100")) // len(CASES))

ANSWER_LEN = 48
SAMPLED: list[dict[str, Any]] = [
    {"temperature": 0.8},
    {"temperature": 1.3, "top_p": 0.8},
    {"temperature": 1.0, "top_k": 20, "min_p": 0.02},
    {"temperature": 1.0, "top_n_sigma": 1.5, "repetition_penalty": 1.2},
]
NUM_TOP = 4


@dataclass
class Story:
    """A prompt with its greedy answer, and the likelihoods of all its tokens from the second on."""

    tokens: list[int]
    prompt_len: int
    likelihoods: list[Likelihood]


def write(folder: Path, name: str) -> Path:
    """The folder of a model."""
    family, _, quantisation = name.partition(" ")
    if name == "llama":
        return write_checkpoint(folder, num_hidden_layers=3, hidden_size=96, head_dim=32)
    if family == "llama":
        return quantise(write_checkpoint(folder), folder, MATRICES[quantisation]) / "quantised"
    if quantisation == "mxfp4":
        write_reference(folder, GPT_OSS)
        return quantise(folder, folder, STACKS[quantisation]) / "quantised"
    write_reference(folder, VARIANTS[name])
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Model]:
    """Every model, made when it is first asked for."""

    class Models(dict[tuple[str, str], Model]):
        def __missing__(self, case: tuple[str, str]) -> Model:
            folder = write(tmp_path_factory.mktemp("model"), case[0])
            dtype = torch.bfloat16 if case[1] in OPTIONS else getattr(torch, case[1])
            self[case] = load(folder, 256, dtype, **OPTIONS.get(case[1], {}))
            return self[case]

    return Models()


def alone(model: Model, ask: Ask) -> Answer:
    """The answer where nothing else runs and nothing is cached."""
    return EngineLoop(model).answer([ask])[0]


def tell(model: Model, prompt_len: int) -> Story:
    """Answers a prompt in the simplest way."""
    prompt = random_prompt(prompt_len, seed=prompt_len, vocab_size=VOCAB)
    asked = Ask(prompt, ANSWER_LEN, {"logprobs": NUM_TOP, "prompt_logprobs": NUM_TOP})
    answer = alone(model, asked)
    return Story(prompt + answer.tokens, prompt_len, answer.prompt_likelihoods + answer.likelihoods)


def check_continued(story: Story, ask: Ask, answer: Answer) -> None:
    """A story that was cut anywhere goes on as it did, with the same likelihoods."""
    start, end = len(ask.prompt), len(ask.prompt) + len(answer.tokens)
    assert answer.tokens == story.tokens[start:end]
    assert answer.likelihoods == story.likelihoods[start - 1 : end - 1]
    if answer.prompt_likelihoods:
        assert answer.prompt_likelihoods == story.likelihoods[: start - 1]


def play(model: Model, stories: list[Story], sampled: list[tuple[Ask, Answer]], rng: random.Random) -> None:
    """A random load in a random engine, twice over one prefix cache."""
    num_seqs = rng.choice([1, 2, 5, 16])
    loop = EngineLoop(
        model,
        max_num_seqs=num_seqs,
        max_num_batched_tokens=max(rng.choice([1, 3, 8, 33, 512]), num_seqs),
        num_blocks=rng.choice([11, 16, 512]),
        capture_sizes=rng.choice([[], [1], [num_seqs]]),
    )
    for _ in range(2):
        told: list[Story | Answer] = []
        asks = []
        for number in range(rng.randint(1, 7)):
            salt = rng.choice([0, 0, number + 1])
            if rng.random() < 0.25:
                ask, answer = rng.choice(sampled)
                asks.append(Ask(ask.prompt, ask.max_tokens, {**ask.options, "cache_salt": salt}))
                told.append(answer)
                continue
            story = rng.choice(stories)
            cut = rng.randint(story.prompt_len, len(story.tokens) - 1)
            options: dict[str, Any] = {"logprobs": NUM_TOP, "cache_salt": salt}
            if rng.random() < 0.3:
                options["prompt_logprobs"] = NUM_TOP
            asks.append(Ask(story.tokens[:cut], rng.randint(1, min(len(story.tokens) - cut, 20)), options))
            told.append(story)
        for ask, expected, answer in zip(asks, told, loop.answer(asks), strict=True):
            if isinstance(expected, Story):
                check_continued(expected, ask, answer)
            else:
                assert answer == expected


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_no_interleaving_changes_a_bit(name: str, dtype: str, models: dict[tuple[str, str], Model]) -> None:
    """A second turn of a chat, or a request that was preempted, would be answered differently."""
    model = models[name, dtype]
    stories = [tell(model, prompt_len) for prompt_len in (2, 31, 90)]
    sampled = []
    for number, options in enumerate(SAMPLED):
        prompt = random_prompt(7 + 9 * number, seed=number, vocab_size=VOCAB)
        ask = Ask(prompt, 16, {**options, "seed": 40 + number, "logprobs": NUM_TOP})
        sampled.append((ask, alone(model, ask)))
    for number in range(NUM_INTERLEAVINGS):
        play(model, stories, sampled, random.Random(f"{name} {dtype} {number}"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("salt", [0, 1])
def test_an_answer_is_its_own_next_prompt(
    dtype: str, salt: int, models: dict[tuple[str, str], Model]
) -> None:
    """The second turn of a chat has the first answer in its prompt, in the cache or anew."""
    loop = EngineLoop(models["llama", dtype])
    prompt = random_prompt(20, vocab_size=VOCAB)
    first = loop.answer([Ask(prompt, ANSWER_LEN, {"logprobs": NUM_TOP})])[0]
    options = {"prompt_logprobs": NUM_TOP, "logprobs": NUM_TOP, "cache_salt": salt}
    again = loop.answer([Ask(prompt + first.tokens, 1, options)])[0]
    assert again.prompt_likelihoods[len(prompt) - 1 :] == first.likelihoods


def test_the_loads_meet_every_case(models: dict[tuple[str, str], Model]) -> None:
    """A property that never preempts, never hits the cache and never cuts a prompt
    proves nothing.
    """
    story = tell(models["llama", "float32"], 31)
    loop = EngineLoop(models["llama", "float32"], max_num_seqs=6, max_num_batched_tokens=32, num_blocks=16)
    cuts = [(31, 0), (40, 0), (31, 1), (31, 2), (32, 3), (33, 4)]
    answers = loop.answer(
        [Ask(story.tokens[:cut], 30, {"logprobs": NUM_TOP, "cache_salt": salt}) for cut, salt in cuts]
    )
    assert loop.num_cached_tokens > 0
    assert loop.scheduler.num_preemptions > 0
    for (cut, _), answer in zip(cuts, answers, strict=True):
        assert answer.likelihoods == story.likelihoods[cut - 1 : cut + 29]
