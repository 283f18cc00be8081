"""Masks over the vocabulary against the same bit by bit."""

import random

import pytest
import torch

from streamcore.runner import penalties
from streamcore.runner.masks import MaskInputs, apply_masks


@pytest.mark.parametrize("vocab_size", [1, 31, 32, 33, 500])
@pytest.mark.parametrize("chunk_bytes", [1, penalties.CHUNK_BYTES])
def test_what_a_mask_leaves_is_what_can_be_drawn(
    vocab_size: int, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit that is off by one would let a model say what its schema forbids, or forbid all that it may say."""
    monkeypatch.setattr(penalties, "CHUNK_BYTES", chunk_bytes)
    dice, num_samples = random.Random(vocab_size), 7
    masked = dice.sample(range(num_samples), 4)
    num_words = -(-vocab_size // 32)
    words = [[dice.getrandbits(32) for _ in range(num_words)] for _ in masked]
    logits = torch.randn(num_samples, vocab_size)
    expected = logits.tolist()
    for sample, row in zip(masked, words, strict=True):
        for token in range(vocab_size):
            if not row[token // 32] >> token % 32 & 1:
                expected[sample][token] = -torch.inf
    signed = [[word - (word >> 31 << 32) for word in row] for row in words]
    samples, signed_words = (torch.tensor(values, dtype=torch.int32) for values in (masked, signed))
    apply_masks(logits, MaskInputs(samples, signed_words))
    assert logits.tolist() == expected
