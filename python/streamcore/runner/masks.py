"""Masks over the vocabulary: which tokens a sample may draw."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from streamcore.runner.columns import PlanColumns
from streamcore.runner.penalties import rows_per_chunk


@dataclass(frozen=True, slots=True)
class MaskInputs:
    """The masks of a step, on the device."""

    samples: Tensor
    """int32 [num_masked_samples], which samples have one"""
    words: Tensor
    """int32 [num_masked_samples, num_mask_words]; token `t` may be drawn if bit `t % 32` of word `t
    // 32` is set
    """

    @classmethod
    def of(cls, columns: PlanColumns) -> "MaskInputs":
        """Takes the masks of a plan."""
        return cls(columns["masked_samples"], columns["mask_words"])


def apply_masks(logits: Tensor, inputs: MaskInputs) -> None:
    """Sets the logits of tokens that may not be drawn to negative infinity, in place in float32
    [num_samples, vocab_size].
    """
    vocab_size = logits.shape[1]
    is_forbidden = _forbidden_bits(logits.device)
    rows = rows_per_chunk(vocab_size)
    for samples, words in zip(
        torch.split(inputs.samples, rows), torch.split(inputs.words, rows), strict=True
    ):
        # The first byte of a word has its lowest bits on every machine that torch runs on.
        places = words.view(torch.uint8).int()
        forbidden = is_forbidden.index_select(0, places.view(-1)).view(len(samples), -1)[:, :vocab_size]
        chosen = logits.index_select(0, samples).masked_fill_(forbidden, -torch.inf)
        logits.index_copy_(0, samples.long(), chosen)


@cache
def _forbidden_bits(device: torch.device) -> Tensor:
    """For each byte which of its bits are not set, the lowest first; bool [256, 8]."""
    bits = torch.arange(256).unsqueeze(1) >> torch.arange(8)
    return (bits & 1 == 0).to(device)
