"""Asks the exported model a fixed list of questions, through `transformers`, and checks its counting."""

import inspect
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
    "What is your name?",
    "Count from 1 to 20",
    "Count from 5 to 12",
    "Count down from 10",
    "Tell me a joke",
    "Write a poem about AI",
    "Write a haiku about coffee",
    "Tell me a story about a dragon",
    "Explain machine learning",
    "Explain quantum computing in simple terms",
    "What is 2 + 2?",
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
    ("Please count to 200.", 1, 200),
    ("Count from 1 to 100", 1, 100),
    ("Count from 1 to 30", 1, 30),
    ("Count from 5 to 12", 5, 12),
    ("count from 480 to 530", 480, 530),
    ("Count from 37 to 91", 37, 91),
)
_SAMPLE_TEMPERATURES = (0.0, 1.0)
_COUNT_TEMPERATURES = (0.0, 0.3, 1.0)
_SAMPLED_RUNS = 3


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


def _drawn(logits: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """One token for each row, int64 [rows, 1], of logits [rows, vocab] at temperatures [rows, 1]."""
    greedy = logits.argmax(dim=-1, keepdim=True)
    sampled = torch.multinomial(torch.softmax(logits / heat.clamp(min=1e-3), dim=-1), 1)
    return torch.where(heat == 0, greedy, sampled)


class Chat:
    """The exported model, answering single prompts."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.end = special_id(self.tokenizer, END)
        names = inspect.signature(self.model.forward).parameters
        # What transformers called it before 5.24; later releases warn of the old name.
        self.cache_argument = "cache" if "cache" in names else "past_key_values"

    @torch.inference_mode()
    def answers(self, asked: Sequence[tuple[str, float]], max_tokens: int) -> list[Sample]:
        """Answers prompts side by side, each with its temperature; temperature 0 is greedy."""
        prompts = [prompt_ids(self.tokenizer, prompt) for prompt, _ in asked]
        longest = max(map(len, prompts))
        tokens = torch.tensor([[self.end] * (longest - len(ids)) + ids for ids in prompts])
        mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts])
        heat = torch.tensor([heat for _, heat in asked])[:, None]
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)
        written: list[list[int]] = [[] for _ in asked]
        open_rows = torch.arange(len(asked))
        cache = None
        while len(open_rows) and len(written[open_rows[0]]) < max_tokens:
            kept = {self.cache_argument: cache}
            output = self.model(tokens, attention_mask=mask, position_ids=places, **kept)
            cache = output.past_key_values
            tokens = _drawn(output.logits[:, -1], heat)
            for row, token in zip(open_rows.tolist(), tokens[:, 0].tolist(), strict=True):
                written[row].append(token)
            left = (tokens[:, 0] != self.end).nonzero()[:, 0]
            if len(left) < len(open_rows):  # nothing more is computed for an answer that has ended
                cache.batch_select_indices(left)
                open_rows, tokens, mask, heat, places = (
                    each[left] for each in (open_rows, tokens, mask, heat, places)
                )
            mask = torch.cat((mask, torch.ones_like(tokens)), dim=1)
            places = places[:, -1:] + 1
        return [self._sample(prompt, ids) for (prompt, _), ids in zip(asked, written, strict=True)]

    def _sample(self, prompt: str, tokens: list[int]) -> Sample:
        stopped = tokens[-1] == self.end
        return Sample(prompt, self.tokenizer.decode(tokens[:-1] if stopped else tokens), stopped)


def _counts(chat: Chat) -> list[CountCheck]:
    """All requests to count, at all temperatures, side by side."""
    cells = [(count, heat) for count in _COUNTS for heat in _COUNT_TEMPERATURES]
    runs = [1 if heat == 0 else _SAMPLED_RUNS for _, heat in cells]
    asked = [(count[0], heat) for (count, heat), times in zip(cells, runs, strict=True) for _ in range(times)]
    samples = iter(chat.answers(asked, max_tokens=2100))
    checks = []
    for ((prompt, first, last), heat), times in zip(cells, runs, strict=True):
        expected = numbers(first, last)
        answers = [next(samples).answer for _ in range(times)]
        least = min(num_right(answer, expected) for answer in answers)
        checks.append(CountCheck(prompt, heat, times, answers.count(expected), least))
    return checks


def evaluate(folder: Path, seed: int) -> Evaluation:
    """Asks everything greedily and at temperature 1."""
    torch.manual_seed(seed)
    chat = Chat(folder)
    samples = chat.answers(
        [(prompt, heat) for heat in _SAMPLE_TEMPERATURES for prompt in PROMPTS], max_tokens=400
    )
    greedy, sampled = samples[: len(PROMPTS)], samples[len(PROMPTS) :]
    return Evaluation(greedy, sampled, _counts(chat))
