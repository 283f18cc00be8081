"""Draws the next tokens from logits.

What a row draws depends on that row alone: the same logits, parameters and random number give the same token
in any batch. So the tokens that top_k and top_p keep are found as a threshold on the row's own logits, and
the draw walks the vocabulary in its own order, whether or not another row needed sorting. Logits that are
equal to the last one kept are kept too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_FIRST_TOP = 64
_GROWTH = 16


@dataclass(frozen=True, slots=True)
class SamplingColumns:
    """How each row is sampled, on the host, so that work that no row needs is left out without asking the
    device.
    """

    temperature: Tensor
    """float32 [num_samples]; 0 takes the most likely token"""
    top_k: Tensor
    """int32 [num_samples]; 0 keeps all"""
    top_p: Tensor
    """float32 [num_samples]; 1 keeps all"""
    uniform: Tensor
    """float32 [num_samples] in [0, 1); decides each draw"""

    def select(self, rows: Tensor) -> "SamplingColumns":
        """The columns of some rows, int64."""
        return SamplingColumns(self.temperature[rows], self.top_k[rows], self.top_p[rows], self.uniform[rows])


def sample(logits: Tensor, columns: SamplingColumns) -> Tensor:
    """Samples one token per row.

    Args:
        logits: float32 [num_samples, vocab_size].
        columns: on the host, one value per row.

    Returns:
        int32 [num_samples] on the device of the logits.
    """
    drawn = columns.temperature.nonzero().squeeze(1)
    if len(drawn) == len(logits):
        return _draw(logits, columns)
    tokens = logits.argmax(dim=-1).int()
    if len(drawn):
        rows = drawn.to(logits.device)
        tokens[rows] = _draw(logits.index_select(0, rows), columns.select(drawn))
    return tokens


def _draw(logits: Tensor, columns: SamplingColumns) -> Tensor:
    """Temperature, top_k, top_p, then the inverse of the cumulative distribution."""
    device = logits.device
    temperature = columns.temperature.to(device, non_blocking=True).unsqueeze(1)
    # With the greatest at 0 a tiny temperature cannot overflow.
    scaled = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
    filtered = ((columns.top_k > 0) | (columns.top_p < 1)).nonzero().squeeze(1)
    if len(filtered):
        rows = filtered.to(device)
        subset = scaled.index_select(0, rows)
        threshold = _threshold(subset, columns.top_k[filtered], columns.top_p[filtered])
        scaled[rows] = subset.masked_fill_(subset < threshold, -torch.inf)
    # In float64 the order of summation, which may differ between batch sizes, cannot move a border past
    # `uniform`.
    cumulative = scaled.exp_().cumsum(dim=-1, dtype=torch.float64)
    uniform = columns.uniform.to(device, non_blocking=True).unsqueeze(1)
    tokens = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    return tokens.clamp_(max=logits.shape[1] - 1).squeeze(1).int()


def _threshold(scaled: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """The least logit that each row keeps, float32 [num_rows, 1].

    On the CPU the greatest logits are looked at first and more only while some row needs them: trained models
    put most of the mass on few tokens, and sorting a whole vocabulary costs more than the rest of a small
    model's step. On a device, where asking how far a row got would wait for it, the count is what the host
    knows to suffice.
    """
    vocab_size = scaled.shape[1]
    limit = torch.where(top_k > 0, top_k, vocab_size).clamp_(max=vocab_size)
    enough = int(limit.max())
    count = min(max(_FIRST_TOP, int(top_k.max())), enough) if scaled.device.type == "cpu" else enough
    limit, top_p = limit.to(scaled.device).unsqueeze(1), top_p.to(scaled.device).unsqueeze(1)
    total = scaled.exp().sum(dim=-1, keepdim=True, dtype=torch.float64)
    while True:
        top = scaled.topk(count, dim=-1).values
        within = torch.arange(count, device=scaled.device) < limit
        through = torch.where(within, top.exp(), 0).cumsum(dim=-1, dtype=torch.float64)
        mass = torch.where(limit < vocab_size, through[:, -1:], total)
        before = torch.nn.functional.pad(through[:, :-1], (1, 0))
        kept = within & (before < top_p * mass)
        if count == enough or not bool((kept[:, -1:] & (limit > count)).any()):
            break
        count = min(count * _GROWTH, enough)
    # The most likely token always stays, also with a `top_p` of 0.
    return top.gather(1, kept.sum(dim=-1, keepdim=True).sub_(1).clamp_(min=0))
