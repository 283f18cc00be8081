"""What these tests share."""

from typing import Any

from streamcore import Scheduler


def small(**limits: Any) -> Scheduler:
    """A scheduler whose steps fit on a line."""
    return Scheduler(**{"num_blocks": 16, "block_size": 4, "max_num_seqs": 4, **limits})
