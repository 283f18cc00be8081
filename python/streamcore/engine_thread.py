"""The engine in a thread of its own, for programs whose main thread has other work.

Everything that touches torch happens in that one thread, the loading too: torch keeps settings by
thread.
"""

import asyncio
import os
import threading
import traceback
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager
from typing import NamedTuple

from streamcore import _core
from streamcore.config import ServeConfig
from streamcore.serve import Serving, init_logging, open_server, warn_of_development_build


class Loaded(NamedTuple):
    """What callers need of a model. The model itself stays with the thread, and goes with it."""

    server: _core.Server
    name: str


class _GivenUp(Exception):  # noqa: N818
    """The model is not wanted any more."""


class EngineThread:
    """Loads a model and carries out its steps. Used once.

    Args:
        config: the settings.
        is_watched: whether the steps are given up when they hang.
    """

    def __init__(self, config: ServeConfig, *, is_watched: bool) -> None:
        self._config = config
        self._is_watched = is_watched
        self._loaded: Future[Loaded] = Future()
        self._is_closing = threading.Event()
        self.process = os.getpid()
        self.failure: BaseException | None = None
        """What the steps have failed with."""
        # A program that is torn down in the middle of a request must not wait for the model.
        self._thread = threading.Thread(target=self._run, name="streamcore-engine", daemon=True)

    def start(self) -> Future[Loaded]:
        """Begin to load; the future is done when requests can come, or has the reason why they
        cannot. `end` must follow.
        """
        self._thread.start()
        return self._loaded

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Loaded]:
        """A server for the length of an `async with` block; at its end running requests have
        `shutdown_timeout` to finish.

        Raises:
            ConfigError: an option cannot work with this model or device.
            ModelLoadError: the model folder cannot be used.
        """
        init_logging(self._config)
        loaded = self.start()
        try:
            model = await asyncio.wrap_future(loaded)
            warn_of_development_build()
            yield model
        finally:
            await asyncio.to_thread(self.end, self._config.shutdown_timeout)

    def _run(self) -> None:
        with ExitStack() as stack:
            try:
                serving = stack.enter_context(
                    open_server(self._config, None, is_watched=self._is_watched, check=self._go_on)
                )
            # Of whatever kind: the one who waits must hear of it, if he still waits.
            except BaseException as error:
                if self._loaded.set_running_or_notify_cancel():
                    self._loaded.set_exception(error)
                return
            if not self._loaded.set_running_or_notify_cancel():
                return
            self._loaded.set_result(Loaded(serving.server, serving.name))
            self._run_steps(serving)
            # After a failure, too, there are questions to be answered: with 503, and what has
            # failed.
            self._is_closing.wait()

    def _run_steps(self, serving: Serving) -> None:
        try:
            serving.run_steps()
        # A panic in Rust is not an `Exception`; the clients must hear of it all the same.
        except BaseException as error:
            _core.log("error", f"the model runner failed\n{traceback.format_exc().rstrip()}")
            # Before a caller hears of it, and can ask why.
            self.failure = error
            serving.fail()

    def _go_on(self) -> None:
        if self._is_closing.is_set():
            raise _GivenUp

    def end(self, timeout_s: float = 0.0) -> None:
        """Take no new request, give running ones this many seconds, and wait until all threads are
        gone.
        """
        if not self._loaded.cancel() and self._loaded.exception() is None:
            self._loaded.result().server.drain(timeout_s)
        self._is_closing.set()
        # Garbage, whose collection may have called this, is collected in any thread.
        if threading.current_thread() is not self._thread:
            self._thread.join()
        # Its traceback holds the model.
        self.failure = None
