"""Log-probabilities, against double precision."""

import torch

from streamcore.runner.scores import Scores, score


def test_they_are_those_of_the_softmax() -> None:
    """Perplexities and classifications are made of these numbers."""
    logits = 4 * torch.randn(6, 500, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 499, 7, 7, 250, 31], dtype=torch.int32)
    scores = score(logits, targets, 5)
    expected = logits.double().log_softmax(dim=-1)
    top = expected.topk(5, dim=-1)
    own = expected.gather(1, targets.long().unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(scores.logprobs.double(), own, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores.top_logprobs.double(), top.values, rtol=1e-5, atol=1e-5)
    assert scores.top_ids.tolist() == top.indices.tolist()
    assert scores.top_ids.dtype == torch.int32


def test_equal_logits_are_told_in_the_order_of_their_ids() -> None:
    """A greedy answer is the first of equal ones: told second, it would not look like the model's choice, and how many
    others ask for must not decide.
    """
    logits = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0, 3.0, 0.0]]).repeat(1, 5)
    targets = torch.zeros(1, dtype=torch.int32)
    best = [index for index in range(35) if logits[0, index] == 3.0]
    assert score(logits, targets, 3).top_ids.tolist() == [best[:3]]
    assert score(logits, targets, 15).top_ids.tolist() == [best]
    assert int(logits.argmax()) == best[0]


def test_numbers_that_json_does_not_have_are_clamped() -> None:
    """One infinity or NaN makes the whole event unreadable for its client."""
    logits = torch.tensor([[0.0, -torch.inf, -20000.0], [torch.nan, 0.0, 1.0]])
    scores = score(logits, torch.tensor([1, 1], dtype=torch.int32), 3)
    assert scores.logprobs.tolist() == [-9999.0, -9999.0]
    assert scores.top_logprobs[0].tolist() == [0.0, -9999.0, -9999.0]
    assert torch.isfinite(scores.top_logprobs).all()


def test_a_vocabulary_smaller_than_what_is_asked_for() -> None:
    """All there are is all that can be told."""
    scores = score(torch.zeros(2, 4), torch.tensor([0, 3], dtype=torch.int32), 20)
    assert scores.top_ids.shape == scores.top_logprobs.shape == (2, 4)
    assert score(torch.zeros(2, 4), torch.tensor([0, 3], dtype=torch.int32), 0).top_ids.shape == (2, 0)


def test_pieces_become_columns() -> None:
    """The engine reads them by address: a gap between rows would be read as numbers."""
    logits, targets = torch.randn(5, 40), torch.tensor([1, 2, 3, 4, 5], dtype=torch.int32)
    whole = score(logits, targets, 4)
    joined = Scores.concatenate(score(logits[part], targets[part], 4) for part in (slice(0, 2), slice(2, 5)))
    for column, expected in (
        (joined.logprobs, whole.logprobs),
        (joined.top_ids, whole.top_ids),
        (joined.top_logprobs, whole.top_logprobs),
    ):
        assert column.is_contiguous()
        assert torch.equal(column, expected)
