"""The sizes and columns of a step as attributes.

Generated from the tables of `rust/engine` by `make docs`; do not edit.
"""

from collections.abc import Mapping

from streamcore import _core

def filled_len(name: str, plan: _core.StepPlan) -> int:
    """How many elements of a column a plan fills."""

class StepTable:
    """What each step has."""

    plan: _core.StepPlan
    columns: Mapping[str, memoryview]
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
        """Padding behind them, see `EngineConfig.capture_sizes`: this many sequences of one token
        each.
        """
    @property
    def num_samples(self) -> int:
        """Tokens to sample."""
    @property
    def num_device_tokens(self) -> int:
        """Tokens whose id is known only to the device, see `device_token_indices`."""
    @property
    def num_block_updates(self) -> int:
        """Blocks that are new in the block tables, see `block_places`."""
    @property
    def num_new_rows(self) -> int:
        """Rows that have another sequence than before, see `new_rows`."""
    @property
    def num_counted_tokens(self) -> int:
        """Tokens that are counted, see `counted_indices`."""
    @property
    def num_penalised_samples(self) -> int:
        """Samples with a penalty, see `penalised_samples`."""
    @property
    def num_masked_samples(self) -> int:
        """Samples with a mask, see `masked_samples`."""
    @property
    def num_biases(self) -> int:
        """Logits that are changed by a bias or forbidden, see `bias_samples`."""
    @property
    def num_scored_samples(self) -> int:
        """Samples whose log-probability is wanted, see `scored_samples`."""
    @property
    def num_scored_tokens(self) -> int:
        """Prompt tokens whose log-probability is wanted, see `scored_indices`."""
    @property
    def max_top_logprobs(self) -> int:
        """Maximum number of likely tokens that one of these gets."""
    @property
    def token_ids(self) -> memoryview:
        """int32. Input tokens, `[num_tokens + num_padding]`. 0 where the token is known only to the
        device.
        """
    @property
    def positions(self) -> memoryview:
        """int32. Position of each token in its sequence, `[num_tokens + num_padding]`."""
    @property
    def slot_mapping(self) -> memoryview:
        """int64. Slot that each token's key and value are written to, `[num_tokens + num_padding]`;
        -1 for nowhere.
        """
    @property
    def query_starts(self) -> memoryview:
        """int32. Where each sequence's tokens begin, `[num_seqs + num_padding + 1]`."""
    @property
    def context_lens(self) -> memoryview:
        """int32. Tokens of each sequence in the KV cache once the step has run, `[num_seqs +
        num_padding]`.
        """
    @property
    def seq_rows(self) -> memoryview:
        """int32. The row of each sequence, `[num_seqs + num_padding]`."""
    @property
    def block_places(self) -> memoryview:
        """int32. Where the block tables change, `[num_block_updates]`: the row times
        `max_blocks_per_seq`, plus the block's number in its sequence.
        """
    @property
    def block_ids(self) -> memoryview:
        """int32. The block that is there from now on, `[num_block_updates]`."""
    @property
    def logits_indices(self) -> memoryview:
        """int32. Index of the token whose logits are sampled, `[num_samples]`."""
    @property
    def sample_rows(self) -> memoryview:
        """int32. Row of the sequence that each sample belongs to, `[num_samples]`. The runner
        leaves the sampled token there, on the device, for the next step.
        """
    @property
    def sample_context_lens(self) -> memoryview:
        """int32. Tokens of that sequence in the KV cache once the step has run, `[num_samples]`:
        what the sampled token attends to.
        """
    @property
    def new_rows(self) -> memoryview:
        """int32. Rows that belong to another sequence from now on, or to one that comes back after
        a preemption, `[num_new_rows]`.
        """
    @property
    def temperature(self) -> memoryview:
        """float32. Divides the logits; 0 takes the most likely token."""
    @property
    def top_p(self) -> memoryview:
        """float32. Keeps the smallest set of tokens whose probability reaches this; 1 keeps all."""
    @property
    def top_k(self) -> memoryview:
        """int32. Keeps this many of the most likely tokens; 0 keeps all."""
    @property
    def min_p(self) -> memoryview:
        """float32. Keeps tokens that are at least this fraction as likely as the most likely one; 0
        keeps all.
        """
    @property
    def top_n_sigma(self) -> memoryview:
        """float32. Keeps tokens whose logits are within this many standard deviations of the
        greatest; 0 and below keep all.
        """
    @property
    def repetition_penalty(self) -> memoryview:
        """float32. Divides logits of tokens in the prompt or the output if positive, multiplies
        them otherwise; 1 changes nothing.
        """
    @property
    def frequency_penalty(self) -> memoryview:
        """float32. Is subtracted from a token's logit once for each time it is in the output; 0
        changes nothing.
        """
    @property
    def presence_penalty(self) -> memoryview:
        """float32. Is subtracted from a token's logit if it is in the output; 0 changes nothing."""
    @property
    def uniform(self) -> memoryview:
        """float32. The random number in `[0, 1)` that decides each draw, `[num_samples]`."""
    @property
    def device_token_indices(self) -> memoryview:
        """int32. Which of `token_ids` must be replaced by a token that only the device knows,
        `[num_device_tokens]`.
        """
    @property
    def device_token_rows(self) -> memoryview:
        """int32. The row that holds each of those tokens, `[num_device_tokens]`."""
    @property
    def counted_indices(self) -> memoryview:
        """int32. Which of `token_ids` are counted, `[num_counted_tokens]`: all of the sequences
        that have a penalty.
        """
    @property
    def counted_rows(self) -> memoryview:
        """int32. The row that each of them is counted in, `[num_counted_tokens]`."""
    @property
    def counted_as_output(self) -> memoryview:
        """int32. 1 for a token of the output, 0 for one of the prompt, `[num_counted_tokens]`."""
    @property
    def penalised_samples(self) -> memoryview:
        """int32. Which samples have a penalty, `[num_penalised_samples]`."""
    @property
    def masked_samples(self) -> memoryview:
        """int32. Which samples have a mask, `[num_masked_samples]`."""
    @property
    def bias_samples(self) -> memoryview:
        """int32. The sample of each bias, `[num_biases]`."""
    @property
    def bias_tokens(self) -> memoryview:
        """int32. The token that it is for, `[num_biases]`. A stop token may lie beyond the model's
        vocabulary.
        """
    @property
    def bias_values(self) -> memoryview:
        """float32. What is added to the logit, `[num_biases]`; negative infinity forbids the
        token.
        """
    @property
    def scored_samples(self) -> memoryview:
        """int32. Which samples' log-probabilities are wanted, `[num_scored_samples]`."""
    @property
    def scored_indices(self) -> memoryview:
        """int32. Which of the step's tokens are followed by a prompt token whose log-probability is
        wanted, `[num_scored_tokens]`.
        """
    @property
    def scored_targets(self) -> memoryview:
        """int32. The prompt token that follows each of them, `[num_scored_tokens]`."""
