"""Penalties and biases against the same in plain Python and double precision."""

import random
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from streamcore.runner import penalties
from streamcore.runner.penalties import BiasInputs, CountInputs, PenaltyInputs, TokenCounts, add_biases

VOCAB_SIZE = 30


@dataclass
class Row:
    """A sequence with penalties, as a test sees it."""

    prompt_len: int
    repetition: float
    frequency: float
    presence: float
    tokens: list[int] = field(default_factory=list)

    def penalised(self, logits: list[float]) -> list[float]:
        """The formulas of the docs of OpenAI and of the paper, token by token."""
        output, result = self.tokens[self.prompt_len :], []
        for token, logit in enumerate(logits):
            if token in self.tokens:
                logit = logit / self.repetition if logit > 0 else logit * self.repetition
            count = output.count(token)
            result.append(logit - self.frequency * count - self.presence * (count > 0))
        return result


def int32(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def step(
    rows: dict[int, Row], fresh: dict[int, list[int]], reset: list[int]
) -> tuple[Tensor, CountInputs, PenaltyInputs]:
    """The inputs of a step that computes these fresh tokens of each row, and samples all of them but row 7."""
    token_ids: list[int] = []
    counted: list[tuple[int, int, int]] = []
    for number, tokens in fresh.items():
        for token in tokens:
            row = rows[number]
            counted.append((len(token_ids), number, int(len(row.tokens) >= row.prompt_len)))
            row.tokens.append(token)
            # Tokens of others, without penalties, lie between them.
            token_ids += [token, 3]
    sampled = [number for number in fresh if number != 7]
    counts = CountInputs(
        new_rows=int32(reset),
        indices=int32([index for index, _, _ in counted]),
        rows=int32([row for _, row, _ in counted]),
        as_output=int32([is_output for _, _, is_output in counted]),
    )
    penalties = PenaltyInputs(
        samples=int32([2 * index for index in range(len(sampled))]),
        # Every other sample has no penalty.
        sample_rows=int32([row for number in sampled for row in (number, 9)]),
        repetition=torch.tensor([rows[row].repetition if row in rows else 1.0 for row in range(10)]),
        frequency=torch.tensor([rows[row].frequency if row in rows else 0.0 for row in range(10)]),
        presence=torch.tensor([rows[row].presence if row in rows else 0.0 for row in range(10)]),
    )
    return int32(token_ids), counts, penalties


@pytest.mark.parametrize("chunk_bytes", [penalties.CHUNK_BYTES, 4 * VOCAB_SIZE])
def test_penalties_follow_what_is_there(chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong count punishes words that were never said, or lets a loop go on."""
    monkeypatch.setattr(penalties, "CHUNK_BYTES", chunk_bytes)
    dice = random.Random(0)
    rows = {
        2: Row(4, 1.3, 0.0, 0.0),
        0: Row(1, 1.0, 0.7, 0.0),
        7: Row(30, 1.5, 0.5, 0.5),
        5: Row(3, 1.0, 0.0, 1.1),
        4: Row(6, 0.8, -0.4, 0.3),
    }
    counts = TokenCounts(10, VOCAB_SIZE, torch.device("cpu"))
    for number in range(12):
        lengths = {row: 6 if number == 0 else dice.randrange(1, 3) for row in rows}
        fresh = {
            row: [dice.randrange(VOCAB_SIZE // 2) for _ in range(length)] for row, length in lengths.items()
        }
        reset = list(rows) if number == 0 else []
        if number == 8:
            # The row gets another sequence, which has nothing of the one before.
            rows[5], reset = Row(1, 2.0, 1.0, 1.0), [5]
        token_ids, counted, penalised = step(rows, fresh, reset)
        logits = torch.randn(2 * (len(rows) - 1), VOCAB_SIZE)
        changed = logits.clone()
        counts.count(token_ids, counted)
        counts.penalise(changed, penalised)
        assert torch.equal(changed[1::2], logits[1::2]), "who has no penalty keeps what the model says"
        sampled = [row for key, row in rows.items() if key != 7]
        expected = [row.penalised(line) for row, line in zip(sampled, logits[::2].tolist(), strict=True)]
        torch.testing.assert_close(
            changed[::2].double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-5
        )


def test_biases_reach_their_token_and_no_other() -> None:
    """A bias of -100 is how clients ban a word; on another row it bans it for another client."""
    logits = torch.randn(3, VOCAB_SIZE)
    changed = logits.clone()
    samples, tokens = [0, 0, 2, 2, 2, 2], [4, 29, 0, 7, 30, -5]
    values = [1.5, -100.0, -torch.inf, 2.0, -torch.inf, 9.0]
    add_biases(changed, BiasInputs(int32(samples), int32(tokens), torch.tensor(values)))
    expected = logits.clone()
    expected[0, 4] += 1.5
    expected[0, 29] -= 100
    expected[2, 0] = -torch.inf
    expected[2, 7] += 2
    assert torch.equal(changed, expected), "tokens that the model does not have change nothing"


def test_a_forbidden_token_stays_forbidden_whatever_its_bias() -> None:
    """A client that likes the end token must still get its minimum of tokens."""
    logits = torch.zeros(1, VOCAB_SIZE)
    add_biases(logits, BiasInputs(int32([0, 0]), int32([3, 3]), torch.tensor([100.0, -torch.inf])))
    assert logits[0, 3] == -torch.inf
