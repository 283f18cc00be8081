"""What the kernels are made of, piece by piece: does each piece do on a device what its twin does on the emulator?

Inputs are chosen, and what must come out is computed here in plain torch on the CPU: `tests/cuda/test_primitives.py` holds the
emulator to it, `check.py` the device, both to the last bit. Approximations alone have a bound instead, and so have sums that
do not fit into a float. Run by `check.py`, this says how each primitive went.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from tests.gpu.common import IS_EMULATED, device, ops, run, say
from tests.gpu.fragments import gathered_fragments, products_of, scattered_fragments, transposed_pairs
from torch import Tensor

from streamcore.kernels.native import CudaOps

THREADS, LANES = 128, 32
"""Of a block and of a warp."""
LAUNCHES, TURNS = 32, 64
"""Of the chain of launches; see `cuda/kernels/primitives.cuh`."""
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
Columns = list["Column"]


@dataclass(frozen=True)
class Column:
    """What words of the output must be."""

    wanted: Tensor
    """Words, or numbers of `dtype` in 16 bits, or for a bound float64."""
    dtype: torch.dtype = torch.int32
    bound: Tensor | None = None
    """How far off each number may be; None: not at all. Any NaN is NaN."""

    def wrong(self, got: Tensor) -> Tensor:
        """Where these words, int32, are something else."""
        if self.dtype == torch.int32:
            return got != self.wanted
        found = got.view(self.dtype) if self.dtype == F32 else got.view(torch.int16).view(self.dtype)
        wanted = self.wanted.view(found.shape)
        if self.bound is not None:
            with_bound = (found.double() - wanted).abs() <= self.bound.view(found.shape)
            right = with_bound | (found == wanted)
        elif self.dtype == F32:
            right = found.view(torch.int32) == wanted.view(torch.int32)
        else:
            right = found.view(torch.int16) == wanted.view(torch.int16)
        right |= found.isnan() & wanted.isnan()
        return ~right.view(*got.shape, -1).all(dim=-1)


@dataclass(frozen=True)
class Primitive:
    """A primitive at its number in the C header."""

    name: str
    words_out: int
    inputs: Callable[[], Tensor]
    """int32 [num_rows, words in]."""
    expected: Callable[[Tensor], Columns]
    """For each word of the output, or for pairs of narrower numbers in it."""
    capability: tuple[int, int] = field(default=(8, 0))
    """Of the devices that have it."""

    def launched(self, ops: CudaOps, place: torch.device, inputs: Tensor) -> Tensor:
        """The words that come out, int32 [num_rows, words out]."""
        given = inputs.to(place)
        output = torch.full((len(inputs), self.words_out), 0x5A5A5A5A, dtype=torch.int32, device=place)
        self.launch(ops, output, given, torch.zeros(len(inputs) + 1, dtype=torch.int32, device=place))
        return output.cpu()

    def launch(self, ops: CudaOps, output: Tensor, inputs: Tensor, memory: Tensor) -> None:
        """Launches it in a thread for each row, which reads `inputs` and writes `output`."""
        ops._call(
            "Primitives",
            output=output.data_ptr(),
            input=inputs.data_ptr(),
            memory=memory.data_ptr(),
            num_rows=len(inputs),
            primitive=NUMBERS[self.name],
        )

    def differences(self, inputs: Tensor, output: Tensor) -> list[str]:
        """What is wrong with an output, a line for each word."""
        columns = self.expected(inputs)
        assert len(columns) == self.words_out
        said = []
        for word, column in enumerate(columns):
            rows = column.wrong(output[:, word].contiguous()).nonzero().flatten().tolist()
            if rows:
                row = rows[0]
                given = " ".join(f"{number & 0xFFFFFFFF:08x}" for number in inputs[row].tolist())
                got = int(output[row, word]) & 0xFFFFFFFF
                said.append(
                    f"word {word} is wrong in {len(rows)} of {len(inputs)} rows: row {row}, {given}, gives {got:08x}"
                )
        return said


def words(*shape: int, seed: int = 0) -> Tensor:
    """Random words."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randint(-(2**31), 2**31, shape, generator=generator).int()


def bits(numbers: Tensor) -> Tensor:
    """Floats as words."""
    return numbers.float().contiguous().view(torch.int32)


def floats(word: Tensor) -> Tensor:
    """Words as floats."""
    return word.contiguous().view(F32)


def halves(word: Tensor) -> Tensor:
    """Words as pairs of 16 bits, int16 [..., 2], the low half first."""
    return word.contiguous().view(torch.int16).view(*word.shape, 2)


def chosen(*lists: Tensor) -> Tensor:
    """Rows of numbers, of which each column has its own, to whole blocks."""
    rows = torch.stack(lists, dim=1)
    return torch.cat([rows, rows[: -len(rows) % THREADS]]).contiguous()


def _ulp(number: Tensor) -> Tensor:
    """The distance of floats around these float64 numbers."""
    exponent = torch.frexp(number.abs().clamp(min=2.0**-126)).exponent
    return torch.ldexp(torch.ones_like(number), exponent - 24)


def _near(wanted: Tensor, num_ulp: float | Tensor) -> Column:
    # What is below the least normal number may be 0.
    return Column(wanted, F32, num_ulp * _ulp(wanted) + 2.0**-126)


def _matrices(given: Tensor) -> Columns:
    rows = halves(given).view(-1, 4, 8, 8)
    columns = [Column(rows[:, m].reshape(-1, 2).view(torch.int32).flatten()) for m in range(4)]
    columns += [
        Column(rows[:, m].mT.reshape(-1, 2).contiguous().view(torch.int32).flatten()) for m in range(4)
    ]
    return [*columns, Column(transposed_pairs(given[:, 0]))]


def _product_inputs(dtype: torch.dtype) -> Tensor:
    """Whole numbers, whose sums are exact in any order, then numbers of all sizes."""
    generator, depth, count = torch.Generator().manual_seed(1), 32 if dtype.itemsize == 1 else 16, 32

    def numbers(*shape: int) -> Tensor:
        whole = torch.randint(-4, 5, (count, *shape), generator=generator).float()
        return torch.cat([whole, torch.randn(count, *shape, generator=generator)])

    return scattered_fragments(
        numbers(16, depth).to(dtype), numbers(depth, 8).to(dtype), numbers(16, 8)
    ).contiguous()


def _products(dtype: torch.dtype, error: float) -> Callable[[Tensor], Columns]:
    def expected(given: Tensor) -> Columns:
        wanted, sizes = products_of(given, dtype)
        bound = sizes * error
        bound[: len(bound) // 2] = 0
        return [
            Column(w, F32, b)
            for w, b in zip(gathered_fragments(wanted), gathered_fragments(bound), strict=True)
        ]

    return expected


def _copies(given: Tensor) -> Columns:
    blocks = given.view(-1, THREADS, 8).clone()
    blocks[:, ::3, 4:] = 0
    return [Column(column) for column in blocks.flip(1).reshape(-1, 8).T]


_SPECIAL = torch.tensor(
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        torch.inf,
        -torch.inf,
        torch.nan,
        1e-40,
        -1e-40,
        3e38,
        -3e38,
        448,
        464,
        465,
        65504,
        65520,
        1e-8,
    ]
)


def _function_inputs() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    x = torch.cat(
        [torch.linspace(-160, 127, 4000), torch.arange(-126.0, 128.0), torch.tensor([0.0, -torch.inf])]
    )
    exponents = torch.randint(-100, 100, x.shape, generator=generator)
    y = torch.ldexp(1 + torch.rand(x.shape, generator=generator), exponents)
    y[:1000] = torch.linspace(0.5, 2.0, 1000)
    return chosen(bits(x), bits(y))


def _functions(given: Tensor) -> Columns:
    x, y = (floats(given[:, i]).double() for i in range(2))
    power, exponential, logarithm = torch.exp2(x), x.exp(), y.log()
    about_one = torch.where((y >= 0.5) & (y <= 2), 2.0**-21.4, 3 * _ulp(logarithm))
    quick = Column(logarithm, F32, about_one + 2.0**-126)
    exponential = torch.where(exponential > 3.4028235677973366e38, torch.inf, exponential)
    return [
        _near(power, 4),
        _near(power, 2),
        _near(exponential, 3 + (1.2 * x.abs()).floor().clamp(max=1000)),
        _near(logarithm, 2),
        quick,
        _near(y.rsqrt(), 2),
        _near(x / y, 3),
    ]


def _arithmetic_inputs() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(2, 4000, generator=generator).mul(
        2.0 ** torch.randint(-30, 30, (2, 4000), generator=generator)
    )
    # What remains of a product once its rounded value is gone shows that it was rounded once.
    z = torch.where(torch.arange(4000) % 2 == 0, -(x * y), torch.randn(4000, generator=generator))
    special = torch.cartesian_prod(_SPECIAL[2:], _SPECIAL[2:])
    x, y = torch.cat([x, special[:, 0]]), torch.cat([y, special[:, 1]])
    return chosen(bits(x), bits(y), bits(torch.cat([z, -(special[:, 0] * special[:, 1])])))


def _arithmetic(given: Tensor) -> Columns:
    x, y, z = (floats(given[:, i]) for i in range(3))
    # Exact where z takes the product away; elsewhere a sum of float64 may lie between two floats.
    fused = x.double() * y.double() + z.double()
    bound = torch.where(z == -(x * y), 0.0, 0.5001 * _ulp(fused)).clamp(min=2.0**-150)
    return [
        Column(fused, F32, bound),
        *(Column(value, F32) for value in (x * y, x + z, x.fmax(y), x.fmin(y))),
    ]


def _narrowing_inputs() -> Tensor:
    generator = torch.Generator().manual_seed(4)
    sizes = torch.ldexp(
        torch.randn(8000, generator=generator), torch.randint(-28, 18, (8000,), generator=generator)
    )
    # Numbers that lie between two codes of eight bits, exactly and nearly.
    codes = torch.arange(0x7F, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    between = (codes[1:] + codes[:-1]) / 2
    x = torch.cat([_SPECIAL, sizes, between, -between, between.nextafter(torch.tensor(0.0)), codes, -codes])
    return chosen(bits(x), bits(x.flip(0)))


def _narrowings(given: Tensor) -> Columns:
    both, x = floats(given), floats(given[:, 0])
    narrow = [Column(both.to(dtype), dtype) for dtype in (BF16, F16)]
    # A number alone in the low half.
    narrow += [Column(torch.stack([x, torch.zeros_like(x)], dim=1).to(dtype), dtype) for dtype in (BF16, F16)]
    code = x.clamp(-448, 448).to(torch.float8_e4m3fn).view(torch.uint8).int()
    return [*narrow, Column(torch.where(x.isnan(), 0x7F | (given[:, 0] < 0).int() << 7, code))]


def _pair_inputs() -> Tensor:
    every = torch.arange(65536).int()
    return chosen(every | every.flip(0) << 16, words(65536))


def _pairs(given: Tensor) -> Columns:
    one, other = halves(given[:, 0].contiguous()), halves(given[:, 1].contiguous())
    columns = [Column(one.view(dtype)[:, 0].float(), F32) for dtype in (BF16, F16)]
    for dtype, factor in ((BF16, 2.0**120), (F16, 2.0**8)):
        columns.append(Column((one.view(dtype).double() * factor).to(dtype), dtype))
    return columns + [Column(one.view(dtype) - other.view(dtype), dtype) for dtype in (BF16, F16)]


def _codes(given: Tensor) -> Columns:
    codes = halves(given[:, 0])[:, 0].contiguous().view(torch.float8_e4m3fn).view(-1, 2)
    return [Column(codes.to(dtype), dtype) for dtype in (F16, BF16, F16, BF16)]


def _byte_inputs() -> Tensor:
    single = torch.cat([torch.tensor([0, -1]), 1 << torch.arange(31), -(1 << torch.arange(32))]).int()
    return chosen(
        torch.cat([single, words(1000)]),
        words(1000 + len(single), seed=1),
        words(1000 + len(single)) & 0x7777,
    )


def _bytes(given: Tensor) -> Columns:
    one, other = halves(given[:, 0]), halves(given[:, 1])
    low, high = (
        torch.stack([one[:, i], other[:, i]], dim=1).contiguous().view(torch.int32)[:, 0] for i in range(2)
    )
    places = torch.stack([given[:, 2] >> 4 * i & 7 for i in range(4)], dim=1).long()
    permuted = given[:, :2].contiguous().view(torch.uint8).view(-1, 8).gather(1, places)
    digits = [format(number & 0xFFFFFFFF, "032b") for number in given[:, 0].tolist()]
    counts = [
        [digit.count("1"), 32 - digit.rfind("1") if "1" in digit else 0, f"{digit}1".find("1")]
        for digit in digits
    ]
    return [
        Column(column)
        for column in (
            low,
            high,
            permuted.contiguous().view(torch.int32)[:, 0],
            *torch.tensor(counts).int().T,
        )
    ]


def _lanes(given: Tensor) -> Columns:
    word, lane = given.view(-1, LANES, 2).unbind(dim=2)
    own = torch.arange(LANES)
    below = [torch.where(own < 1 << i, own, own - (1 << i)) for i in range(5)]
    found = [word[:, own ^ 1 << i] for i in range(5)] + [word[:, source] for source in below]
    found += [word.gather(1, lane.long() % LANES), word[:, below[0]], lane[:, below[0]]]
    return [Column(column.reshape(-1)) for column in found]


def _votes(given: Tensor) -> Columns:
    warp = given.view(-1, LANES).long() & 0xFFFFFFFF
    odd = ((warp & 1) << torch.arange(LANES)).sum(dim=1)
    found = (odd, (warp == 0).any(dim=1), warp.amax(dim=1), warp.amin(dim=1))
    return [Column(column.long().int().repeat_interleave(LANES)) for column in found]


def _vote_inputs() -> Tensor:
    given = words(THREADS * 4, 1)
    given[5 :: LANES * 3] = 0
    return given


def _atomics(given: Tensor) -> Columns:
    rows = torch.zeros(3, len(given), dtype=torch.int64)
    for start in range(0, len(given), THREADS):
        by_place: list[list[int]] = [[] for _ in range(LANES)]
        for place, word in given[start : start + THREADS].tolist():
            by_place[place % LANES].append(word & 0xFFFFFFFF)
        for place, found in enumerate(by_place):
            every = 0
            for word in found:
                every |= word
            rows[:, start + place : start + THREADS : LANES] = torch.tensor(
                [[sum(found)], [max(found, default=0)], [every]]
            )
    return [Column(column.int()) for column in (*rows, torch.full((len(given),), -1))]


def _chained(given: Tensor) -> Columns:
    number = given[:, 0].long() & 0xFFFFFFFF
    for _ in range(LAUNCHES):
        number = number.roll(-THREADS)
        for _ in range(TURNS):
            # Below 2^63: the factor in two parts.
            mixed = number ^ number >> 15
            number = (
                mixed * (2654435761 >> 16) % 65536 * 65536 + mixed * (2654435761 % 65536) + 1
            ) & 0xFFFFFFFF
    return [Column(number.int())]


PRIMITIVES = (
    Primitive("MATRICES", 9, lambda: words(THREADS * 2, 4), _matrices),
    Primitive("PRODUCTS_BF16", 4, lambda: _product_inputs(BF16), _products(BF16, 2.0**-18)),
    Primitive("PRODUCTS_F16", 4, lambda: _product_inputs(F16), _products(F16, 2.0**-18)),
    # Sums of fewer bits than a float has: a device keeps some thirteen of these.
    Primitive(
        "PRODUCTS_E4M3",
        4,
        lambda: _product_inputs(torch.float8_e4m3fn),
        _products(torch.float8_e4m3fn, 2.0**-8),
        (8, 9),
    ),
    Primitive("COPIES", 8, lambda: words(THREADS * 16, 8), _copies),
    Primitive(
        "LOADS",
        9,
        lambda: words(THREADS * 4, 4),
        lambda x: [Column(x[:, i]) for i in (0, 1, 2, 3, 0, 1, 2, 3, 0)],
    ),
    Primitive("FUNCTIONS", 7, _function_inputs, _functions),
    Primitive("ARITHMETIC", 5, _arithmetic_inputs, _arithmetic),
    Primitive("NARROWINGS", 5, _narrowing_inputs, _narrowings),
    Primitive("PAIRS", 6, _pair_inputs, _pairs),
    Primitive("CODES", 4, lambda: torch.arange(65536).int()[:, None].contiguous(), _codes),
    Primitive("BYTES", 6, _byte_inputs, _bytes),
    Primitive("LANES", 13, lambda: words(THREADS * 2, 2), _lanes),
    Primitive("VOTES", 4, _vote_inputs, _votes),
    Primitive("ATOMICS", 4, lambda: words(THREADS * 4, 2), _atomics),
    Primitive("LAST_BLOCK", 1, lambda: words(THREADS * 150, 1), lambda x: [Column(x[:, 0].flip(0))]),
    Primitive("CHAINED", 1, lambda: words(THREADS * 40, 1), _chained),
)
"""In the order of their numbers."""
NUMBERS = {primitive.name: number for number, primitive in enumerate(PRIMITIVES)}


def primitives() -> None:
    """Tries each, says how it went, and fails if one does something else."""
    place, kernels = device(), ops()
    capability = (9, 0) if IS_EMULATED else torch.cuda.get_device_capability(place)
    wrong = []
    for primitive in PRIMITIVES:
        found = [f"is for devices from {primitive.capability} on"]
        if capability >= primitive.capability:
            inputs = primitive.inputs()
            if found := primitive.differences(inputs, primitive.launched(kernels, place, inputs)):
                wrong.append(primitive.name.lower())
        say({primitive.name.lower(): "; ".join(found) or "right"})
    assert not wrong, f"other results than on the emulator: {', '.join(wrong)}"


if __name__ == "__main__":
    sys.exit(run(primitives))
