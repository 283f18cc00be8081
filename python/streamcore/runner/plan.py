"""What the runner must know of the engine's step plans."""

from typing import Protocol


class StepPlan(Protocol):
    """The sizes of a step: how much of each column of the step buffers it fills."""

    @property
    def id(self) -> int:
        """Number of the step."""

    @property
    def num_tokens(self) -> int:
        """Tokens to compute."""

    @property
    def num_seqs(self) -> int:
        """Sequences that take part."""

    @property
    def num_samples(self) -> int:
        """Tokens to sample."""

    @property
    def num_device_tokens(self) -> int:
        """Input tokens that only the device knows."""

    @property
    def block_table_stride(self) -> int:
        """Columns of the block tables."""
