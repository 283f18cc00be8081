"""What layers believe of their caches and their step, refused when it is made."""

import pytest
import torch

from streamcore.kernels import KvGroup, LayerCache, PagedSequences
from streamcore.models.model import check_step


def sequences() -> PagedSequences:
    """One sequence of two tokens."""
    return PagedSequences(
        torch.zeros(1, 1, dtype=torch.int32),
        torch.zeros(1, dtype=torch.int32),
        torch.tensor([2], dtype=torch.int32),
        torch.tensor([0, 2], dtype=torch.int32),
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(3, 4, 2, 8), "caches differ in shape"),
        (torch.zeros(2, 4, 2, 8).half(), "caches differ in dtype"),
        (torch.zeros(2, 2, 4, 8).transpose(1, 2), "`value_cache` must be .* with contiguous blocks"),
        (torch.zeros(2, 2, 4, 2, 8)[:, 0], "blocks of the caches differ in distance"),
    ],
)
def test_a_layer_cache_is_checked(values: torch.Tensor, message: str) -> None:
    """The kernels index values as they do keys: a smaller cache would be overrun."""
    with pytest.raises(ValueError, match=message):
        LayerCache(torch.zeros(2, 4, 2, 8), values)


def test_a_step_is_checked() -> None:
    """A slot for each token: with fewer the kernels would store by whatever follows in memory."""
    tokens = positions = torch.zeros(2, dtype=torch.int32)
    slots = torch.zeros(2, dtype=torch.int64)
    check_step(tokens, positions, [KvGroup([], slots, sequences())])
    with pytest.raises(ValueError, match=r"`slot_mapping` must be a contiguous torch\.int64 vector of 2"):
        check_step(tokens, positions, [KvGroup([], slots[:1], sequences())])
    with pytest.raises(ValueError, match=r"`positions` must be a contiguous torch\.int32"):
        check_step(tokens, positions.long(), [KvGroup([], slots, sequences())])
