"""Continuous batching over a paged KV cache for a runner of one's own; `docs/embedding.md` is the
way in.

    scheduler = Scheduler(num_blocks=512)
    scheduler.add_request(prompt, max_tokens=64, stop_token_ids=[2])
    while step := scheduler.next_step():
        scheduler.complete_step(step, my_model(step))
        for event in scheduler.drain_events(): ...

Needs neither torch nor NumPy. The columns of a step are memory that the engine writes into;
`numpy.asarray` and `torch.frombuffer`, which refuses an empty one, see it without a copy.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from streamcore import _core
from streamcore.columns import Columns, column, place
from streamcore.step import Step

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from streamcore._core_tables import RowParameters

__all__ = [
    "Event",
    "Finished",
    "PromptLogprobs",
    "Scheduled",
    "Scheduler",
    "Scores",
    "Step",
    "Token",
    "TokenLogprob",
]

_MAX_INT32 = (1 << 31) - 1
_MAX_TIMEOUT_S = 365 * 86400


class TokenLogprob(NamedTuple):
    """How likely the model found a token."""

    logprob: float
    """Of the token that was drawn or given."""
    top: list[tuple[int, float]]
    """The most likely tokens with theirs, as many as were asked for, best first."""


class Scheduled(NamedTuple):
    """A request takes part in a step for the first time."""

    request_id: int
    num_cached_tokens: int
    """Tokens of its prompt that were in the KV cache already."""


class PromptLogprobs(NamedTuple):
    """Log-probabilities of consecutive prompt tokens, from the second on. A long prompt has several
    of these.
    """

    request_id: int
    logprobs: list[TokenLogprob]


class Token(NamedTuple):
    """One more token of a request."""

    request_id: int
    token_id: int
    logprob: TokenLogprob | None
    """If it was asked for."""


class Finished(NamedTuple):
    """Nothing comes after this."""

    request_id: int
    reason: Literal["stop", "length", "abort", "deadline", "not_finite"]
    stop_token_id: int | None
    """The stop token that was drawn; it gets no `Token`."""
    stop_logprob: TokenLogprob | None = None
    """Its log-probability, if it was asked for."""


Event: TypeAlias = Scheduled | PromptLogprobs | Token | Finished
"""What happened to a request: `Scheduled`, `PromptLogprobs` if asked for, any number of `Token`,
one `Finished`.
"""


class Scores(NamedTuple):
    """The log-probabilities that a step asks for: natural logarithms of the softmax of the logits
    as the model gave them.

    One row for each of `scored_samples`, then one for each of `scored_indices`. Each is a (nested)
    sequence or a buffer.
    """

    logprobs: Any
    """float32 [num_rows]: of the drawn token, or of `scored_targets`"""
    top_ids: Any
    """int32 [num_rows, num_top]: the most likely tokens, best first; at least `max_top_logprobs` of
    them
    """
    top_logprobs: Any
    """float32 [num_rows, num_top]"""


class Scheduler:
    """Plans steps for a model that another program runs. Requests may be added and aborted from any
    thread; one runs the steps.

    Args:
        num_blocks: blocks in the KV cache.
        block_size: token positions in one block.
        max_num_seqs: most sequences in one step.
        max_num_batched_tokens: most tokens computed in one step.
        max_model_len: most tokens of one sequence, prompt and output together; None: the whole
            cache.
        max_steps_in_flight: how many steps may be handed out before the first is completed, 1 or 2.
        enable_prefix_caching: whether requests that begin alike share the blocks of their common
            beginning.
        capture_sizes: numbers of sequences that the runner has captured graphs for, increasing; a
            step of one token for each sequence is filled up to the next of them, see
            `Step.num_padding`.
        target_itl_s: how long a step with decodes should take, in seconds; prompts beside them are
            cut so that it does, as far as past steps show. None: only `max_num_batched_tokens` cuts
            them.
        min_prefill_share: what prompts may add to a step with decodes whatever `target_itl_s` is, in
            multiples of what decodes take alone; 0: an eighth of it.
        clock: seconds from some moment on; for deadlines and for what steps take.

    Raises:
        ValueError: a limit makes no sense.
    """

    def __init__(
        self,
        *,
        num_blocks: int,
        block_size: int = 16,
        max_num_seqs: int = 64,
        max_num_batched_tokens: int = 2048,
        max_model_len: int | None = None,
        max_steps_in_flight: int = 1,
        enable_prefix_caching: bool = True,
        capture_sizes: Sequence[int] = (),
        target_itl_s: float | None = None,
        min_prefill_share: int = 0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        limits = {
            "block_size": block_size,
            "num_blocks": num_blocks,
            "max_num_batched_tokens": max_num_batched_tokens,
            "max_num_seqs": max_num_seqs,
            "max_model_len": min(num_blocks * block_size, _MAX_INT32)
            if max_model_len is None
            else max_model_len,
            "max_steps_in_flight": max_steps_in_flight,
        }
        sizes = [("capture_sizes", size) for size in capture_sizes]
        for name, limit in [*limits.items(), *sizes]:
            # What the extension cannot even take in; the rest it says itself.
            if not 0 <= limit < 1 << 63:
                raise ValueError(f"`{name}` is {limit}, it must be from 1 to {_MAX_INT32}")
        config = _core.EngineConfig(
            **limits,
            enable_prefix_caching=enable_prefix_caching,
            capture_sizes=list(capture_sizes),
            target_itl_s=target_itl_s,
            min_prefill_share=min_prefill_share,
        )
        self.max_blocks_per_seq = config.max_blocks_per_seq
        """Length of a row of the block tables."""
        self._engine = _core.Scheduler(config)
        self._clock = clock
        self._completed_at = self._clock()
        self._request_ids = count()
        self._free = deque(Columns(config) for _ in range(max_steps_in_flight))
        self._lent: dict[int, tuple[Columns, float]] = {}

    def add_request(
        self,
        prompt: Iterable[int],
        *,
        max_tokens: int,
        min_tokens: int = 0,
        stop_token_ids: Iterable[int] = (),
        logit_bias: Mapping[int, float] | None = None,
        seed: int = 0,
        logprobs: int | None = None,
        prompt_logprobs: int | None = None,
        cache_salt: int = 0,
        priority: int = 0,
        key: int = 0,
        is_constrained: bool = False,
        timeout_s: float | None = None,
        **numbers: "Unpack[RowParameters]",
    ) -> int:
        """Put a request at the end of the line of its `priority` and `key`; returns its id.

        Args:
            prompt: token ids, at least one.
            max_tokens: most tokens to generate; with 0 the prompt alone is computed, for its
                log-probabilities.
            min_tokens: before this many tokens nothing of `stop_token_ids` ends the output.
            logit_bias: tokens, and what is added to their logits.
            seed: decides the number in `uniform` for each draw.
            logprobs: return the log-probability of each token and of this many of the likeliest, at
                most 20.
            prompt_logprobs: the same of each prompt token but the first.
            cache_salt: only requests with the same number share blocks.
            priority: lower ones go first; within one each `key` gets an equal part of the engine.
            is_constrained: a mask says which tokens may be drawn: the step after a token of the
                request waits for `resume`. Tokens of `stop_token_ids` before `min_tokens` are then
                for the masks to forbid.
            timeout_s: seconds from now after which the request ends, with what it has, at most a
                year; None: never.
            numbers: `temperature`, `top_p` and the other parameters among the columns of `Step`, by
                name; like `logit_bias` they are handed on in the columns of the steps, and nothing
                here draws tokens.

        Raises:
            TypeError: a name is unknown.
            ValueError: it can never run, or a list is too long, or a number is out of its range.
        """
        if timeout_s is not None and not 0 <= timeout_s <= _MAX_TIMEOUT_S:
            raise ValueError(f"`timeout_s` is {timeout_s}, it must be from 0 to {_MAX_TIMEOUT_S}")
        request_id = next(self._request_ids)
        try:
            self._engine.add_request(
                request_id,
                list(prompt),
                max_tokens=max_tokens,
                min_tokens=min_tokens,
                stop_token_ids=list(stop_token_ids),
                logit_bias=list((logit_bias or {}).items()),
                seed=seed,
                logprobs=logprobs,
                prompt_logprobs=prompt_logprobs,
                cache_salt=cache_salt,
                priority=priority,
                key=key,
                is_constrained=is_constrained,
                deadline_s=None if timeout_s is None else self._clock() + timeout_s,
                **numbers,
            )
        except OverflowError as error:
            raise ValueError("a token id or another number is negative, or beyond its type") from error
        return request_id

    def abort(self, request_id: int) -> bool:
        """End a request; False when no request has that id, or it has ended."""
        return self._engine.abort(request_id)

    def resume(self, request_id: int, forced: Iterable[int] = ()) -> bool:
        """Say that the mask for the next token of a constrained request is made.

        Args:
            request_id: one whose last token `drain_events` has returned.
            forced: tokens that come before that one because the masks allow no others; they are
                reported as if they had been drawn.

        Returns:
            False if it does not wait for a mask; nothing has changed then.
        """
        return self._engine.resume(request_id, list(forced))

    def masked_requests(self, step: Step) -> list[int]:
        """The requests whose samples have a mask, in the order of `Step.masked_samples`."""
        return self._engine.masked_requests(step.id)

    def next_step(self) -> Step | None:
        """Plan the next step; None when nothing can run before a step in flight is completed, or
        there is nothing to do.
        """
        if not self._free:
            return None
        now = self._clock()
        columns = self._free[0]
        plan = self._engine.next_step(columns.buffers, now)
        if plan is None:
            return None
        self._free.popleft()
        self._lent[plan.id] = columns, now
        return Step(plan, columns.views)

    def complete_step(
        self, step: Step, tokens: Sequence[int] | Any, *, logprobs: Scores | None = None
    ) -> None:
        """Hand back what was drawn; the columns of the step may be written again from now on.

        Args:
            step: the oldest step in flight.
            tokens: [num_samples], the drawn tokens in the order of `logits_indices`: a sequence of
                ints, or a buffer of them. -1, only with one step in flight: none was drawn, and the
                sequence takes part in the next step as it did in this one.
                -2: a logit of the sample is NaN or infinite, and the sequence ends with
                "not_finite".
            logprobs: needed if the step scores anything.

        Raises:
            ValueError: it is another step's turn, a number of elements is wrong, or a token is
                negative but neither -1 nor -2.
        """
        if step.id not in self._lent:
            raise ValueError(f"step {step.id} is not in flight")
        columns, handed_out_at = self._lent[step.id]
        sampled = column("i", tokens)
        # Held until the call has returned.
        scored = None if logprobs is None else _scored(logprobs)
        places = None if scored is None else (place(scored[0]), place(scored[1]), place(scored[2]))
        now = self._clock()
        elapsed_s = max(0.0, now - max(handed_out_at, self._completed_at))
        self._engine.complete_step(step.id, place(sampled), places, elapsed_s)
        self._completed_at = now
        del self._lent[step.id]
        self._free.append(columns)

    def drain_events(self) -> list[Event]:
        """What happened since the last call."""
        return [_event(*told) for told in self._engine.drain_events()]

    @property
    def has_work(self) -> bool:
        """Whether any request is waiting, running or in a step in flight."""
        return self._engine.has_work

    @property
    def num_free_blocks(self) -> int:
        """Blocks that no sequence holds."""
        return self._engine.num_free_blocks

    @property
    def num_preemptions(self) -> int:
        """Sequences that lost their blocks to another one so far."""
        return self._engine.num_preemptions


def _scored(scores: Scores) -> tuple["array[Any]", "array[Any]", "array[Any]"]:
    return column("f", scores.logprobs), column("i", scores.top_ids), column("f", scores.top_logprobs)


def _event(
    request_id: int, kind: str, number: int | None, told: list[tuple[float, list[tuple[int, float]]]]
) -> Event:
    logprobs = [TokenLogprob(*entry) for entry in told]
    match kind:
        case "token":
            assert number is not None
            return Token(request_id, number, logprobs[0] if logprobs else None)
        case "scheduled":
            return Scheduled(request_id, number or 0)
        case "prompt_logprobs":
            return PromptLogprobs(request_id, logprobs)
        case "stop" | "length" | "abort" | "deadline" | "not_finite":
            return Finished(request_id, kind, number, logprobs[0] if logprobs else None)
    raise AssertionError(f"no such event: {kind}")
