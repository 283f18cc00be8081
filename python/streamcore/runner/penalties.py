"""What changes logits before a token is drawn: penalties for tokens that are there already, and
biases.

The repetition penalty is that of Keskar et al. 2019 (arXiv:1909.05858, section 4.1) with negative
logits multiplied, as is usual; frequency and presence penalties are OpenAI's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from streamcore.runner.columns import PlanColumns

# The columns of the penalties.
PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
# Rows of a whole vocabulary are worked on in pieces of about this size.
CHUNK_BYTES = 64 << 20
# What `TokenCounts` keeps of a token of the vocabulary, for each row.
COUNT_BYTES = 4 + 1


def rows_per_chunk(vocab_size: int) -> int:
    """How many float32 rows fit into a piece, at least one."""
    return max(CHUNK_BYTES // (4 * vocab_size), 1)


@dataclass(frozen=True, slots=True)
class CountInputs:
    """Which tokens of a step are counted, int32 on the device."""

    new_rows: Tensor
    """[num_new_rows], rows that begin a sequence anew"""
    indices: Tensor
    """[num_counted_tokens], which of the step's tokens"""
    rows: Tensor
    """[num_counted_tokens], the row of each"""
    as_output: Tensor
    """[num_counted_tokens], 1 for a token of the output, 0 for one of the prompt"""

    @classmethod
    def of(cls, columns: PlanColumns) -> "CountInputs":
        """Takes the inputs of a plan."""
        names = ("new_rows", "counted_indices", "counted_rows", "counted_as_output")
        return cls(*(columns[name] for name in names))


@dataclass(frozen=True, slots=True)
class PenaltyInputs:
    """The penalties of a step, on the device."""

    samples: Tensor
    """int32 [num_penalised_samples], which samples have a penalty"""
    sample_rows: Tensor
    """int32 [num_samples]"""
    repetition: Tensor
    """float32 [num_rows]"""
    frequency: Tensor
    """float32 [num_rows]"""
    presence: Tensor
    """float32 [num_rows]"""

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor], columns: PlanColumns) -> "PenaltyInputs":
        """Takes the inputs of a plan, and the parameters of all rows by name."""
        penalties = (parameters[name] for name in PENALTIES)
        return cls(columns["penalised_samples"], columns["sample_rows"], *penalties)


@dataclass(frozen=True, slots=True)
class BiasInputs:
    """The biases of a step, on the device, [num_biases]."""

    samples: Tensor
    """int32, the sample of each"""
    tokens: Tensor
    """int32, those beyond the vocabulary are passed over"""
    values: Tensor
    """float32, added to the logit"""

    @classmethod
    def of(cls, columns: PlanColumns) -> "BiasInputs":
        """Takes the inputs of a plan."""
        return cls(columns["bias_samples"], columns["bias_tokens"], columns["bias_values"])


class TokenCounts:
    """How often each token is in the sequence of each row; memory is taken when the first request
    needs it.
    """

    def __init__(self, num_rows: int, vocab_size: int, device: torch.device) -> None:
        """Takes no memory yet."""
        self._shape = (num_rows, vocab_size)
        self._device = device
        self._in_output: Tensor | None = None
        self._is_there: Tensor | None = None

    def tables(self) -> tuple[Tensor, Tensor]:
        """How often each token is in the output, int32, and whether it is in the sequence, bool,
        [num_rows, vocab_size].
        """
        if self._in_output is None or self._is_there is None:
            self._in_output = torch.zeros(self._shape, dtype=torch.int32, device=self._device)
            self._is_there = torch.zeros(self._shape, dtype=torch.bool, device=self._device)
        return self._in_output, self._is_there

    def count(self, token_ids: Tensor, inputs: CountInputs) -> None:
        """Counts the input tokens of a step, int32 [num_tokens]: the token that the step before
        drew is one of them.
        """
        in_output, is_there = self.tables()
        rows = inputs.new_rows.long()
        in_output.index_fill_(0, rows, 0)
        is_there.index_fill_(0, rows, 0)
        tokens = token_ids.index_select(0, inputs.indices).long()
        places = (inputs.rows.long(), tokens)
        in_output.index_put_(places, inputs.as_output, accumulate=True)
        is_there[places] = True

    def penalise(self, logits: Tensor, inputs: PenaltyInputs) -> None:
        """Applies the penalties in place to float32 [num_samples, vocab_size]."""
        in_output, is_there = self.tables()
        for samples in torch.split(inputs.samples, rows_per_chunk(logits.shape[1])):
            rows = inputs.sample_rows.index_select(0, samples)
            repetition, frequency, presence = (
                penalty.index_select(0, rows).unsqueeze(1)
                for penalty in (inputs.repetition, inputs.frequency, inputs.presence)
            )
            chosen, counts = logits.index_select(0, samples), in_output.index_select(0, rows)
            repeated = torch.where(chosen > 0, chosen / repetition, chosen * repetition)
            chosen = torch.where(is_there.index_select(0, rows), repeated, chosen)
            chosen -= frequency * counts
            chosen -= presence * (counts > 0)
            logits.index_copy_(0, samples.long(), chosen)


def add_biases(logits: Tensor, inputs: BiasInputs) -> None:
    """Adds the biases in place to float32 [num_samples, vocab_size]."""
    vocab_size = logits.shape[1]
    # Which tokens a request stops at is not the model's to limit, and an index beyond the row would
    # be another's logit.
    is_inside = (inputs.tokens >= 0) & (inputs.tokens < vocab_size)
    tokens = inputs.tokens.clamp(0, vocab_size - 1).long()
    values = torch.where(is_inside, inputs.values, 0)
    logits.index_put_((inputs.samples.long(), tokens), values, accumulate=True)
