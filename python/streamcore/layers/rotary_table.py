"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864): the table of cosines and sines, for
every variant in use.

A dimension pair `i` of a head turns by `position * frequency[i]`. The variants differ only in the
frequencies, and yarn in a common factor on the table, so kernels need nothing but the table.

`dynamic` (NTK-aware scaling) is defined by the length of a sequence: `transformers` raises the base
again and again while a sequence grows beyond the original context, and leaves the keys that are
cached already as they were. Here keys are cached rotated and are shared between sequences by the
prefix cache, so a frequency must not depend on who computes it or when. The table is therefore made
once, for the longest sequence that the server accepts: up to the original context that is exactly
the unscaled table, and with a longer limit it is the table that `transformers` uses for a prompt of
that length. `longrope` has two lists of factors, one for sequences beyond the original context, and
is settled in the same way.
"""

import math

import torch
from torch import Tensor

from streamcore.layers.rope_config import RopeConfig

# A table is made in pieces of this many positions, so that making it takes no more memory than it
# does.
_ROWS_AT_ONCE = 4096


def cos_sin_table(rope: RopeConfig, head_dim: int, max_len: int) -> Tensor:
    """Cosines and sines for positions `0 .. max_len - 1`.

    Args:
        rope: which variant, with its settings.
        head_dim: size of a head, even.
        max_len: tokens of the longest sequence.

    Returns:
        float32 [max_len, rotary_dim] on the CPU: `rotary_dim / 2` cosines, then as many sines.
    """
    frequencies = inverse_frequencies(rope, head_dim, max_len)
    table = torch.empty(max_len, 2, len(frequencies))
    for first in range(0, max_len, _ROWS_AT_ONCE):
        rows = table[first : first + _ROWS_AT_ONCE]
        positions = torch.arange(first, first + len(rows), dtype=torch.float32)
        angles = torch.outer(positions, frequencies)
        rows[:, 0], rows[:, 1] = angles.cos(), angles.sin()
        rows *= rope.attention_factor
    return table.flatten(1)


def query_factors(rope: RopeConfig, max_len: int) -> Tensor | None:
    """What Ministral 3 multiplies the queries of each position with, float32 [max_len]; None for
    other models.

    `1 + beta * ln(1 + floor(position / original))` sharpens attention beyond the original context.
    """
    if not rope.query_beta:
        return None
    turns = torch.arange(max_len, dtype=torch.float32).div_(rope.original_max_position_embeddings)
    return 1 + rope.query_beta * torch.log1p(turns.floor_())


def inverse_frequencies(rope: RopeConfig, head_dim: int, max_len: int) -> Tensor:
    """Radians per token of each dimension pair, float32 [rotary_dim / 2] on the CPU."""
    rotary_dim = rope.rotary_dim(head_dim)
    if rope.rope_type == "dynamic":
        return _plain(_dynamic_theta(rope, rotary_dim, max_len), rotary_dim)
    plain = _plain(rope.theta, rotary_dim)
    if rope.rope_type == "linear":
        return plain / rope.factor
    if rope.rope_type == "yarn":
        return _yarn(rope, plain)
    if rope.rope_type == "llama3":
        return _llama3(rope, plain)
    if rope.rope_type == "longrope":
        is_long = max_len > rope.original_max_position_embeddings
        return plain / torch.tensor(rope.long_factor if is_long else rope.short_factor)
    return plain


def _plain(theta: float, head_dim: int) -> Tensor:
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    return 1.0 / theta**exponents


def _dynamic_theta(rope: RopeConfig, head_dim: int, max_len: int) -> float:
    """The base that keeps the slowest dimension within the angles seen in training, at `max_len`
    tokens.
    """
    stretch = max(max_len / rope.original_max_position_embeddings, 1.0)
    growth = rope.factor * stretch - (rope.factor - 1)
    return rope.theta * math.pow(growth, head_dim / (head_dim - 2))


def _llama3(rope: RopeConfig, plain: Tensor) -> Tensor:
    """Llama 3.1: stretch long wavelengths, keep short ones, blend linearly in the number of turns
    between.
    """
    turns = rope.original_max_position_embeddings * plain / (2 * math.pi)
    kept = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    return torch.lerp(plain / rope.factor, plain, kept.clamp(0, 1))


def _yarn(rope: RopeConfig, plain: Tensor) -> Tensor:
    """YaRN (Peng et al. 2023, arXiv:2309.00071): blend linearly in the dimension between two
    numbers of turns.
    """
    head_dim = 2 * len(plain)

    def dimension_with(turns: float) -> float:
        wavelength = rope.original_max_position_embeddings / turns
        return head_dim * math.log(wavelength / (2 * math.pi)) / (2 * math.log(rope.theta))

    first, last = dimension_with(rope.beta_fast), dimension_with(rope.beta_slow)
    if rope.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    # The same width for an empty ramp as `transformers` takes: it must be a step, not a division by
    # zero.
    width = (last - first) or 0.001
    stretched = (torch.arange(len(plain), dtype=torch.float32) - first) / width
    return torch.lerp(plain, plain / rope.factor, stretched.clamp(0, 1))
