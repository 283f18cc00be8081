"""Sampling, by the kernels of the CPU and by plain torch: the distribution, the filters, and independence from the rest of
the batch.
"""

import math
import statistics
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from streamcore.kernels.native import CpuOps
from streamcore.runner.sampler import SamplingColumns, sample
from streamcore.step import NOT_FINITE

Sample = Callable[[Tensor, SamplingColumns], Tensor]


def by_kernel(logits: Tensor, columns: SamplingColumns) -> Tensor:
    """What the CPU's kernel draws; infinities are forbidden by masks, as the model may not have any."""
    count, vocab_size = logits.shape
    is_possible = torch.nn.functional.pad(logits > -torch.inf, (0, -vocab_size % 32)).view(count, -1, 32)
    words = (is_possible.long() << torch.arange(32)).sum(dim=-1).int()
    tokens, results = (torch.full((count,), -7, dtype=torch.int32) for _ in range(2))
    parameters = {name: getattr(columns, name) for name in SamplingColumns.parameters()}
    penalties = {f"{name}_penalty": torch.zeros(count) for name in ("frequency", "presence", "repetition")}
    rows = torch.arange(count, dtype=torch.int32)
    CpuOps().sample(
        tokens, results, logits.clamp(min=-1e9), parameters | penalties, rows, columns.uniform, NOT_FINITE,
        masks=(rows, words),
    )  # fmt: skip
    assert torch.equal(tokens, results)
    return tokens


@pytest.fixture(params=[by_kernel, sample], ids=["kernel", "torch"])
def draw(request: pytest.FixtureRequest) -> Sample:
    """Each that there is."""
    chosen: Sample = request.param
    return chosen


def columns(
    num_rows: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    top_n_sigma: float = 0.0,
    uniform: Tensor | None = None,
) -> SamplingColumns:
    """The same parameters for every row; the random numbers are spread evenly unless they are given."""
    return SamplingColumns(
        torch.full((num_rows,), temperature),
        torch.full((num_rows,), top_k, dtype=torch.int32),
        torch.full((num_rows,), top_p),
        torch.full((num_rows,), min_p),
        torch.full((num_rows,), top_n_sigma),
        (torch.arange(num_rows) + 0.5) / num_rows if uniform is None else uniform,
    )


def drawn_set(draw: Sample, logits: Tensor, **parameters: float) -> set[int]:
    """Every token that some random number of a fine grid draws."""
    rows = logits.expand(4000, -1)
    return set(draw(rows, columns(4000, **parameters)).tolist())  # type: ignore[arg-type]


def select(columns: SamplingColumns, rows: Tensor) -> SamplingColumns:
    """The columns of some rows."""
    return SamplingColumns(*(getattr(columns, name)[rows] for name in SamplingColumns.__slots__))


def random_logits(num_rows: int, vocab_size: int = 300, seed: int = 0) -> Tensor:
    """Logits that differ clearly."""
    return 3 * torch.randn(num_rows, vocab_size, generator=torch.Generator().manual_seed(seed))


def test_temperature_zero_takes_the_most_likely(draw: Sample) -> None:
    """Greedy requests must be deterministic, whatever their random number and filters say."""
    logits = random_logits(5)
    tokens = draw(logits, columns(5, temperature=0.0, top_k=3, top_p=0.1))
    assert tokens.dtype == torch.int32
    assert tokens.tolist() == logits.argmax(dim=-1).tolist()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_frequencies_follow_the_softmax(draw: Sample, temperature: float) -> None:
    """A skewed draw would make every sampled answer a little wrong, without any sign."""
    logits = random_logits(1, vocab_size=12)
    grid = 20000
    tokens = draw(logits.expand(grid, -1), columns(grid, temperature=temperature))
    frequencies = torch.bincount(tokens, minlength=12) / grid
    expected = (logits[0] / temperature).softmax(dim=-1)
    # An even grid of random numbers hits each interval to within one point.
    assert (frequencies - expected).abs().max() <= 1.01 / grid


@pytest.mark.parametrize("top_k", [1, 2, 7, 299, 300, 1000])
def test_top_k_keeps_exactly_k(draw: Sample, top_k: int) -> None:
    """A client that asks for the best seven must never get the eighth, and may get the seventh."""
    logits = random_logits(1, seed=1) / 6
    expected = set(logits[0].topk(min(top_k, 300)).indices.tolist())
    assert drawn_set(draw, logits, top_k=top_k) == expected


@pytest.mark.parametrize("top_p", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_top_p_keeps_the_smallest_sufficient_set(draw: Sample, top_p: float, scale: float) -> None:
    """The set ends with the token that reaches the mass: one fewer or one more is another distribution."""
    logits = random_logits(1, seed=2) * scale
    probabilities, order = logits[0].double().softmax(dim=-1).sort(descending=True)
    needed = int((probabilities.cumsum(0) - probabilities < top_p).sum())
    expected = set(order[: max(needed, 1)].tolist())
    drawn = drawn_set(draw, logits, top_p=top_p)
    # Tokens rarer than the grid is fine are kept without being drawn.
    visible = {int(token) for token, p in zip(order, probabilities, strict=True) if p > 1 / 3900}
    assert drawn <= expected
    assert drawn >= expected & visible


def test_top_p_counts_within_top_k(draw: Sample) -> None:
    """Both filters together: top_k first, and top_p of what is left, as OpenAI-compatible servers do."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    assert drawn_set(draw, logits, top_p=0.5) == {0, 1}
    assert drawn_set(draw, logits, top_k=2, top_p=0.5) == {0}
    assert drawn_set(draw, logits, top_k=3, top_p=0.7) == {0, 1}


@pytest.mark.parametrize("min_p", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_min_p_keeps_a_fraction_of_the_greatest(draw: Sample, min_p: float, temperature: float) -> None:
    """It follows the model's certainty, at the temperature that is asked for: a fixed cut would be another filter."""
    logits = random_logits(1, vocab_size=40, seed=8)
    probabilities = (logits[0].double() / temperature).softmax(dim=-1)
    kept = probabilities >= min_p * probabilities.max() * (1 - 1e-6)
    visible = set(
        (kept & (probabilities / probabilities[kept].sum() > 1 / 3900)).nonzero().flatten().tolist()
    )
    drawn = drawn_set(draw, logits, min_p=min_p, temperature=temperature)
    assert visible <= drawn <= set(kept.nonzero().flatten().tolist())


def test_top_p_counts_within_min_p(draw: Sample) -> None:
    """min_p first, and top_p of what is left, as vLLM does."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    assert drawn_set(draw, logits, top_p=0.6) == {0, 1}
    assert drawn_set(draw, logits, min_p=0.7, top_p=0.6) == {0, 1}
    assert drawn_set(draw, logits, min_p=0.7, top_p=0.57) == {0}
    assert drawn_set(draw, logits, min_p=0.2, top_k=3) == {0, 1, 2}


@pytest.mark.parametrize("top_n_sigma", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("num_forbidden", [0, 5, 39])
def test_top_n_sigma_keeps_what_is_near_the_greatest(
    draw: Sample, top_n_sigma: float, temperature: float, num_forbidden: int
) -> None:
    """The deviation is that of the tokens which may be drawn: a mask's infinities would make it one that keeps everything."""
    logits = random_logits(1, vocab_size=40, seed=8)
    logits[0, logits[0].argsort()[3 : 3 + num_forbidden]] = -torch.inf
    possible = [value for value in logits[0].tolist() if value != -math.inf]
    border = max(possible) - top_n_sigma * statistics.pstdev(possible)
    kept = {token for token, value in enumerate(logits[0].tolist()) if value >= border}
    probabilities = (logits[0].double() / temperature).softmax(dim=-1)
    visible = {token for token in kept if probabilities[token] / probabilities[list(kept)].sum() > 1 / 3900}
    assert visible <= drawn_set(draw, logits, top_n_sigma=top_n_sigma, temperature=temperature) <= kept
    assert kept < set(range(40))


def test_top_n_sigma_comes_first_and_may_be_off(draw: Sample) -> None:
    """Others count within what it leaves, as in llama.cpp; clients there send -1 for none."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    assert drawn_set(draw, logits, top_n_sigma=0.6) == {0, 1}
    assert drawn_set(draw, logits, top_n_sigma=0.6, top_p=0.57) == {0}
    assert (
        drawn_set(draw, logits, top_n_sigma=0.0) == drawn_set(draw, logits, top_n_sigma=-1.0) == {0, 1, 2, 3}
    )


def test_equal_logits_stay_together(draw: Sample) -> None:
    """bfloat16 models have many equal logits: which survives must not depend on a sorting algorithm."""
    logits = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]])
    assert drawn_set(draw, logits, top_k=2) == {0, 1, 2, 3}
    assert drawn_set(draw, logits, top_p=0.6) == {0, 1, 2, 3}


def test_a_row_draws_the_same_in_every_batch(draw: Sample) -> None:
    """A request with a seed must give the same answer alone and among others with other parameters."""
    num_rows = 24
    logits = random_logits(num_rows, vocab_size=2000, seed=3) * 0.3
    generator = torch.Generator().manual_seed(4)
    mixed = SamplingColumns(
        torch.tensor([0.0, 0.7, 1.0, 1.5]).repeat(6),
        torch.tensor([0, 0, 5, 200, 0, 1500], dtype=torch.int32).repeat(4),
        torch.tensor([1.0, 0.5, 0.9]).repeat(8),
        torch.tensor([0.0, 0.0, 0.1, 0.3, 0.0, 0.02, 0.0, 1.0]).repeat(3),
        torch.tensor([0.0, 2.0, -1.0, 0.0, 1.0, 0.0]).repeat(4),
        torch.rand(num_rows, generator=generator),
    )
    together = draw(logits, mixed)
    for size in (1, 3, 8):
        for start in range(0, num_rows, size):
            rows = torch.arange(start, min(start + size, num_rows))
            assert draw(logits[rows], select(mixed, rows)).tolist() == together[rows].tolist()


def test_the_kernel_draws_as_torch() -> None:
    """A device without kernels must answer as others do, but for numbers on a border."""
    generator = torch.Generator().manual_seed(6)

    def pick(*values: float) -> Tensor:
        return torch.tensor(values)[torch.randint(len(values), (500,), generator=generator)]

    mixed = SamplingColumns(
        pick(0.0, 0.7, 1.0, 1.5),
        pick(0, 0, 5, 200, 1500).int(),
        pick(1.0, 0.5, 0.9),
        pick(0.0, 0.0, 0.1, 0.3),
        pick(0.0, 2.0, -1.0, 1.0),
        torch.rand(500, generator=generator),
    )
    logits = random_logits(500, vocab_size=2000, seed=5) * pick(0.05, 0.3, 1.0).unsqueeze(1)
    assert (by_kernel(logits, mixed) == sample(logits, mixed)).sum() >= 498


def test_extremes_stay_in_the_vocabulary(draw: Sample) -> None:
    """The greatest random number, a tiny temperature and masked tokens must not index past the vocabulary."""
    logits = random_logits(2, vocab_size=50)
    logits[:, 40:] = -torch.inf
    last = torch.full((2,), 1 - 2**-24)
    assert (draw(logits, columns(2, uniform=last)) < 40).all()
    cold = draw(logits, columns(2, temperature=1e-6, uniform=last))
    assert cold.tolist() == logits.argmax(dim=-1).tolist()
    first = draw(logits, columns(2, temperature=100.0, uniform=torch.zeros(2)))
    assert first.tolist() == [0, 0]
