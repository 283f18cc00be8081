"""What is done with logits: draws and log-probabilities, by the compiled kernels of either device."""

from collections.abc import Mapping

from torch import Tensor

from streamcore.kernels.structs import NativeOps, address

SAMPLED_BY = (
    *("temperature", "top_k", "top_p", "min_p", "top_n_sigma"),
    *("repetition_penalty", "frequency_penalty", "presence_penalty"),
)
"""The parameters of a row that `SampledOps.sample` reads."""

MAX_BIASES = 640
"""Biases of one row that it takes on CUDA."""

MAX_SAMPLED_VOCABULARY = 1 << 19
"""Tokens of the largest vocabulary that it takes on CUDA."""


class SampledOps(NativeOps):
    """`NativeOps` with the operations behind a forward pass."""

    def sample(
        self,
        tokens: Tensor,
        results: Tensor,
        logits: Tensor,
        parameters: Mapping[str, Tensor],
        sample_rows: Tensor,
        uniform: Tensor,
        not_finite: int,
        *,
        counted: tuple[Tensor, Tensor] | None = None,
        biases: tuple[Tensor, Tensor, Tensor] | None = None,
        masks: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Draws one token for each row of logits, which stay as they are: penalties come first,
        then biases, then masks.

        Args:
            tokens: int32 [num_samples], what is drawn.
            results: like `tokens`, but `not_finite` for a row with a logit that is no finite
                number.
            logits: float32 [num_samples, vocab_size], rows contiguous; on CUDA at most
                `MAX_SAMPLED_VOCABULARY` wide.
            parameters: by name, [num_rows]: `SAMPLED_BY`.
            sample_rows: int32 [num_samples], which of the parameters are whose.
            uniform: float32 [num_samples] in [0, 1); decides each draw.
            not_finite: see `results`.
            counted: int32 and bool [num_rows, vocab_size], how often each token is in the output,
                and whether it is in the sequence; None: there are no penalties.
            biases: [num_biases], ascending samples and their tokens, int32, and values, float32;
                on CUDA at most `MAX_BIASES` of one sample.
            masks: int32 [num_masked], ascending samples that have a mask, and its words, int32
                [num_masked, num_mask_words].
        """
        counts, is_there = counted if counted is not None else (None, None)
        samples, biased, values = biases if biases is not None else (None, None, None)
        masked, words = masks if masks is not None else (None, None)
        self._call(
            "Sample",
            tokens=tokens.data_ptr(),
            results=results.data_ptr(),
            logits=logits.data_ptr(),
            sample_rows=sample_rows.data_ptr(),
            **{name: parameters[name].data_ptr() for name in SAMPLED_BY},
            uniform=uniform.data_ptr(),
            is_there=address(is_there),
            counts=address(counts),
            bias_samples=address(samples),
            bias_tokens=address(biased),
            bias_values=address(values),
            masked_samples=address(masked),
            mask_words=address(words),
            num_rows=logits.shape[0],
            vocab_size=logits.shape[1],
            logits_stride=logits.stride(0),
            num_biases=0 if samples is None else samples.shape[0],
            num_masked=0 if masked is None else masked.shape[0],
            mask_stride=0 if words is None else words.stride(0),
            not_finite=not_finite & 0xFFFFFFFF,
        )

    def score(
        self,
        logprobs: Tensor,
        top_ids: Tensor,
        top_logprobs: Tensor,
        logits: Tensor,
        targets: Tensor,
        samples: Tensor | None,
        least: float,
    ) -> None:
        """Writes log-probabilities of one token of each row of logits, and of the likeliest.

        Args:
            logprobs: float32 [num_scored].
            top_ids: int32 [num_scored, num_top], the likeliest first, equal ones by their ids; at
                most 64 wide.
            top_logprobs: float32 likewise.
            logits: float32 [num_rows, vocab_size], rows contiguous.
            targets: int32 [num_rows].
            samples: int32 [num_scored], which rows are scored; None: all.
            least: what a log-probability is at least.
        """
        self._call(
            "Score",
            logprobs=logprobs.data_ptr(),
            top_ids=top_ids.data_ptr(),
            top_logprobs=top_logprobs.data_ptr(),
            logits=logits.data_ptr(),
            samples=address(samples),
            targets=targets.data_ptr(),
            num_rows=logprobs.shape[0],
            vocab_size=logits.shape[1],
            logits_stride=logits.stride(0),
            num_top=top_ids.shape[1],
            least=least,
        )
