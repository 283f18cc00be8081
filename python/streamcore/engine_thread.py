"""The engine in a thread of its own, for programs whose main thread has other work.

Everything that touches torch happens in that one thread, the loading too: torch keeps settings by thread.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager

from streamcore import _core
from streamcore.config import ServeConfig
from streamcore.serve import init_logging, open_server


class EngineThread:
    """Loads a model and carries out its steps. Used once."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._loaded: Future[_core.Server] = Future()
        self._is_closing = threading.Event()
        # A program that is torn down in the middle of a request must not wait for the model.
        self._thread = threading.Thread(target=self._run, name="streamcore-engine", daemon=True)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[_core.Server]:
        """A server for the length of an `async with` block; at its end running requests have `shutdown_timeout` to finish.

        Raises:
            ConfigError: an option cannot work with this model or device.
            ModelLoadError: the model folder cannot be used.
        """
        init_logging(self._config)
        self._thread.start()
        try:
            yield await asyncio.wrap_future(self._loaded)
        finally:
            await asyncio.to_thread(self._end)

    def _run(self) -> None:
        with ExitStack() as stack:
            try:
                serving = stack.enter_context(open_server(self._config, None))
            # Of whatever kind: the one who waits must hear of it, if he still waits.
            except BaseException as error:
                if self._loaded.set_running_or_notify_cancel():
                    self._loaded.set_exception(error)
                return
            if not self._loaded.set_running_or_notify_cancel():
                return
            self._loaded.set_result(serving.server)
            try:
                serving.run()
            except BaseException as error:
                _core.log("error", f"the model runner failed: {error}")
            # After a failure, too, there are questions to be answered: with 503, and what has failed.
            self._is_closing.wait()

    def _end(self) -> None:
        if not self._loaded.cancel() and self._loaded.exception() is None:
            self._loaded.result().drain(self._config.shutdown_timeout)
        self._is_closing.set()
        self._thread.join()
