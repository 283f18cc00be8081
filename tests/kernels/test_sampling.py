"""The CPU's kernels of sampling and of log-probabilities against the definition of each parameter in float64."""

from dataclasses import replace

import pytest
import torch
from tests.cuda.test_sampling import Rows, make_rows, with_changes
from torch import Tensor

from streamcore.kernels.native import CpuOps
from streamcore.runner.sampler import SamplingColumns
from streamcore.runner.scores import LEAST
from streamcore.step import NOT_FINITE

PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")


def draw(rows: Rows) -> Tensor:
    """What the kernel draws. The parameters of each sample are in another row than its own."""
    count = len(rows.logits)
    tokens, results = (torch.full((count,), -7, dtype=torch.int32) for _ in range(2))
    parameters = {name: getattr(rows.columns, name) for name in SamplingColumns.parameters()}
    counted = biases = None
    if rows.changes is None:
        parameters |= {name: torch.full((count,), float(name == PENALTIES[0])) for name in PENALTIES}
    else:
        parameters |= rows.changes.penalties
        in_output, is_there = (table.flip(0) for table in rows.changes.counts.tables())
        given = rows.changes.biases
        counted, biases = (in_output, is_there), (given.samples, given.tokens, given.values)
    CpuOps().sample(
        tokens,
        results,
        rows.logits,
        {name: values.flip(0) for name, values in parameters.items()},
        torch.arange(count - 1, -1, -1, dtype=torch.int32),
        rows.columns.uniform,
        NOT_FINITE,
        counted=counted,
        biases=biases,
        masks=rows.masks,
    )
    assert torch.equal(tokens, results)
    return tokens


def with_numbers(rows: Rows, seed: int) -> Rows:
    """The same rows with other random numbers."""
    uniform = torch.rand(len(rows.logits), generator=torch.Generator().manual_seed(seed))
    return replace(rows, columns=replace(rows.columns, uniform=uniform))


@pytest.mark.parametrize("spread", [0.01, 3.0, 30.0])
@pytest.mark.parametrize(("vocab_size", "pad"), [(5, 0), (31, 2), (1000, 0), (5003, 5), (20000, 0)])
def test_draws(vocab_size: int, pad: int, spread: float) -> None:
    """A token outside of what the client allows, or drawn with another probability, is a wrong answer."""
    rows = make_rows(vocab_size, pad, count=24, spread=spread)
    for seed in range(3):
        numbered = with_numbers(rows, seed)
        numbered.assert_right(draw(numbered))


@pytest.mark.parametrize(("vocab_size", "pad", "spread"), [(700, 0, 3.0), (1003, 5, 30.0), (9000, 0, 0.01)])
def test_penalties_biases_and_masks(vocab_size: int, pad: int, spread: float) -> None:
    """A token that the client has forbidden must not be drawn, nor one that its penalties have ruled out."""
    rows = with_changes(make_rows(vocab_size, pad, count=24, spread=spread, masked=True))
    rows.assert_right(draw(rows))


@pytest.mark.parametrize("num_top", [0, 1, 20])
@pytest.mark.parametrize("vocab_size", [20, 5003])
def test_scores(vocab_size: int, num_top: int) -> None:
    """Perplexities and classifications are made of these numbers, and a client reads the likeliest in their order."""
    logits = make_rows(vocab_size, 3).logits
    samples = torch.tensor([7, 0, 3], dtype=torch.int32)
    targets = torch.arange(len(logits), dtype=torch.int32)
    logprobs, top = torch.empty(3), torch.empty(3, num_top)
    ids = torch.empty(3, num_top, dtype=torch.int32)
    CpuOps().score(logprobs, ids, top, logits, targets, samples, LEAST)
    expected = logits[samples].double().log_softmax(dim=-1)
    order = logits[samples].sort(dim=-1, descending=True, stable=True).indices[:, :num_top]
    own = expected.gather(1, targets[samples].long().unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(logprobs.double(), own, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(top.double(), expected.gather(1, order), rtol=1e-5, atol=1e-5)
    assert ids.tolist() == order.tolist()


def test_scores_that_json_does_not_have_are_clamped() -> None:
    """One infinity or NaN makes the whole event unreadable for its client."""
    logits = torch.tensor([[0.0, -torch.inf, -20000.0], [torch.nan, 0.0, 1.0]])
    logprobs, top, ids = torch.empty(2), torch.empty(2, 3), torch.empty(2, 3, dtype=torch.int32)
    CpuOps().score(logprobs, ids, top, logits, torch.tensor([1, 1], dtype=torch.int32), None, LEAST)
    assert logprobs.tolist() == [LEAST, LEAST]
    assert top[0].tolist() == [0.0, LEAST, LEAST]
    assert torch.isfinite(top).all()


def test_a_target_that_is_no_token_is_refused() -> None:
    """Another row's logit would be read as this one's."""
    logprobs, none = torch.empty(1), torch.empty(1, 0)
    with pytest.raises(ValueError, match="target"):
        CpuOps().score(
            logprobs, none.int(), none, torch.zeros(1, 4), torch.tensor([4], dtype=torch.int32), None, LEAST
        )
