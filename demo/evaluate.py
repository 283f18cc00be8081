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
    ("Please count to 200.", 1, 200),
    ("count from 480 to 530", 480, 530),
)
_TEMPERATURES = (0.0, 0.3, 0.7, 1.0)
_SAMPLED_RUNS = 4


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


def _drawn(logits: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """One token for each row, int64 [rows, 1], of logits [rows, vocab] at temperatures [rows, 1]."""
    greedy = logits.argmax(dim=-1, keepdim=True)
    sampled = torch.multinomial(torch.softmax(logits / heat.clamp(min=1e-3), dim=-1), 1)
    return torch.where(heat == 0, greedy, sampled)


class Chat:
    """The exported model, answering single prompts."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=dtype)
        self.end = special_id(self.tokenizer, END)

    @torch.inference_mode()
    def answers(self, prompt: str, temperatures: Sequence[float], max_tokens: int = 2400) -> list[Sample]:
        """Answers one prompt as often as there are temperatures, side by side; temperature 0 is greedy."""
        ids = prompt_ids(self.tokenizer, prompt)
        heat = torch.tensor(temperatures, dtype=torch.float32)[:, None]
        tokens = torch.tensor([ids] * len(temperatures))
        columns: list[torch.Tensor] = []
        ended = torch.zeros(len(temperatures), 1, dtype=torch.bool)
        cache = None
        while len(columns) < max_tokens and not ended.all():
            output = self.model(tokens, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            tokens = _drawn(output.logits[:, -1].float(), heat)
            columns.append(tokens)
            ended |= tokens == self.end
        return [self._sample(prompt, row) for row in torch.cat(columns, dim=1).tolist()]

    def _sample(self, prompt: str, tokens: list[int]) -> Sample:
        stopped = self.end in tokens
        kept = tokens[: tokens.index(self.end)] if stopped else tokens
        return Sample(prompt, self.tokenizer.decode(kept), stopped)


def _checks(chat: Chat, count: tuple[str, int, int]) -> list[CountCheck]:
    """One request to count, at all temperatures at once."""
    prompt, first, last = count
    expected = numbers(first, last)
    runs = {heat: 1 if heat == 0 else _SAMPLED_RUNS for heat in _TEMPERATURES}
    samples = iter(chat.answers(prompt, [heat for heat in runs for _ in range(runs[heat])]))
    checks = []
    for heat in runs:
        answers = [next(samples).answer for _ in range(runs[heat])]
        least = min(num_right(answer, expected) for answer in answers)
        dtype = str(chat.dtype).removeprefix("torch.")
        checks.append(CountCheck(prompt, dtype, heat, len(answers), answers.count(expected), least))
    return checks


def evaluate(folder: Path, seed: int) -> Evaluation:
    """Asks everything greedily and at temperature 1, and checks the counting in float32 and in bfloat16."""
    torch.manual_seed(seed)
    chats = (Chat(folder), Chat(folder, torch.bfloat16))
    pairs = [chats[0].answers(prompt, (0.0, 1.0), max_tokens=400) for prompt in PROMPTS]
    return Evaluation(
        greedy=[greedy for greedy, _ in pairs],
        sampled=[sampled for _, sampled in pairs],
        counts=[check for chat in chats for count in _COUNTS for check in _checks(chat, count)],
    )
