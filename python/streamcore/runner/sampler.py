"""Draws the next tokens from logits on a device without kernels; elsewhere `device_sampler` does.

What a row draws depends on that row alone: the same logits, parameters and random number give the
same token in any batch. So the tokens that min_p, top_k and top_p keep are found as thresholds on
the row's own logits, and the draw walks the vocabulary in its own order, whether or not another row
needed sorting. Logits that are equal to the last one kept are kept too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SamplingColumns:
    """How each row is sampled. The host has them too, so that work that no row needs is left out
    without asking the device.
    """

    temperature: Tensor
    """float32 [num_samples]; 0 takes the most likely token"""
    top_k: Tensor
    """int32 [num_samples]; 0 keeps all"""
    top_p: Tensor
    """float32 [num_samples]; 1 keeps all"""
    min_p: Tensor
    """float32 [num_samples]; 0 keeps all"""
    top_n_sigma: Tensor
    """float32 [num_samples]; 0 and below keep all"""
    uniform: Tensor
    """float32 [num_samples] in [0, 1); decides each draw"""

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """The names of those that stay the same while a sequence runs."""
        return tuple(name for name in cls.__slots__ if name != "uniform")

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor], sample_rows: Tensor, uniform: Tensor) -> "SamplingColumns":
        """The parameters of the rows that are sampled, out of those of all rows by name."""
        chosen = {name: parameters[name].index_select(0, sample_rows) for name in cls.parameters()}
        return cls(**chosen, uniform=uniform)

    def is_filtered(self) -> Tensor:
        """Which rows have a `top_k` or a `top_p`; bool [num_samples]."""
        return (self.top_k > 0) | (self.top_p < 1)


def sample(logits: Tensor, columns: SamplingColumns, resident: SamplingColumns | None = None) -> Tensor:
    """Samples one token per row; the host waits for nothing.

    Every row does the work that some row needs, and then takes what is its own: choosing rows by an
    index would make the host wait for the device.

    Args:
        logits: float32 [num_samples, vocab_size].
        columns: on the host, one value per row.
        resident: the same on the device of the logits; needed unless that is the host.

    Returns:
        int32 [num_samples] on the device of the logits.
    """
    resident = resident or columns
    greedy = logits.argmax(dim=-1).int()
    draws = columns.temperature > 0
    if not bool(draws.any()):
        return greedy
    is_greedy = resident.temperature == 0
    scaled = _scale(logits, torch.where(is_greedy, 1.0, resident.temperature))
    if bool((columns.top_n_sigma > 0).any()):
        _drop_far(scaled, resident.top_n_sigma)
    if bool(columns.min_p.any()):
        _drop_below(scaled, resident.min_p)
    filtered = draws & columns.is_filtered()
    if bool(filtered.any()):
        enough = _most_kept(columns.top_k[filtered], logits.shape[1])
        threshold = _threshold(scaled, resident.top_k, resident.top_p, enough)
        dropped = (scaled < threshold) & resident.is_filtered().unsqueeze(1)
        scaled.masked_fill_(dropped, -torch.inf)
    return torch.where(is_greedy, greedy, _invert(scaled, resident.uniform))


def _scale(logits: Tensor, temperature: Tensor) -> Tensor:
    # With the greatest at 0 a tiny temperature cannot overflow.
    return (logits - logits.amax(dim=-1, keepdim=True)) / temperature.unsqueeze(1)


def _drop_far(scaled: Tensor, top_n_sigma: Tensor) -> None:
    """Applies top-n-sigma (Tang et al. 2024, arXiv:2411.07641) by the deviation of all logits that
    are left.

    Temperature divides it as it divides the logits, so it chooses the same tokens at each.
    """
    is_possible = scaled > -torch.inf
    count = is_possible.sum(dim=-1, keepdim=True)
    possible = scaled.double().masked_fill_(~is_possible, 0)
    mean = _total(possible) / count
    squares = (possible - mean).square_().masked_fill_(~is_possible, 0)
    deviation = (_total(squares) / count).sqrt_()
    n = top_n_sigma.unsqueeze(1)
    # The greatest is at 0.
    scaled.masked_fill_((n > 0) & (scaled < -n * deviation), -torch.inf)


def _total(values: Tensor) -> Tensor:
    """The sum of each row, float64 [num_rows, 1].

    torch's `sum` takes another order in another batch; running sums go from left to right.
    """
    return values.cumsum(dim=-1, dtype=torch.float64)[:, -1:]


def _drop_below(scaled: Tensor, min_p: Tensor) -> None:
    # The greatest is at 0, so the logarithm of a fraction of its probability is that of the
    # fraction.
    scaled.masked_fill_(scaled < min_p.log().unsqueeze(1), -torch.inf)


def _most_kept(top_k: Tensor, vocab_size: int) -> int:
    """How many of the greatest logits suffice to find every row's threshold; `top_k` is on the
    host.
    """
    return int(torch.where(top_k > 0, top_k, vocab_size).clamp_(max=vocab_size).max())


def _invert(scaled: Tensor, uniform: Tensor) -> Tensor:
    """The inverse of the cumulative distribution; int32 [num_rows]."""
    cumulative = scaled.exp_().cumsum(dim=-1, dtype=torch.float64)
    tokens = torch.searchsorted(cumulative, uniform.unsqueeze(1) * cumulative[:, -1:], right=True)
    return tokens.clamp_(max=scaled.shape[1] - 1).squeeze(1).int()


def _threshold(scaled: Tensor, top_k: Tensor, top_p: Tensor, enough: int) -> Tensor:
    """The least logit that each row keeps, float32 [num_rows, 1]; the `enough` greatest suffice to
    find all of them.
    """
    vocab_size = scaled.shape[1]
    limit = torch.where(top_k > 0, top_k, vocab_size).clamp_(max=vocab_size).unsqueeze(1)
    top = scaled.topk(enough, dim=-1).values
    within = torch.arange(enough, device=scaled.device) < limit
    through = torch.where(within, top.exp(), 0).cumsum(dim=-1, dtype=torch.float64)
    mass = torch.where(limit < vocab_size, through[:, -1:], _total(scaled.exp()))
    before = torch.nn.functional.pad(through[:, :-1], (1, 0))
    kept = within & (before < top_p.unsqueeze(1) * mass)
    # The most likely token always stays, also with a `top_p` of 0.
    return top.gather(1, kept.sum(dim=-1, keepdim=True).sub_(1).clamp_(min=0))
