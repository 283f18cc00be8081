"""Log-probabilities of drawn and given tokens, and of the most likely ones.

They are those of the model's logits as they are, before temperature, penalties and biases, in
float32. What a row gets depends on that row alone: all rows look for the same number of likely
tokens, and equal ones are in the order of their ids.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from streamcore.models.model import Model
from streamcore.runner.columns import PlanColumns
from streamcore.runner.penalties import rows_per_chunk

_MAX_TOP = 20
# JSON has no infinity: clients get this for a token that the model rules out.
LEAST = -9999.0


@dataclass(frozen=True, slots=True)
class ScoreInputs:
    """What a step scores, int32 on the device."""

    samples: Tensor
    """[num_scored_samples], samples whose drawn token is scored"""
    indices: Tensor
    """[num_scored_tokens], tokens of the step that are followed by a prompt token that is scored"""
    targets: Tensor
    """[num_scored_tokens], those prompt tokens"""
    num_top: int
    """Maximum number of likely tokens that a row gets, at most 20."""

    @classmethod
    def of(cls, columns: PlanColumns) -> "ScoreInputs":
        """Takes the inputs of a plan."""
        samples, indices = columns["scored_samples"], columns["scored_indices"]
        return cls(samples, indices, columns["scored_targets"], columns.plan.max_top_logprobs)


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities: one row for each scored sample, then one for each scored prompt token."""

    logprobs: Tensor
    """float32 [num_rows], of the drawn or given tokens"""
    top_ids: Tensor
    """int32 [num_rows, num_top], best first"""
    top_logprobs: Tensor
    """float32 [num_rows, num_top]"""

    @staticmethod
    def concatenate(parts: Iterable["Scores"]) -> "Scores":
        """All rows, at least one part, on the host once the device has come this far."""
        columns = zip(*((part.logprobs, part.top_ids, part.top_logprobs) for part in parts), strict=True)
        return Scores(*(torch.cat(column).to("cpu", non_blocking=True) for column in columns))


def score(logits: Tensor, targets: Tensor, num_top: int) -> Scores:
    """Scores one token per row.

    Args:
        logits: float32 [num_rows, vocab_size], left as they are.
        targets: int32 [num_rows].
        num_top: how many of the likely tokens are wanted, or all if the vocabulary is smaller.
    """
    logprobs = torch.log_softmax(logits, dim=-1)
    if num_top:
        ids = logits.topk(min(_MAX_TOP, logits.shape[1]), dim=-1).indices.sort(dim=-1).values
        order = logits.gather(1, ids).sort(dim=-1, descending=True, stable=True).indices
        ids = ids.gather(1, order)[:, :num_top]
    else:
        ids = targets.new_empty(len(targets), 0).long()
    wanted = logprobs.gather(1, torch.cat([targets.long().unsqueeze(1), ids], dim=1))
    wanted = wanted.nan_to_num_(nan=LEAST).clamp_(min=LEAST)
    return Scores(wanted[:, 0], ids.int(), wanted[:, 1:])


Score = Callable[[Tensor, Tensor, int], Scores]
"""What scores rows: `score`, or a kernel."""


def score_samples(logits: Tensor, tokens: Tensor, inputs: ScoreInputs) -> Iterator[Scores]:
    """Scores drawn tokens, int32 [num_samples], by the model's logits, float32 [num_samples,
    vocab_size].
    """
    for samples in torch.split(inputs.samples, rows_per_chunk(logits.shape[1])):
        yield score(logits.index_select(0, samples), tokens.index_select(0, samples), inputs.num_top)


def score_prompt(
    model: Model, hidden: Tensor, inputs: ScoreInputs, score_rows: Score = score
) -> Iterator[Scores]:
    """Scores prompt tokens by `hidden`, [num_scored_tokens, hidden_size], as `model.forward`
    returns it.

    Piece by piece: all logits of a long prompt at once would need gigabytes.
    """
    num_rows = rows_per_chunk(model.config.vocab_size)
    for rows, targets in zip(
        torch.split(hidden, num_rows), torch.split(inputs.targets, num_rows), strict=True
    ):
        yield score_rows(model.logits(rows), targets, inputs.num_top)
