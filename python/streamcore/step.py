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

from streamcore import _core
from streamcore.step_table import StepTable, filled_len

__all__ = ["NOT_FINITE", "Step", "filled_len"]

NOT_FINITE = -2
"""In the place of a drawn token: a logit of this sample is NaN or infinite, and the sequence ends.
"""


class Step(StepTable):
    """The plan of one step: sizes, and columns that are views of the engine's memory, valid until
    the step is completed.

    A runner carries out every step, in the order in which it got them. It keeps block tables of
    `[max_num_seqs + 1, max_blocks_per_seq]` and the sampling parameters of each row, and takes what
    is new of both out of a step before it computes. The last row is that of padding.
    """

    def __init__(self, plan: _core.StepPlan, columns: Mapping[str, memoryview]) -> None:
        self.plan = plan
        self.columns = columns
        """The columns in their full length, by name."""
