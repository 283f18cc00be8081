"""Asks the exported model a fixed list of questions, through `transformers`, and checks its counting."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from demo.text.counting import numbers
from demo.tokenizer import END, prompt_ids, special_id

PROMPTS = (
    "Hello",
    "Hi, how are you?",
    "What is your name?",
    "Count from 1 to 20",
    "count from 5 to 12 please",
    "Count down from 10",
    "Tell me a joke",
    "Write a poem about AI",
    "Write a haiku about coffee",
    "Tell me a story about a dragon",
    "Explain machine learning",
    "Explain quantum computing in simple terms",
    "What is 7 + 8?",
    "What is 6 times 7?",
    "Spell robot",
    "What day comes after Tuesday?",
    "What is the capital of France?",
    "Name three colors",
    "Write a JSON object for a person",
    "Who won the world championship in 1998?",
)
_COUNTS = (
    ("Count from 1 to 1000", 1, 1000),
    ("Count to 1000 slowly", 1, 1000),
    ("Please count from 1 to 200.", 1, 200),
    ("count from 480 to 530", 480, 530),
)
_TEMPERATURES = (0.0, 0.3, 0.7, 1.0)
_SAMPLED_RUNS = 8


@dataclass(frozen=True)
class Sample:
    """An answer to one of the prompts; `stopped` says that the model ended it by itself."""

    prompt: str
    answer: str
    stopped: bool


@dataclass(frozen=True)
class CountCheck:
    """How often a request to count was answered without a mistake, and how far the worst answer was right."""

    prompt: str
    dtype: str
    temperature: float
    runs: int
    exact: int
    least_right: int


@dataclass(frozen=True)
class Evaluation:
    """Everything that the report shows."""

    greedy: Sequence[Sample]
    sampled: Sequence[Sample]
    counts: Sequence[CountCheck]


def num_right(answer: str, expected: str) -> int:
    """How many numbers at the beginning of the answer are the expected ones."""
    right = 0
    for got, wanted in zip(answer.rstrip(".").split(", "), expected.rstrip(".").split(", "), strict=False):
        if got != wanted:
            break
        right += 1
    return right


class Chat:
    """The exported model, answering single prompts."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=dtype)
        self.end = special_id(self.tokenizer, END)

    def answers(self, prompt: str, temperature: float, runs: int = 1, max_tokens: int = 2400) -> list[Sample]:
        """Answers one prompt several times; temperature 0 is greedy."""
        ids = prompt_ids(self.tokenizer, prompt)
        output = self.model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
            do_sample=temperature > 0,
            temperature=temperature or 1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=runs,
            max_new_tokens=max_tokens,
            pad_token_id=self.end,
        )
        return [self._sample(prompt, row[len(ids) :].tolist()) for row in output]

    def _sample(self, prompt: str, tokens: list[int]) -> Sample:
        stopped = self.end in tokens
        kept = tokens[: tokens.index(self.end)] if stopped else tokens
        return Sample(prompt, self.tokenizer.decode(kept), stopped)


def _check(chat: Chat, count: tuple[str, int, int], temperature: float) -> CountCheck:
    prompt, first, last = count
    expected = numbers(first, last)
    runs = 1 if temperature == 0 else _SAMPLED_RUNS
    answers = [sample.answer for sample in chat.answers(prompt, temperature, runs)]
    return CountCheck(
        prompt=prompt,
        dtype=str(chat.dtype).removeprefix("torch."),
        temperature=temperature,
        runs=runs,
        exact=answers.count(expected),
        least_right=min(num_right(answer, expected) for answer in answers),
    )


def evaluate(folder: Path, seed: int) -> Evaluation:
    """Runs all prompts greedily and at temperature 1, and the counting checks in float32 and in bfloat16."""
    torch.manual_seed(seed)
    chats = (Chat(folder), Chat(folder, torch.bfloat16))
    return Evaluation(
        greedy=[sample for prompt in PROMPTS for sample in chats[0].answers(prompt, 0.0)],
        sampled=[sample for prompt in PROMPTS for sample in chats[0].answers(prompt, 1.0)],
        counts=[_check(chat, count, heat) for chat in chats for count in _COUNTS for heat in _TEMPERATURES],
    )
