"""The extension module, written in Rust (`rust/python`).

Addresses are those of memory that the caller owns, keeps alive and leaves alone during the call.
Methods that work or wait release the interpreter meanwhile.
"""

from os import PathLike
from types import ModuleType
from typing import Any, Literal, TypeAlias, final

from typing_extensions import Unpack

from streamcore._core_functions import close_log as close_log
from streamcore._core_functions import end_on_signals as end_on_signals
from streamcore._core_functions import flush_log as flush_log
from streamcore._core_functions import harmless_text as harmless_text
from streamcore._core_functions import init_logging as init_logging
from streamcore._core_functions import json_line as json_line
from streamcore._core_functions import log as log
from streamcore._core_functions import metrics_reference as metrics_reference
from streamcore._core_functions import parser_names as parser_names
from streamcore._core_functions import replay as replay
from streamcore._core_functions import row_parameters as row_parameters
from streamcore._core_functions import simulate as simulate
from streamcore._core_functions import step_table as step_table
from streamcore._core_functions import trace_model as trace_model
from streamcore._core_script import Script as Script
from streamcore._core_tables import RowParameters
from streamcore._core_tables import StepPlan as StepPlan

__all__ = [
    "Doorbell",
    "EngineConfig",
    "Exchange",
    "Listener",
    "Scheduler",
    "Script",
    "Server",
    "StepBuffers",
    "StepPlan",
    "TextModel",
    "__version__",
    "close_log",
    "end_on_signals",
    "flush_log",
    "harmless_text",
    "init_logging",
    "is_release",
    "json_line",
    "kernels",
    "log",
    "metrics_reference",
    "parser_names",
    "replay",
    "row_parameters",
    "simulate",
    "step_table",
    "trace_model",
]

__version__: str
is_release: bool
"""Whether the extension was built with optimisations, without a development build's checks."""
_Place: TypeAlias = tuple[int, int]
_Likelihood: TypeAlias = tuple[float, list[tuple[int, float]]]
_EventKind: TypeAlias = Literal[
    "scheduled", "prompt_logprobs", "token", "stop", "length", "abort", "deadline", "not_finite"
]
kernels: ModuleType
"""The CPU and CUDA kernels; `streamcore.kernels` is the only caller and checks what it passes."""

@final
class EngineConfig:
    """The limits of an engine.

    Args:
        block_size: token positions in one block.
        num_blocks: blocks in the pool.
        max_num_batched_tokens: most tokens computed in one step.
        max_num_seqs: most sequences in one step.
        max_model_len: most tokens of one sequence, prompt and output together.
        max_steps_in_flight: how many plans may be handed out before the first is completed, 1 or 2.
        enable_prefix_caching: whether requests that begin alike share the blocks of their common
            beginning.
        capture_sizes: numbers of sequences that the runner has captured graphs for, increasing; a
            step of one token for each sequence is filled up to the next of them.
        target_itl_s: how long a step with decodes should take, in seconds; prompts beside them are
            cut so that it does.
        min_prefill_share: what prompts may add to a step with decodes whatever `target_itl_s` is, in
            multiples of what decodes take alone; 0: an eighth of it.
        num_mask_words: 32-bit words of a mask over the vocabulary, for which there is a column; 0:
            no column.

    Raises ValueError where a limit makes no sense.
    """

    def __new__(
        cls,
        *,
        block_size: int,
        num_blocks: int,
        max_num_batched_tokens: int,
        max_num_seqs: int,
        max_model_len: int,
        max_steps_in_flight: int = 1,
        enable_prefix_caching: bool = True,
        capture_sizes: list[int] | None = None,
        target_itl_s: float | None = None,
        min_prefill_share: int = 0,
        num_mask_words: int = 0,
    ) -> EngineConfig: ...
    @property
    def max_seq_len(self) -> int:
        """The maximum length of a sequence: the context, or the whole pool if that is less."""
    @property
    def max_blocks_per_seq(self) -> int:
        """The maximum blocks of one sequence: the length of a row of the block tables."""
    def step_columns(self) -> list[tuple[str, str, int]]:
        """Name, dtype ("int32", "int64", "float32") and size of each column of a runner."""

@final
class StepBuffers:
    """The addresses of a runner's columns.

    Args:
        columns: address and number of elements of each column, in the order of
            `config.step_columns()`.

    Raises ValueError where a column is missing, of another length or not aligned to 8 bytes.
    """

    def __new__(cls, config: EngineConfig, columns: list[tuple[int, int]]) -> StepBuffers: ...

@final
class Scheduler:
    """The engine by itself, in addresses; `streamcore.Scheduler` is made of it. May be called from
    any thread.
    """

    def __new__(cls, config: EngineConfig) -> Scheduler: ...
    def add_request(
        self,
        request_id: int,
        prompt: list[int],
        *,
        max_tokens: int,
        min_tokens: int = 0,
        stop_token_ids: list[int] | None = None,
        logit_bias: list[tuple[int, float]] | None = None,
        seed: int = 0,
        logprobs: int | None = None,
        prompt_logprobs: int | None = None,
        cache_salt: int = 0,
        priority: int = 0,
        key: int = 0,
        is_constrained: bool = False,
        deadline_s: float | None = None,
        **numbers: Unpack[RowParameters],
    ) -> None:
        """As in `streamcore.Scheduler`; the caller never uses an id twice, and `deadline_s` is on
        the clock of `next_step`.
        """
    def abort(self, request_id: int) -> bool:
        """End a request; False when no request has that id."""
    def resume(self, request_id: int, forced: list[int]) -> bool:
        """Resume a request whose mask is ready, behind these tokens; False when it waits for none."""
    def masked_requests(self, step_id: int) -> list[int]:
        """The requests whose samples have a mask."""
    def next_step(self, buffers: StepBuffers, now_s: float = 0.0) -> StepPlan | None:
        """End requests whose deadline has come, then plan the next step into `buffers`; None when
        nothing can run now.
        """
    def complete_step(
        self,
        step_id: int,
        tokens: _Place,
        scores: tuple[_Place, _Place, _Place] | None = None,
        elapsed_s: float | None = None,
    ) -> None:
        """Hand back the results of the oldest step in flight. Each column is given as its address
        and its number of elements.

        Args:
            tokens: int32 [num_samples], the sampled tokens in the order of the plan.
            scores: needed if the plan scores anything: float32 [num_rows], the log-probability of
                each drawn or given token; int32 and float32 [num_rows, num_top], the most likely
                tokens, best first, and their log-probabilities. The rows are the scored samples,
                then the scored prompt tokens.
            elapsed_s: what the step took.

        Raises:
            ValueError: it is another step's turn, a number of elements is wrong, or a token is
                negative but not -1.
        """
    def drain_events(self) -> list[tuple[int, _EventKind, int | None, list[_Likelihood]]]:
        """The events since the last call: request id, kind, a number, and log-probabilities if
        they were asked for.

        The number is the token of "token" and "stop", and of "scheduled" how many prompt tokens
        were in the KV cache already.
        """
    @property
    def has_work(self) -> bool: ...
    @property
    def num_free_blocks(self) -> int: ...
    @property
    def num_preemptions(self) -> int: ...

@final
class Listener:
    """A socket that is bound, else an OSError says why not. A method returns it changed and uses
    this one up.
    """

    def __new__(cls, host: str, port: int) -> Listener: ...
    @staticmethod
    def at_path(path: str | PathLike[str]) -> Listener:
        """Bind a Unix domain socket; the file of a dead server is replaced."""
    def with_tls(self, certfile: str | PathLike[str], keyfile: str | PathLike[str]) -> Listener:
        """Have clients speak TLS, by a chain of certificates and a key as PEM."""
    def under(self, root_path: str) -> Listener:
        """Have clients find the routes under a path of a proxy."""
    @property
    def url(self) -> str:
        """Scheme, host and the port, chosen by the system for 0; of a path `http://localhost`."""

@final
class TextModel:
    """The tokenizer, chat template and generation defaults of a model folder.

    Args:
        folder: of the model.
        tool_call_parser: one of `parser_names`, "auto": by the template.
        reasoning_parser: the same for reasoning.

    Raises ModelLoadError where a file of the folder cannot be used, ValueError where there is no
    such parser.
    """

    def __new__(
        cls,
        folder: str | PathLike[str],
        *,
        tool_call_parser: str = "auto",
        reasoning_parser: str = "auto",
    ) -> TextModel: ...
    @property
    def has_chat_template(self) -> bool:
        """Whether messages can become a prompt; False once a server has taken the model."""

@final
class Server:
    """The running HTTP server. It answers from its construction on, and takes over `listener` and
    `text`.

    Args:
        listener: where to listen; None: requests come by `open` alone.
        config: the engine's limits.
        served_model_names: at least one; the first one is in the answers.
        vocab_size: rows of the model's embedding; a prompt with a token id beyond them is refused.
        api_keys: keys that open the API; none: it is open to all.
        priority_keys: numbers of keys, counted from 1, whose `priority` counts among the requests
            of all keys.
        allowed_origins: origins whose pages may read answers in a browser; `*` stands for all.
        max_waiting_requests: most requests that wait for their first step; more get 429. None:
            2048.
        max_stored_responses: most responses that are kept for their clients; 0: none. None: 1000.
        script: what answers in the place of a model; `run_script` then takes the place of the
            runner.
        trace_file: new file for a trace, see `docs/simulation.md`. None: none is made.
        traced_model: what the trace says of the model, as `trace_model` returns it.
        reasoning_field: where answers have reasoning: "reasoning", "reasoning_content" or "both".

    One thread calls `next_step` and `complete_step`; the other methods may be called from any.

    Raises:
        OSError: the socket or the threads cannot be had, or the trace cannot be created.
        RuntimeError: `listener` or `text` already belongs to a server.
    """

    def __new__(
        cls,
        listener: Listener | None,
        text: TextModel,
        config: EngineConfig,
        *,
        served_model_names: list[str],
        vocab_size: int,
        api_keys: list[str] | None = None,
        priority_keys: list[int] | None = None,
        allowed_origins: list[str] | None = None,
        max_waiting_requests: int | None = None,
        max_stored_responses: int | None = None,
        script: Script | None = None,
        trace_file: str | PathLike[str] | None = None,
        traced_model: tuple[str, int, int] | None = None,
        reasoning_field: str = "both",
    ) -> Server: ...
    def open(
        self,
        bell: Doorbell,
        number: int,
        method: str,
        prefix: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
    ) -> Exchange:
        """Answer a request that an ASGI server has read.

        Args:
            bell: of the event loop that the answer goes to.
            number: under which `bell` hands over the parts of the answer; the caller never uses it
                twice with one bell.
            prefix: what the application is mounted under, as in a URL, such as "/llm"; may be
                empty.
            target: path and query as they were sent, without the prefix.
            headers: names and values.

        Raises:
            RuntimeError: the server has been shut down.
        """
    def next_step(self, buffers: StepBuffers, timeout_s: float) -> StepPlan | None:
        """Wait up to `timeout_s` seconds for work and plan it into `buffers`; None without work."""
    def complete_step(
        self,
        step_id: int,
        tokens: _Place,
        scores: tuple[_Place, _Place, _Place] | None = None,
    ) -> None:
        """Hand back the results of a step, as in `Scheduler.complete_step`."""
    def watch(self, decode_s: float) -> None:
        """Give the step loop up when it hangs. From now on it must call `next_step` whenever it is
        not computing.

        Args:
            decode_s: what a step of one token takes, in seconds; longer ones are measured as they
                come.
        """
    @property
    def failure(self) -> str | None:
        """Why the runner has been given up; None if it has not."""
    def run_script(self) -> None:
        """Play the script until the server has stopped."""
    @property
    def is_stopped(self) -> bool:
        """Whether a drain has ended: `next_step` will never return a plan again."""
    @property
    def num_requests(self) -> int:
        """Requests that have not ended, those in the queue included."""
    def drain(self, deadline_s: float) -> None:
        """Take no new request; running streams finish, or are aborted after `deadline_s` seconds.
        Returns at once.
        """
    def fail(self, message: str) -> None:
        """End every open request with an error event that carries `message`: the runner died."""
    def shutdown(self) -> None:
        """Flush and close every socket and join the threads. Further calls do nothing."""

@final
class Doorbell:
    """Wakes one event loop when exchanges have messages for it. Belongs to the thread of that
    loop.

    Args:
        descriptor: an eventfd, or the writing end of a pipe, that does not block. Eight bytes are
            written to it when something is ready and nothing was before. It is duplicated: the
            caller closes its own.

    Raises:
        OSError: the descriptor is not open.
        ValueError: it is negative.
    """

    def __new__(cls, descriptor: int) -> Doorbell: ...
    def take(self) -> list[tuple[int, dict[str, Any] | None]]:
        """The ready messages, in order; call it after reading the descriptor.

        Returns:
            The number of an exchange, and the ASGI message to send. None in its place: the next
            piece of the request's body is wanted. An empty message: the answer will not be
            completed, and its client must see that.
        """

@final
class Exchange:
    """One request and its answer. No method waits. Dropping it is `close`."""

    def resume(self) -> None:
        """Ask for the next message of the answer; until then none is made."""
    def feed(self, piece: bytes, is_last: bool) -> None:
        """Hand over the piece of the body that was wanted. The first may come unasked, any other is
        dropped then.
        """
    def close(self) -> None:
        """Abort what is still running. An answer that was not complete is then reported as lost."""
