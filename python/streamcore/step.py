"""What one step has to compute, in columns.

num_seqs = 3, num_tokens = 6: a prefill of four tokens between two decodes

query_starts   0 1         5 6          one more than sequences
token_ids      a b0 b1 b2 b3 c
positions      7  0  1  2  3 9
slot_mapping   one slot per token: block_id * block_size + offset
context_lens   8  4 10                  tokens in the KV cache once the step has run
seq_rows       2  0  5                  where the runner keeps what it knows of each sequence
logits_indices 0           4 5          the tokens whose logits are drawn from: one per sample
"""

from collections.abc import Mapping
from typing import overload

from streamcore import _core

NOT_FINITE = -2
"""In the place of a drawn token: a logit of this sample is NaN or infinite, and the sequence ends."""


class _Size:
    """A count of the plan."""

    def __init__(self, text: str) -> None:
        self.__doc__ = text

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return "int"

    @overload
    def __get__(self, step: None, _: type) -> "_Size": ...
    @overload
    def __get__(self, step: "Step", _: type) -> int: ...
    def __get__(self, step: "Step | None", _: type) -> "_Size | int":
        if step is None:
            return self
        size: int = getattr(step.plan, self._name)
        return size


class _Column:
    """The part of a column that a step fills: as many elements as these sizes together, and `more`."""

    def __init__(self, text: str, *sizes: str, more: int = 0) -> None:
        self.__doc__ = text
        self._sizes = sizes
        self._more = more

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"memoryview[{' + '.join([*self._sizes, *[str(self._more)] * bool(self._more)])}]"

    @overload
    def __get__(self, step: None, _: type) -> "_Column": ...
    @overload
    def __get__(self, step: "Step", _: type) -> memoryview: ...
    def __get__(self, step: "Step | None", _: type) -> "_Column | memoryview":
        if step is None:
            return self
        length = self._more
        for size in self._sizes:
            length += getattr(step.plan, size)
        view = step.__dict__[self._name] = step.columns[self._name][:length]
        return view


class Step:
    """The plan of one step: sizes, and columns that are views of the engine's memory, valid until the step is completed.

    A runner carries out every step, in the order in which it got them. It keeps block tables of
    `[max_num_seqs + 1, max_blocks_per_seq]` and the sampling parameters of each row, and takes what is new of both out of a
    step before it computes. The last row is that of padding.
    """

    def __init__(self, plan: _core.StepPlan, columns: Mapping[str, memoryview]) -> None:
        self.plan = plan
        self.columns = columns
        """The columns in their full length, by name."""

    id = _Size("Number of the step.")
    num_tokens = _Size("Tokens to compute.")
    num_seqs = _Size("Sequences that take part.")
    num_padding = _Size(
        "Sequences of no one behind them, of one token each; 0 unless there are `capture_sizes`."
    )
    num_samples = _Size("Tokens to draw.")
    num_device_tokens = _Size(
        "Input tokens that only the device knows; 0 unless there may be two steps in flight."
    )
    num_block_updates = _Size("Blocks that are new in the block tables.")
    num_new_rows = _Size("Rows that have another sequence than before.")
    num_counted_tokens = _Size("Tokens that are counted for penalties.")
    num_penalised_samples = _Size("Samples with a penalty.")
    num_masked_samples = _Size("Samples of constrained requests.")
    num_biases = _Size("Logits that are changed by a bias or forbidden.")
    num_scored_samples = _Size("Samples whose log-probability is wanted.")
    num_scored_tokens = _Size("Prompt tokens whose log-probability is wanted.")
    max_top_logprobs = _Size("Most of the likeliest tokens that one of these is told.")

    token_ids = _Column("int32; 0 where only the device knows the token", "num_tokens", "num_padding")
    positions = _Column("int32, the position of each token in its sequence", "num_tokens", "num_padding")
    slot_mapping = _Column(
        "int64, the slot that each token's key and value are written to; -1 for nowhere",
        "num_tokens",
        "num_padding",
    )
    query_starts = _Column(
        "int32, where each sequence's tokens begin, and where the last one's end",
        "num_seqs",
        "num_padding",
        more=1,
    )
    context_lens = _Column(
        "int32, tokens of each sequence in the KV cache once the step has run", "num_seqs", "num_padding"
    )
    seq_rows = _Column(
        "int32, the row of each sequence, which keeps it while it runs", "num_seqs", "num_padding"
    )
    block_places = _Column(
        "int32, where the block tables change: row * max_blocks_per_seq + number of the block in its sequence",
        "num_block_updates",
    )
    block_ids = _Column("int32, the block that is there from now on", "num_block_updates")
    logits_indices = _Column("int32, which tokens' logits are drawn from", "num_samples")
    sample_rows = _Column("int32, the row of each sample", "num_samples")
    new_rows = _Column(
        "int32, rows that belong to another sequence from now on, or to one that comes back after a preemption",
        "num_new_rows",
    )
    temperature = _Column("float32; 0 takes the most likely token", "num_new_rows")
    top_p = _Column("float32; 1 keeps all", "num_new_rows")
    top_k = _Column("int32; 0 keeps all", "num_new_rows")
    min_p = _Column("float32; 0 keeps all", "num_new_rows")
    repetition_penalty = _Column("float32; 1 changes nothing", "num_new_rows")
    frequency_penalty = _Column("float32; 0 changes nothing", "num_new_rows")
    presence_penalty = _Column("float32; 0 changes nothing", "num_new_rows")
    uniform = _Column("float32, the random number in [0, 1) that decides each draw", "num_samples")
    device_token_indices = _Column(
        "int32, which of `token_ids` are the token that the step before draws", "num_device_tokens"
    )
    device_token_rows = _Column("int32, the row of each of those", "num_device_tokens")
    counted_indices = _Column(
        "int32, which of `token_ids` are counted: all of the sequences that have a penalty",
        "num_counted_tokens",
    )
    counted_rows = _Column(
        "int32, the row that each of them is counted in; the counts of a new row are forgotten first",
        "num_counted_tokens",
    )
    counted_as_output = _Column(
        "int32, 1 for a token of the output, 0 for one of the prompt", "num_counted_tokens"
    )
    penalised_samples = _Column("int32, which samples have a penalty", "num_penalised_samples")
    masked_samples = _Column("int32, which samples have a mask", "num_masked_samples")
    bias_samples = _Column("int32, the sample of each bias", "num_biases")
    bias_tokens = _Column(
        "int32, the token that it is for; a stop token may lie beyond the vocabulary", "num_biases"
    )
    bias_values = _Column(
        "float32, what is added to the logit; negative infinity forbids the token", "num_biases"
    )
    scored_samples = _Column("int32, which samples' log-probabilities are wanted", "num_scored_samples")
    scored_indices = _Column(
        "int32, which tokens are followed by a prompt token whose log-probability is wanted",
        "num_scored_tokens",
    )
    scored_targets = _Column("int32, that prompt token", "num_scored_tokens")
