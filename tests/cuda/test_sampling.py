"""The CUDA kernel of sampling against the definition of each parameter in float64, and against the CPU's sampler."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import pytest
import torch
from tests.cuda.emulated import EmulatedOps
from tests.cuda.emulator import Emulator, aligned
from tests.cuda.host_library import host_library, missing
from torch import Tensor

from streamcore.runner.sampler import SamplingColumns, sample
from streamcore.step import NOT_FINITE

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

Form = Literal["fast", "check"]


@cache
def _emulator(form: Form) -> Emulator:
    return Emulator(host_library(form))


@dataclass(frozen=True)
class Rows:
    """Rows of logits with a parameter of each kind."""

    logits: Tensor
    columns: SamplingColumns
    masks: tuple[Tensor, Tensor] | None = None

    def draw(self, form: Form = "fast", seed: int = 0) -> tuple[Tensor, Tensor]:
        """What the kernel draws, and its results."""
        emulator = _emulator(form)
        count = len(self.logits)
        tokens, results = (aligned(torch.full((count,), -7, dtype=torch.int32)) for _ in range(2))
        parameters = {
            name: aligned(getattr(self.columns, name).flip(0)) for name in SamplingColumns.parameters()
        }
        rows = aligned(torch.arange(count - 1, -1, -1, dtype=torch.int32))
        uniform = aligned(self.columns.uniform)
        emulator.begin(check=form == "check", seed=seed)
        if form == "check":
            inputs = {"logits": self.logits, "rows": rows, "uniform": uniform, **parameters}
            if self.masks is not None:
                inputs |= {"masked": self.masks[0], "words": self.masks[1]}
            for name, tensor in inputs.items():
                emulator.register(
                    tensor.data_ptr(),
                    tensor.untyped_storage().nbytes() if name == "logits" else tensor.nbytes,
                    name,
                    is_written=True,
                )
            for name, tensor in (("tokens", tokens), ("results", results)):
                emulator.register(tensor.data_ptr(), tensor.nbytes, name, is_written=False)
        ops = EmulatedOps(emulator)
        ops.sample(tokens, results, self.logits, parameters, rows, uniform, self.masks, NOT_FINITE)
        return tokens, results

    def assert_right(self, tokens: Tensor) -> None:
        """Each token is kept, and its share of the kept probabilities holds the row's number."""
        for row, token in enumerate(tokens.tolist()):
            kept, mass = self._kept(row)
            assert kept[token], f"row {row}: {token} is not kept"
            if self.columns.temperature[row] == 0:
                assert token == int(self._possible(row).argmax()), f"row {row}"
                continue
            through = torch.where(kept, mass, 0).cumsum(0)
            wanted, slack = float(self.columns.uniform[row]) * through[-1], 1e-5 * through[-1]
            assert through[token] - mass[token] - slack <= wanted <= through[token] + slack, (
                f"row {row}: {token}"
            )

    def _possible(self, row: int) -> Tensor:
        logits = self.logits[row].double()
        if self.masks is not None:
            for sample_of_mask, words in zip(*self.masks, strict=True):
                if sample_of_mask == row:
                    bits = torch.tensor([int(words[i // 32]) >> i % 32 & 1 for i in range(len(logits))])
                    logits = torch.where(bits == 1, logits, -torch.inf)
        return logits

    def _kept(self, row: int) -> tuple[Tensor, Tensor]:
        columns, x = self.columns, self._possible(row)
        kept = x > -torch.inf
        if columns.temperature[row] == 0:
            return kept, kept.double()
        mass = ((x - x.max()) / columns.temperature[row].double()).exp()
        if columns.top_n_sigma[row] > 0:
            kept &= x >= x.max() - columns.top_n_sigma[row].double() * x[x > -torch.inf].std(correction=0) * (
                1 + 1e-6
            )
        kept &= mass >= columns.min_p[row].double() * (1 - 1e-5)
        order = torch.where(kept, x, -torch.inf).sort(descending=True)
        if 0 < columns.top_k[row] < len(x):
            kept &= x >= order.values[int(columns.top_k[row]) - 1]
        if columns.top_p[row] < 1:
            sorted_mass = torch.where(kept, mass, 0)[order.indices]
            before = sorted_mass.cumsum(0) - sorted_mass
            count = int((before < columns.top_p[row] * sorted_mass.sum() * (1 - 1e-6)).sum())
            kept &= x >= order.values[max(count - 1, 0)]
        return kept, mass


def make_rows(
    vocab_size: int, pad: int = 0, *, count: int = 12, spread: float = 3.0, masked: bool = False
) -> Rows:
    """Rows of every combination that chance brings."""
    generator = torch.Generator().manual_seed(vocab_size + count)

    def pick(*values: float) -> Tensor:
        return torch.tensor(values)[torch.randint(len(values), (count,), generator=generator)]

    storage = spread * torch.randn(count, vocab_size + pad, generator=generator)
    # Equal ones, which are kept together.
    storage[:, : vocab_size // 3] = (storage[:, : vocab_size // 3] * 10).round() / 10
    logits = aligned(storage)[:, :vocab_size]
    uniform = torch.rand(count, generator=generator)
    uniform[0], uniform[-1] = 0.0, 1 - 2**-24
    columns = SamplingColumns(
        temperature=pick(0.0, 0.3, 1.0, 2.0),
        top_k=pick(0, 1, 5, 50, vocab_size + 1).int(),
        top_p=pick(0.0, 0.1, 0.5, 0.95, 1.0, 1.0),
        min_p=pick(0.0, 0.0, 0.05),
        top_n_sigma=pick(-1.0, 0.0, 0.0, 1.5),
        uniform=uniform,
    )
    masks = None
    if masked:
        samples = aligned(torch.tensor([1, 4, count - 1], dtype=torch.int32))
        words = torch.randint(-(2**31), 2**31, (3, -(-vocab_size // 32)), generator=generator).int()
        masks = (samples, aligned(words))
    return Rows(logits, columns, masks)


@pytest.mark.parametrize(("vocab_size", "pad"), [(5, 0), (1000, 0), (5003, 5), (32000, 0)])
def test_draws(vocab_size: int, pad: int) -> None:
    """A token outside of what the client allows, or drawn with another probability, is a wrong answer."""
    rows = make_rows(vocab_size, pad)
    tokens, results = rows.draw()
    rows.assert_right(tokens)
    assert torch.equal(tokens, results)


def test_the_result_is_that_of_the_cpu() -> None:
    """The same request must be answered alike with a GPU and without, but for numbers on a border."""
    rows = make_rows(4099, count=64)
    tokens, _ = rows.draw()
    assert (tokens == sample(rows.logits, rows.columns)).sum() >= 63


@pytest.mark.parametrize("spread", [0.01, 30.0])
def test_flat_and_sharp_rows(spread: float) -> None:
    """Where most tokens are kept they do not fit into shared memory, and are read again instead."""
    rows = make_rows(20000, count=8, spread=spread)
    tokens, _ = rows.draw()
    rows.assert_right(tokens)


def test_masks() -> None:
    """A token that the grammar forbids ends the structure that the client relies on."""
    rows = make_rows(1000, masked=True)
    tokens, _ = rows.draw()
    rows.assert_right(tokens)


def test_a_row_does_not_depend_on_its_neighbours_nor_on_the_order_of_threads() -> None:
    """The same request must be answered with the same tokens alone and in a batch."""
    rows = make_rows(3000)
    tokens, _ = rows.draw()
    for seed in (1, 2, 3):
        assert torch.equal(rows.draw(seed=seed)[0], tokens)
    for row in (0, 5):
        one = SamplingColumns(
            *(getattr(rows.columns, name)[row : row + 1] for name in SamplingColumns.__slots__)
        )
        assert Rows(aligned(rows.logits[row : row + 1]), one).draw()[0].item() == tokens[row]


def test_a_row_that_is_not_finite_is_told() -> None:
    """A model that has gone wrong must end the request, not draw from nothing."""
    rows = make_rows(1000)
    rows.logits[2, 999], rows.logits[3, 0], rows.logits[5, 500] = torch.nan, torch.inf, -torch.inf
    _, results = rows.draw()
    assert (results == NOT_FINITE).nonzero().flatten().tolist() == [2, 3, 5]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("vocab_size", "pad", "spread"), [(1000, 0, 3.0), (5003, 5, 3.0), (4000, 0, 0.01)])
def test_memory(vocab_size: int, pad: int, spread: float, seed: int) -> None:
    """Warps share notes, sums and digits; one that reads too early draws another token once in a while."""
    rows = make_rows(vocab_size, pad, spread=spread, masked=True)
    tokens, _ = rows.draw("check", seed)
    rows.assert_right(tokens)
