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
    def num_padding(self) -> int:
        """Sequences of no one behind them, of one token each."""

    @property
    def num_samples(self) -> int:
        """Tokens to sample."""

    @property
    def num_device_tokens(self) -> int:
        """Input tokens that only the device knows."""

    @property
    def num_block_updates(self) -> int:
        """Blocks that are new in the block tables."""

    @property
    def num_new_rows(self) -> int:
        """Rows that have another sequence than before."""

    @property
    def num_counted_tokens(self) -> int:
        """Tokens that are counted for penalties."""

    @property
    def num_penalised_samples(self) -> int:
        """Samples with a penalty."""

    @property
    def num_biases(self) -> int:
        """Logits that are changed by a bias or forbidden."""

    @property
    def num_scored_samples(self) -> int:
        """Samples whose log-probability is wanted."""

    @property
    def num_scored_tokens(self) -> int:
        """Prompt tokens whose log-probability is wanted."""

    @property
    def max_top_logprobs(self) -> int:
        """Most of the likeliest tokens that one of these is told."""
