"""The model without a server: `LLM`, for programs that bring their own prompts.

    with LLM("/models/Llama-3.1-8B-Instruct") as llm:
        for output in llm.generate(prompts, SamplingParams(temperature=0, max_tokens=64)):
            print(output.outputs[0].text)

It hands its requests to the routes that `streamcore serve` has, so fields, checks, templates and
answers are those of `docs/protocol.md`; `docs/llm.md` says what is particular here. torch is
imported when a model is loaded.
"""

import os
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, NoReturn

from streamcore.bell import bell_of_running_loop
from streamcore.config import SOCKET_SETTINGS, config_of
from streamcore.engine_thread import EngineThread, Loaded
from streamcore.errors import EngineFailedError, RequestError
from streamcore.llm.answers import HEADERS, OF_ANOTHER_PROCESS, Door, OpenAnswers, StreamedAnswer
from streamcore.llm.batch import Batch
from streamcore.llm.outputs import Completion, Delta, GenerationOutput, TokenLogprob, Usage
from streamcore.llm.requests import (
    Conversation,
    Prompt,
    Request,
    chat_request,
    completion_request,
    conversations_of,
    prompts_of,
)
from streamcore.llm.sampling_params import SamplingParams, params_of
from streamcore.serve import init_logging

__all__ = [
    "LLM",
    "Completion",
    "Conversation",
    "Delta",
    "GenerationOutput",
    "Prompt",
    "SamplingParams",
    "TokenLogprob",
    "Usage",
]

# Nothing listens, no request needs a key or a name, and no reader waits for what still runs at the
# end.
_SERVER_SETTINGS = (
    *SOCKET_SETTINGS,
    "tool_call_parser",
    "reasoning_parser",
    "reasoning_field",
    "served_model_name",
    "api_key",
    "allowed_origins",
    "shutdown_timeout",
)


class LLM:
    """A model in this process. May be called from any thread, with or without an event loop.

    Args:
        model: folder of a model in Hugging Face layout, a GGUF file, a name such as `org/name`, or
            `script:FILE`; None: the demo model.
        settings: the options of `streamcore serve`, with underscores and without those of a
            server's address and access.

    Raises:
        ConfigError: a setting is unknown, or cannot work with this model or device.
        ModelLoadError: the model folder cannot be used.
    """

    def __init__(self, model: str | os.PathLike[str] | None = None, **settings: Any) -> None:
        config = config_of(model, settings, without=_SERVER_SETTINGS)
        # A program gets the text as the model wrote it, calls and reasoning included.
        config = replace(config, tool_call_parser="none", reasoning_parser="none")
        if config.target_itl_ms is None and config.script is None:
            # Many prompts at once, and seldom a reader who waits for the next token.
            config = replace(config, target_itl_ms=0)
        init_logging(config, "warn")
        # Half of the queue is for streams and for other threads.
        self._max_in_flight = max(1, config.max_waiting_requests // 2)
        # There is no balancer to be warned, and a program may hold the interpreter for as long as
        # it likes.
        self._engine = EngineThread(config, is_watched=False)
        try:
            self._model: Loaded = self._engine.start().result()
        except BaseException:
            self._engine.end()
            raise
        self._door = Door(self._model.server)
        # Called by `close`, when this object is garbage, or when the interpreter ends.
        self._end = weakref.finalize(self, _end, self._engine, self._door)

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams | None] | None = None,
        *,
        progress: bool = True,
    ) -> list[GenerationOutput]:
        """Continue one prompt or many; the answers are in their order.

        Args:
            prompts: text or token ids, or a list of such prompts.
            params: for all of them, or one for each.
            progress: show on a terminal how far many prompts have come.

        Raises:
            RequestError: a prompt has no answer, its `index` says which; the others are aborted.
            TypeError: `params` are no `SamplingParams`.
            ValueError: there are not as many params as prompts.
        """
        model = self._opened().name

        def make(prompt: Prompt, params: SamplingParams) -> Request:
            return completion_request(model, prompt, params, stream=False)

        return self._answer_all(make, prompts_of(prompts), params, progress)

    def chat(
        self,
        messages: Conversation | Sequence[Conversation],
        params: SamplingParams | Sequence[SamplingParams | None] | None = None,
        *,
        progress: bool = True,
        **template: Any,
    ) -> list[GenerationOutput]:
        """Answer one conversation or many; the answers are in their order.

        Args:
            messages: a list of messages with `role` and `content`, or a list of such conversations.
            params: for all of them, or one for each.
            progress: show on a terminal how far many conversations have come.
            template: of the protocol's fields `add_generation_prompt`, `continue_final_message`,
                `chat_template_kwargs`.

        Raises:
            RequestError: a conversation has no answer, its `index` says which; the others are
                aborted.
            TypeError: a name in `template` is unknown, or `params` are no `SamplingParams`.
            ValueError: there are not as many params as conversations.
        """
        model = self._opened().name

        def make(conversation: Conversation, params: SamplingParams) -> Request:
            return chat_request(model, conversation, params, template, stream=False)

        return self._answer_all(make, conversations_of(messages), params, progress)

    def stream(self, prompt: Prompt, params: SamplingParams | None = None) -> Generator[Delta]:
        """Continue a prompt, piece by piece. The request begins with the first piece that is asked
        for.

        Leaving the loop, `close()` or forgetting the generator aborts it.

        Raises:
            RequestError: by the iteration: the request was refused or has failed.
        """
        return self._deltas(completion_request(self._opened().name, prompt, params_of(params), stream=True))

    def stream_chat(
        self, messages: Conversation, params: SamplingParams | None = None, **template: Any
    ) -> Generator[Delta]:
        """Answer a conversation, piece by piece; otherwise like `stream`, with the
        names of `chat`.
        """
        return self._deltas(
            chat_request(self._opened().name, messages, params_of(params), template, stream=True)
        )

    def astream(self, prompt: Prompt, params: SamplingParams | None = None) -> AsyncGenerator[Delta]:
        """Like `stream`, for `async for`. The end of the task aborts it as well."""
        return self._adeltas(completion_request(self._opened().name, prompt, params_of(params), stream=True))

    def astream_chat(
        self, messages: Conversation, params: SamplingParams | None = None, **template: Any
    ) -> AsyncGenerator[Delta]:
        """Like `stream_chat`, for `async for`. The end of the task aborts it as well."""
        return self._adeltas(
            chat_request(self._opened().name, messages, params_of(params), template, stream=True)
        )

    def close(self) -> None:
        """Abort what still runs, and give all memory and threads back. Further calls do nothing."""
        self._end()

    def __enter__(self) -> "LLM":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an LLM cannot be pickled or copied: make one in each process")

    def _opened(self) -> Loaded:
        if os.getpid() != self._engine.process:
            raise RuntimeError(OF_ANOTHER_PROCESS)
        if not self._end.alive:
            raise RuntimeError("this LLM is closed")
        return self._model

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Clients do not learn from the routes what has failed; a program may know."""
        try:
            yield
        except EngineFailedError as error:
            error.__cause__ = self._engine.failure
            raise

    def _answer_all(
        self,
        make: Callable[[Any, SamplingParams], Request],
        asked: Sequence[Any],
        params: SamplingParams | Sequence[SamplingParams | None] | None,
        progress: bool,
    ) -> list[GenerationOutput]:
        each = (
            params if isinstance(params, Sequence) and not isinstance(params, str) else [params] * len(asked)
        )
        if len(each) != len(asked):
            raise ValueError(f"`params` has {len(each)} entries for {len(asked)} prompts")
        requests: list[Request] = []
        for index, (one, given) in enumerate(zip(asked, each, strict=True)):
            try:
                requests.append(make(one, params_of(given)))
            except RequestError as error:
                if len(asked) > 1:
                    error.blame(index)
                raise
        with self._explained():
            return Batch(self._door, requests, max_in_flight=self._max_in_flight).run(progress=progress)

    def _deltas(self, request: Request) -> Generator[Delta]:
        self._opened()
        with self._explained(), OpenAnswers(self._door) as answers:
            number, answer = answers.open(request), StreamedAnswer()
            while not answer.is_over:
                for _, part in answers.wait():
                    yield from answer.take(part)
                    if not answer.is_over:
                        answers.resume(number)

    async def _adeltas(self, request: Request) -> AsyncGenerator[Delta]:
        asked = self._opened().server, "POST", "", request.target, HEADERS
        answer = StreamedAnswer()
        with self._explained(), bell_of_running_loop() as bell, bell.call(*asked) as call:
            abort = call.exchange.close
            self._door.aborts.add(abort)
            try:
                call.exchange.feed(request.body, True)
                while not answer.is_over:
                    for delta in answer.take(await call.next_part()):
                        yield delta
            finally:
                self._door.aborts.discard(abort)


def _end(engine: EngineThread, door: Door) -> None:
    # What a fork has of them is a copy that must be left alone.
    if os.getpid() == engine.process:
        door.abort_all()
        engine.end()
