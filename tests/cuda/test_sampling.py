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

from streamcore.kernels.sampled import MAX_BIASES
from streamcore.runner.masks import MaskInputs, apply_masks
from streamcore.runner.penalties import BiasInputs, PenaltyInputs, TokenCounts, add_biases
from streamcore.runner.sampler import SamplingColumns, sample
from streamcore.step import NOT_FINITE

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

Form = Literal["fast", "check"]


@cache
def _emulator(form: Form) -> Emulator:
    return Emulator(host_library(form))


@dataclass(frozen=True)
class Changes:
    """Penalties and biases of some rows."""

    counts: TokenCounts
    penalties: dict[str, Tensor]
    """By name, [num_rows]."""
    biases: BiasInputs

    def apply(self, logits: Tensor) -> None:
        """What the CPU makes of logits, in place."""
        rows = torch.arange(len(logits), dtype=torch.int32)
        repetition, frequency, presence = (self.penalties[f"{name}_penalty"] for name in _PENALTIES)
        self.counts.penalise(logits, PenaltyInputs(rows, rows, repetition, frequency, presence))
        add_biases(logits, self.biases)


_PENALTIES = ("repetition", "frequency", "presence")


@dataclass(frozen=True)
class Rows:
    """Rows of logits with a parameter of each kind."""

    logits: Tensor
    columns: SamplingColumns
    masks: tuple[Tensor, Tensor] | None = None
    changes: Changes | None = None

    def draw(
        self, form: Form = "fast", seed: int = 0, emulator: Emulator | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the kernel draws, and its results. The row of each sample is another than its place."""
        emulator = emulator or _emulator(form)
        count = len(self.logits)
        tokens, results = (aligned(torch.full((count,), -7, dtype=torch.int32)) for _ in range(2))
        parameters = {
            name: aligned(getattr(self.columns, name).flip(0)) for name in SamplingColumns.parameters()
        }
        penalties = {
            f"{name}_penalty": torch.full((count,), float(name == "repetition")) for name in _PENALTIES
        }
        counted = biases = None
        if self.changes is not None:
            penalties = self.changes.penalties
            tables = (aligned(table.flip(0)) for table in self.changes.counts.tables())
            counted = next(tables), next(tables)
            given = self.changes.biases
            biases = aligned(given.samples), aligned(given.tokens), aligned(given.values)
        parameters |= {name: aligned(values.flip(0)) for name, values in penalties.items()}
        rows = aligned(torch.arange(count - 1, -1, -1, dtype=torch.int32))
        uniform = aligned(self.columns.uniform)
        emulator.begin(check=form == "check", seed=seed)
        if form == "check":
            inputs = {"rows": rows, "uniform": uniform, **parameters}
            for name, several in (("counted", counted), ("biases", biases), ("masks", self.masks)):
                inputs |= {f"{name} {i}": tensor for i, tensor in enumerate(several or ())}
            self._register(emulator, inputs, {"tokens": tokens, "results": results})
        EmulatedOps(emulator).sample(
            tokens, results, self.logits, parameters, rows, uniform, NOT_FINITE,
            counted=counted, biases=biases, masks=self.masks,
        )  # fmt: skip
        return tokens, results

    def _register(self, emulator: Emulator, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
        place, size = self.logits.data_ptr(), self.logits.untyped_storage().nbytes()
        emulator.register(place, size, "logits", is_written=True)
        for name, tensor in inputs.items():
            emulator.register(tensor.data_ptr(), tensor.nbytes, name, is_written=True)
        for name, tensor in outputs.items():
            emulator.register(tensor.data_ptr(), tensor.nbytes, name, is_written=False)

    def changed(self) -> Tensor:
        """The logits as the CPU draws from them."""
        logits = self.logits.clone()
        if self.changes is not None:
            self.changes.apply(logits)
        if self.masks is not None:
            apply_masks(logits, MaskInputs(*self.masks))
        return logits

    def assert_right(self, tokens: Tensor) -> None:
        """Each token is kept, and its share of the kept probabilities holds the row's number."""
        for row, token in enumerate(tokens.tolist()):
            kept, mass = self._kept(row)
            assert kept[token], f"row {row}: {token} is not kept"
            if self.columns.temperature[row] == 0:
                assert token == int(self.changed()[row].argmax()), f"row {row}"
                continue
            through = torch.where(kept, mass, 0).cumsum(0)
            wanted, slack = float(self.columns.uniform[row]) * through[-1], 1e-5 * through[-1]
            assert through[token] - mass[token] - slack <= wanted <= through[token] + slack, (
                f"row {row}: {token}"
            )

    def _kept(self, row: int) -> tuple[Tensor, Tensor]:
        columns, x = self.columns, self.changed()[row].double()
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


def with_changes(rows: Rows, num_counted: int = 60) -> Rows:
    """The same rows with penalties and biases, some with none of them, some with a token that is biased twice."""
    count, vocab_size = rows.logits.shape
    generator = torch.Generator().manual_seed(count)

    def pick(*values: float) -> Tensor:
        return torch.tensor(values)[torch.randint(len(values), (count,), generator=generator)]

    penalties = {
        "repetition_penalty": pick(1.0, 1.3, 0.7),
        "frequency_penalty": pick(0.0, 0.5, -0.4),
        "presence_penalty": pick(0.0, 0.0, 1.5),
    }
    counts = TokenCounts(count, vocab_size, torch.device("cpu"))
    in_output, is_there = counts.tables()
    tokens = torch.randint(vocab_size, (count, num_counted), generator=generator)
    # The likeliest token of each row is among them: else few penalties would be seen.
    tokens[:, 0] = rows.logits.argmax(dim=1)
    is_there.scatter_(1, tokens, True)
    in_output.scatter_add_(
        1, tokens[:, : num_counted // 2], torch.ones(count, num_counted // 2, dtype=torch.int32)
    )
    # One row has as many biases as there may be.
    lengths = [0, 1, MAX_BIASES, 40, *[7] * (count - 4)]
    samples = torch.tensor([row for row, length in enumerate(lengths[:count]) for _ in range(length)])
    biased = torch.randint(-2, vocab_size + 2, (len(samples),), generator=generator)
    # One of each row is of the likeliest token, and forbidden in some rows.
    firsts = torch.cat([torch.tensor([True]), samples[1:] != samples[:-1]])
    biased[firsts] = rows.logits.argmax(dim=1)[samples[firsts]]
    values = 4 * torch.randn(len(samples), generator=generator)
    values[firsts & (samples % 2 == 0)] = -torch.inf
    biases = BiasInputs(samples.int(), biased.int(), values)
    return Rows(rows.logits, rows.columns, rows.masks, Changes(counts, penalties, biases))


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


@pytest.mark.parametrize(("vocab_size", "pad"), [(700, 0), (1003, 5), (9000, 0)])
def test_penalties_and_biases(vocab_size: int, pad: int) -> None:
    """A token that the client has forbidden must not be drawn, nor one that its penalties have ruled out."""
    rows = with_changes(make_rows(vocab_size, pad, count=24, masked=True))
    tokens, results = rows.draw()
    rows.assert_right(tokens)
    # A bias of negative infinity is the client's, not a fault of the model.
    assert torch.equal(tokens, results)


def test_penalties_and_biases_of_flat_rows() -> None:
    """Rows that are read again for each digit of a threshold must be changed each time."""
    rows = with_changes(make_rows(20000, count=6, spread=0.01))
    tokens, _ = rows.draw()
    rows.assert_right(tokens)


def test_changed_rows_are_drawn_as_on_the_cpu() -> None:
    """The same request must be answered alike with a GPU and without, but for numbers on a border."""
    rows = with_changes(make_rows(4099, count=64, masked=True))
    tokens, _ = rows.draw()
    assert (tokens == sample(rows.changed(), rows.columns)).sum() >= 63


def test_a_row_without_changes_is_drawn_as_it_is() -> None:
    """One client's penalties must not change the answer of another in the same step."""
    rows = make_rows(3000)
    plain, _ = rows.draw()
    changed = with_changes(rows)
    assert changed.changes is not None
    for penalty, values in changed.changes.penalties.items():
        values[5] = float(penalty == "repetition_penalty")
    biases = changed.changes.biases
    others = biases.samples != 5
    biases = BiasInputs(biases.samples[others], biases.tokens[others], biases.values[others])
    changes = Changes(changed.changes.counts, changed.changes.penalties, biases)
    assert Rows(rows.logits, rows.columns, None, changes).draw()[0][5] == plain[5]


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
@pytest.mark.parametrize("is_changed", [False, True], ids=["as it is", "changed"])
def test_memory(vocab_size: int, pad: int, spread: float, seed: int, is_changed: bool) -> None:
    """Warps share notes, biases, sums and digits; one that reads too early draws another token once in a while."""
    rows = make_rows(vocab_size, pad, spread=spread, masked=True)
    if is_changed:
        rows = with_changes(rows)
    tokens, _ = rows.draw("check", seed)
    rows.assert_right(tokens)
