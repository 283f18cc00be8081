"""Weights in groups of every form, at random."""

import torch

from streamcore.kernels.grouped import FP8_GROUP, UNSIGNED, Form, Grouped

_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)

FORMS = {
    "4-bit, zero points": Form(4, 128, torch.float16, "zeros"),
    "4-bit, symmetric": Form(4, 64, torch.bfloat16),
    "4-bit, minima": Form(4, 32, torch.float16, "minima", table=UNSIGNED),
    "4-bit, nested": Form(4, 32, torch.float16, "minima", is_nested=True, table=UNSIGNED),
    "4-bit, a table": Form(4, 32, torch.bfloat16, table=_FP4),
    "4-bit, small groups": Form(4, 16, torch.float16, "minima", is_nested=True, table=UNSIGNED),
    "8-bit, symmetric": Form(8, 32, torch.float16),
    "8-bit, zero points": Form(8, 128, torch.bfloat16, "zeros"),
    "8-bit, nested": Form(8, 16, torch.float16, is_nested=True),
    "8-bit, nested minima": Form(8, 32, torch.float16, "minima", is_nested=True),
}
"""One for each way in which files hold numbers."""


def random_weight(form: Form, num_rows: int, num_inputs: int, seed: int = 0) -> Grouped:
    """Numbers of a form, with scales between a hundredth and a tenth."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.randint(low, high, (num_rows, columns), generator=generator).to(dtype)

    def fractions(columns: int) -> torch.Tensor:
        return (torch.rand(num_rows, columns, generator=generator) * 0.09 + 0.01).to(form.dtype)

    num_groups, num_outer = -(-num_inputs // form.group_size), -(-num_inputs // 256)
    narrow = form.bits == 4
    codes = (
        integers(0, 16, num_inputs, torch.uint8) if narrow else integers(-128, 128, num_inputs, torch.int8)
    )
    has_offsets = form.offsets != "none"
    if not form.is_nested:
        zeros = integers(-8, 9, num_groups, form.dtype) if has_offsets else None
        offsets = zeros if form.offsets != "minima" else -fractions(num_groups)
        return Grouped(form, codes, fractions(num_groups), offsets)
    inner = [integers(-32, 64, num_groups, torch.int8) for _ in range(1 + has_offsets)]
    outer = [fractions(num_outer) / 32 for _ in range(1 + has_offsets)]
    if has_offsets:
        return Grouped(form, codes, inner[0], inner[1], outer[0], -outer[1])
    return Grouped(form, codes, inner[0], None, outer[0])


def random_fp8(num_rows: int, num_inputs: int, *, is_whole: bool, seed: int = 0) -> Grouped:
    """Numbers in fp8 with a scale for each 128 inputs or for all; products with them are about 1."""
    generator = torch.Generator().manual_seed(seed + num_rows)
    codes = torch.randint(0, 256, (num_rows, num_inputs), generator=generator).to(torch.uint8)
    # Two codes are no numbers.
    codes[(codes & 127) == 127] = 3
    size = num_inputs if is_whole else FP8_GROUP
    scales = 0.5 + torch.rand(num_rows, -(-num_inputs // size), generator=generator)
    return Grouped(Form(8, size, torch.float32, is_fp8=True), codes, scales * 0.01 * num_inputs**-0.5)


SHAPES = [(1, 1), (31, 33), (130, 608)]
"""Outputs and inputs: one number, less than a tile or a span, and several of both."""
