"""Log-probabilities, penalties and seeds through the real engine and the real runner: the
first must be the model's own, and draws must not depend on the other requests.
"""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.checkpoints import write_checkpoint
from tests.models.engine_loop import Answer, Ask, EngineLoop, Likelihood, load
from torch import Tensor
from transformers import LlamaForCausalLM

from streamcore.models.model import Model
from streamcore.runner import penalties

NUM_TOKENS = 40
# The reference sums in another order.
TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(folder, max_model_len=256)


@pytest.fixture(scope="module")
def reference(folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


def prompts(number: int, longest: int = 90) -> list[list[int]]:
    dice = random.Random(number)
    return [[dice.randrange(256) for _ in range(dice.randrange(1, longest))] for _ in range(number)]


EVERYTHING: dict[str, Any] = {
    "temperature": 0.9,
    "top_p": 0.95,
    "top_k": 200,
    "min_p": 0.01,
    "top_n_sigma": 2.0,
    "repetition_penalty": 1.2,
    "frequency_penalty": 0.4,
    "presence_penalty": 0.3,
    "logit_bias": [(5, 3.0), (9, -100.0)],
    "min_tokens": 7,
    "stop_token_ids": [5, 700000],
    "logprobs": 3,
    "prompt_logprobs": 2,
}


def crowd(number: int) -> list[Ask]:
    """Requests that ask for all sorts of things."""
    dice = random.Random(7)
    asked = []
    for seed, prompt in enumerate(prompts(number)):
        options = {name: value for name, value in EVERYTHING.items() if dice.random() < 0.5}
        asked.append(Ask(prompt, NUM_TOKENS, {"seed": seed, **options}))
    asked[-1].options.update(EVERYTHING)
    return asked


def check_likelihoods(told: list[Likelihood], logits: Tensor, tokens: list[int], num_top: int) -> None:
    """Compares with the softmax of the reference's logits, [len(tokens), vocab_size]."""
    expected = logits.double().log_softmax(dim=-1)
    assert len(told) == len(tokens)
    for (logprob, top), row, token in zip(told, expected, tokens, strict=True):
        assert logprob == pytest.approx(float(row[token]), abs=TOLERANCE)
        assert [value for _, value in top] == pytest.approx(row.topk(num_top).values.tolist(), abs=TOLERANCE)
        assert [float(row[token]) for token, _ in top] == pytest.approx(
            [value for _, value in top], abs=TOLERANCE
        )


def test_they_are_the_models_own(model: Model, reference: LlamaForCausalLM) -> None:
    """Raw log-probabilities, whatever is penalised, biased or forbidden: what an evaluation
    compares between servers.
    """
    asked = crowd(12)
    answers = EngineLoop(model, max_num_batched_tokens=64).answer(asked)
    for ask, answer in zip(asked, answers, strict=True):
        tokens = ask.prompt + answer.tokens
        with torch.inference_mode():
            logits = reference(torch.tensor([tokens])).logits[0]
        if (num_top := ask.options.get("logprobs")) is not None:
            check_likelihoods(answer.likelihoods, logits[len(ask.prompt) - 1 : -1], answer.tokens, num_top)
        if (num_top := ask.options.get("prompt_logprobs")) is not None:
            of_prompt = logits[: len(ask.prompt) - 1]
            check_likelihoods(answer.prompt_likelihoods, of_prompt, ask.prompt[1:], num_top)


def assert_same(answers: list[Answer], expected: list[Answer]) -> None:
    for answer, other in zip(answers, expected, strict=True):
        assert answer.tokens == other.tokens
        for told, others in (
            (answer.likelihoods, other.likelihoods),
            (answer.prompt_likelihoods, other.prompt_likelihoods),
        ):
            assert [logprob for logprob, _ in told] == pytest.approx([p for p, _ in others], abs=TOLERANCE)
            assert [[token for token, _ in top] for _, top in told] == [
                [t for t, _ in top] for _, top in others
            ]


@pytest.fixture(scope="module")
def alone(model: Model) -> list[Answer]:
    """What each request of the crowd gets when it is alone."""
    return [EngineLoop(model, max_num_seqs=1).answer([ask])[0] for ask in crowd(12)]


def test_a_crowd_changes_nothing(model: Model, alone: list[Answer]) -> None:
    """A seed promises the same answer; a neighbour's penalties, biases or likelihoods must not leak
    into it.
    """
    assert_same(EngineLoop(model).answer(crowd(12)), alone)


def test_neither_chunks_nor_preemptions_change_anything(model: Model, alone: list[Answer]) -> None:
    """Counts are lost with the row and made anew, and no log-probability is sent twice."""
    loop = EngineLoop(model, max_num_batched_tokens=24, num_blocks=16)
    assert_same(loop.answer(crowd(12)), alone)
    assert loop.scheduler.num_preemptions > 0


def test_a_long_prompt_is_scored_in_pieces(
    model: Model, alone: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All logits of a long prompt at once would not fit into memory; the pieces must
    fit together.
    """
    monkeypatch.setattr(penalties, "CHUNK_BYTES", 3 * 4 * 256)
    assert_same(EngineLoop(model).answer(crowd(12)), alone)


def test_no_stop_token_before_the_minimum(model: Model) -> None:
    """With every token a stop token but one, that one is drawn until the minimum is reached."""
    stops = [token for token in range(256) if token != 77]
    options = {"min_tokens": 6, "stop_token_ids": stops, "logprobs": 0}
    answer = EngineLoop(model).answer([Ask([1, 2, 3], NUM_TOKENS, options)])[0]
    assert answer.tokens[:6] == [77] * 6
    assert all(top == [] for _, top in answer.likelihoods)


def test_a_penalty_keeps_a_greedy_answer_from_repeating(model: Model) -> None:
    """Greedy requests are penalised too: it is there that models loop."""
    prompt = prompts(3)[2]
    options = {
        "presence_penalty": 1000.0,
        "logit_bias": [(token, 1000.0) for token in range(40, 40 + NUM_TOKENS)],
    }
    answer = EngineLoop(model).answer([Ask(prompt, NUM_TOKENS, options)])[0]
    assert sorted(answer.tokens) == list(range(40, 40 + NUM_TOKENS))


def distribution(logits: Tensor, ask: Ask, output: list[int]) -> Tensor:
    """The formulas in their order, in double precision, token by token; float64 [vocab_size]."""
    options = {**NEUTRAL, **ask.options}
    biases = dict(options["logit_bias"])
    changed = []
    for token, logit in enumerate(logits.tolist()):
        if token in ask.prompt or token in output:
            logit = (
                logit / options["repetition_penalty"] if logit > 0 else logit * options["repetition_penalty"]
            )
        count = output.count(token)
        logit -= options["frequency_penalty"] * count + options["presence_penalty"] * (count > 0)
        logit += biases.get(token, 0.0)
        is_forbidden = len(output) < options["min_tokens"] and token in options["stop_token_ids"]
        changed.append(-torch.inf if is_forbidden else logit)
    row = torch.tensor(changed, dtype=torch.float64)
    if options["temperature"] == 0:
        return (torch.arange(len(row)) == row.argmax()).double()
    if options["top_n_sigma"] > 0:
        possible = row[row > -torch.inf]
        row[row < row.max() - options["top_n_sigma"] * possible.std(correction=0)] = -torch.inf
    p = (row / options["temperature"]).softmax(dim=-1)
    p = torch.where(p >= options["min_p"] * p.max(), p, 0)
    if options["top_k"]:
        p = torch.where(p >= p.sort(descending=True).values[options["top_k"] - 1], p, 0)
    p = p / p.sum()
    falling, order = p.sort(descending=True)
    p[order[falling.cumsum(0) - falling >= options["top_p"]]] = 0
    return p / p.sum()


NEUTRAL: dict[str, Any] = {
    "temperature": 0.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "top_n_sigma": 0.0,
    "repetition_penalty": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "logit_bias": [],
    "min_tokens": 0,
    "stop_token_ids": [],
}


def uniform(seed: int, position: int) -> float:
    """Output `position` of SplitMix64 (Steele, Lea, Flood, 2014), as a fraction."""
    mask = (1 << 64) - 1
    state = (seed + (position + 1) * 0x9E3779B97F4A7C15) & mask
    state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ state >> 27) * 0x94D049BB133111EB) & mask
    return ((state ^ state >> 31) >> 40) / 2**24


@pytest.mark.parametrize("only", [*EVERYTHING, None])
def test_every_draw_follows_the_formulas(model: Model, reference: LlamaForCausalLM, only: str | None) -> None:
    """Each parameter by itself and all together: in another order, or with another count, it is
    another distribution.
    """
    always = {"temperature": 1.0} if only not in ("temperature", None) else {}
    options = EVERYTHING if only is None else {**always, only: EVERYTHING[only]}
    if only == "min_tokens":
        options = {**options, "stop_token_ids": list(range(128))}
    asked = [Ask(prompt, NUM_TOKENS, {"seed": seed, **options}) for seed, prompt in enumerate(prompts(4))]
    for ask, answer in zip(asked, EngineLoop(model).answer(asked), strict=True):
        with torch.inference_mode():
            logits = reference(torch.tensor([ask.prompt + answer.tokens])).logits[0]
        for position, token in enumerate(answer.tokens):
            p = distribution(logits[len(ask.prompt) + position - 1], ask, answer.tokens[:position])
            draw, end = uniform(ask.options["seed"], position), float(p[: token + 1].sum())
            assert end - float(p[token]) - 1e-3 <= draw <= end + 1e-3, (only, position)
