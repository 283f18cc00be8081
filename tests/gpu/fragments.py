"""How the tensor cores' operands lie in the registers of a warp, by the tables of the PTX ISA ("Matrix fragments")."""

import torch
from torch import Tensor

LANES = 32


def _places(dtype: torch.dtype) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[tuple[int, int]]]:
    """Row and column of each element of a, b and c, lane by lane and in the order of its registers."""
    each = 4 // dtype.itemsize
    a, b, c = [], [], []
    for lane in range(LANES):
        group, thread = divmod(lane, 4)
        for register in range(4):
            row, half = group + 8 * (register & 1), register >> 1
            a += [(row, half * 4 * each + thread * each + i) for i in range(each)]
        for register in range(2):
            b += [(register * 4 * each + thread * each + i, group) for i in range(each)]
        c += [
            (group, 2 * thread),
            (group, 2 * thread + 1),
            (group + 8, 2 * thread),
            (group + 8, 2 * thread + 1),
        ]
    return a, b, c


def _picked(matrices: Tensor, places: list[tuple[int, int]]) -> Tensor:
    rows, columns = torch.tensor(places).T
    return matrices[:, rows, columns]


def scattered_fragments(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Matrices [count, 16, depth], [count, depth, 8] and [count, 16, 8] as rows of words, 32 a product."""
    parts = [
        _picked(_as_bits(matrices), places).view(len(matrices), LANES, -1).contiguous().view(torch.int32)
        for matrices, places in zip((a, b, c.float()), _places(a.dtype), strict=True)
    ]
    return torch.cat(parts, dim=2).view(-1, 10)


def _as_bits(matrices: Tensor) -> Tensor:
    """The same bits as whole numbers, which torch can pick from whatever they are."""
    return matrices.contiguous().view(
        {1: torch.uint8, 2: torch.int16, 4: torch.int32}[matrices.dtype.itemsize]
    )


def products_of(given: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Returns a b + c, and the same of the sizes of all numbers, float64 [count, 16, 8], from rows of words."""
    count, depth = len(given) // LANES, 64 // dtype.itemsize // 2
    shapes, columns = ((16, depth), (depth, 8), (16, 8)), (slice(4), slice(4, 6), slice(6, 10))
    kinds = (dtype, dtype, torch.float32)
    found = []
    for shape, chosen, kind, places in zip(shapes, columns, kinds, _places(dtype), strict=True):
        numbers = given[:, chosen].contiguous().view(count, -1).view(kind).double()
        rows, across = torch.tensor(places).T
        matrix = torch.zeros(count, *shape, dtype=torch.float64)
        matrix[:, rows, across] = numbers
        found.append(matrix)
    a, b, c = found
    return a @ b + c, a.abs() @ b.abs() + c.abs()


def gathered_fragments(matrices: Tensor) -> list[Tensor]:
    """The four numbers of each lane's c, a column for each register."""
    places = _places(torch.float16)[2]
    return list(_picked(matrices, places).view(-1, 4).T)


def transposed_pairs(word: Tensor) -> Tensor:
    """8x8 matrices of which each lane has two neighbours of a row, transposed."""
    rows = word.contiguous().view(torch.int16).view(-1, 8, 8)
    return rows.mT.contiguous().view(-1).view(torch.int32)
