"""The CUDA kernel of log-probabilities against float64 and against the CPU's."""

from functools import cache

import pytest
import torch
from tests.cuda.emulated import EmulatedOps
from tests.cuda.emulator import Emulator, aligned
from tests.cuda.host_library import Form, host_library, missing
from torch import Tensor

from streamcore.runner.scores import LEAST, Scores, score

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

BOUND = 2e-5
"""Of a log-probability: some roundings of a number of up to 100."""


@cache
def _emulator(form: Form) -> Emulator:
    return Emulator(host_library(form))


def scored(
    logits: Tensor, targets: Tensor, num_top: int, samples: Tensor | None = None, form: Form = "fast", seed: int = 0,
    emulator: Emulator | None = None,
) -> Scores:  # fmt: skip
    """What the kernel writes."""
    emulator = emulator or _emulator(form)
    count = len(logits if samples is None else samples)
    outputs = (
        torch.full((count,), torch.nan),
        torch.full((count, num_top), -7).int(),
        torch.full((count, num_top), torch.nan),
    )
    scores = Scores(*map(aligned, outputs))
    emulator.begin(check=form == "check", seed=seed)
    if form == "check":
        emulator.register(logits.data_ptr(), logits.untyped_storage().nbytes(), "logits", is_written=True)
        for name, tensor in (("targets", targets), ("samples", samples)):
            if tensor is not None:
                emulator.register(tensor.data_ptr(), tensor.nbytes, name, is_written=True)
        for name in ("logprobs", "top_ids", "top_logprobs"):
            tensor = getattr(scores, name)
            emulator.register(tensor.data_ptr(), tensor.nbytes, name, is_written=False)
    ops = EmulatedOps(emulator)
    ops.score(scores.logprobs, scores.top_ids, scores.top_logprobs, logits, targets, samples, LEAST)
    return scores


def make_logits(vocab_size: int, pad: int = 0, count: int = 6) -> tuple[Tensor, Tensor]:
    """Rows of different kinds, and a target of each."""
    generator = torch.Generator().manual_seed(vocab_size)
    storage = 3 * torch.randn(count, vocab_size + pad, generator=generator)
    logits = aligned(storage)[:, :vocab_size]
    # Many equal ones; all equal; one far above all; as a mask in the model leaves them; zeros of
    # both signs.
    logits[1] = logits[1].round()
    logits[2] = 0.25
    logits[3, vocab_size // 2] = 90.0
    logits[4, : vocab_size // 2] = -torch.inf
    logits[5] = torch.where(torch.arange(vocab_size) % 2 == 0, 0.0, -0.0)
    targets = torch.randint(vocab_size, (count,), generator=generator).int()
    return logits, aligned(targets)


def likeliest(logits: Tensor, num_top: int) -> Tensor:
    """Ids by logit, equal ones by id; int32 [num_rows, num_top]."""
    return logits.sort(dim=-1, descending=True, stable=True).indices[:, :num_top].int()


@pytest.mark.parametrize(("vocab_size", "pad"), [(5, 0), (1000, 0), (5003, 5), (20000, 0)])
def test_scores_are_those_of_the_cpu(vocab_size: int, pad: int) -> None:
    """A client that compares likelihoods must get the same likeliest tokens from either device, in the same order."""
    logits, targets = make_logits(vocab_size, pad)
    num_top = min(20, vocab_size)
    ours, expected = scored(logits, targets, num_top), score(logits, targets, num_top)
    assert torch.equal(ours.top_ids, likeliest(logits, num_top))
    # Which of many equal ones are the last is torch's to choose.
    assert torch.equal(ours.top_ids[0], expected.top_ids[0])
    torch.testing.assert_close(ours.logprobs, expected.logprobs, rtol=0, atol=BOUND)
    torch.testing.assert_close(ours.top_logprobs, expected.top_logprobs, rtol=0, atol=BOUND)
    exact = logits.double().log_softmax(-1).gather(1, targets.long().unsqueeze(1)).squeeze(1).clamp(min=LEAST)
    torch.testing.assert_close(ours.logprobs.double(), exact, rtol=0, atol=BOUND)


def test_only_the_samples_that_ask_are_scored() -> None:
    """The score of a neighbour would be a wrong answer that looks right."""
    logits, targets = make_logits(1000)
    samples = aligned(torch.tensor([5, 0, 3], dtype=torch.int32))
    some, all_rows = scored(logits, targets, 3, samples), scored(logits, targets, 3)
    for name in ("logprobs", "top_ids", "top_logprobs"):
        assert torch.equal(getattr(some, name), getattr(all_rows, name)[samples.long()])
    assert scored(logits, targets, 0).top_ids.shape == (6, 0)


def test_a_row_that_is_not_finite_has_the_least() -> None:
    """JSON has no word for what is no number."""
    logits, targets = make_logits(1000)
    logits[0, 7], logits[1, 0], logits[2] = torch.nan, torch.inf, -torch.inf
    ours = scored(logits, targets, 5)
    for row in (0, 1, 2):
        assert ours.logprobs[row] == LEAST
        assert (ours.top_logprobs[row] == LEAST).all()
    assert ((ours.top_ids >= 0) & (ours.top_ids < 1000)).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("vocab_size", "pad"), [(1000, 0), (5003, 5)])
def test_memory(vocab_size: int, pad: int, seed: int) -> None:
    """Threads share the likeliest tokens; one that counts too early gives a token another one's place."""
    logits, targets = make_logits(vocab_size, pad)
    ours = scored(logits, targets, 20, form="check", seed=seed)
    assert torch.equal(ours.top_ids, likeliest(logits, 20))
