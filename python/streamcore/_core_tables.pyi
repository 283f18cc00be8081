"""Parts of `streamcore._core` that tables declare. A page of the stub alone.

Generated from the tables of `rust/engine` by `make docs`; do not edit.
"""

from typing import Final, TypedDict, final

@final
class StepPlan:
    """The sizes of a plan: how much of each column it fills."""

    id: Final[int]
    num_tokens: Final[int]
    """Tokens to compute."""
    num_seqs: Final[int]
    """Sequences that take part."""
    num_padding: Final[int]
    """Padding behind them, see `EngineConfig.capture_sizes`: this many sequences of one token
    each.
    """
    num_samples: Final[int]
    """Tokens to sample."""
    num_device_tokens: Final[int]
    """Tokens whose id is known only to the device, see `device_token_indices`."""
    num_block_updates: Final[int]
    """Blocks that are new in the block tables, see `block_places`."""
    num_new_rows: Final[int]
    """Rows that have another sequence than before, see `new_rows`."""
    num_counted_tokens: Final[int]
    """Tokens that are counted, see `counted_indices`."""
    num_penalised_samples: Final[int]
    """Samples with a penalty, see `penalised_samples`."""
    num_masked_samples: Final[int]
    """Samples with a mask, see `masked_samples`."""
    num_biases: Final[int]
    """Logits that are changed by a bias or forbidden, see `bias_samples`."""
    num_scored_samples: Final[int]
    """Samples whose log-probability is wanted, see `scored_samples`."""
    num_scored_tokens: Final[int]
    """Prompt tokens whose log-probability is wanted, see `scored_indices`."""
    max_top_logprobs: Final[int]
    """Maximum number of likely tokens that one of these gets."""

class RowParameters(TypedDict, total=False):
    """The numbers that a row keeps while its sequence runs."""

    temperature: float
    """Divides the logits; 0 takes the most likely token."""
    top_p: float
    """Keeps the smallest set of tokens whose probability reaches this; 1 keeps all."""
    top_k: int
    """Keeps this many of the most likely tokens; 0 keeps all."""
    min_p: float
    """Keeps tokens that are at least this fraction as likely as the most likely one; 0 keeps
    all.
    """
    top_n_sigma: float
    """Keeps tokens whose logits are within this many standard deviations of the greatest; 0 and
    below keep all.
    """
    repetition_penalty: float
    """Divides logits of tokens in the prompt or the output if positive, multiplies them otherwise;
    1 changes nothing.
    """
    frequency_penalty: float
    """Is subtracted from a token's logit once for each time it is in the output; 0 changes
    nothing.
    """
    presence_penalty: float
    """Is subtracted from a token's logit if it is in the output; 0 changes nothing."""
