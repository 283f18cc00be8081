"""Threads for work that waits for the network and may be abandoned."""

import threading
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue

_TICK_S = 0.1


class StoppedError(Exception):
    """The work was abandoned."""


class Aside:
    """Carries out work in daemon threads, so that the caller can leave at once.

    A request that hangs then ends by its own time limit, or with the interpreter.

    Args:
        tick: called ten times a second in the caller's thread; an exception from it abandons
            the work.
    """

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._is_stopped = threading.Event()

    def go_on(self) -> None:
        """Raises `StoppedError` if the work was abandoned; called by the work itself."""
        if self._is_stopped.is_set():
            raise StoppedError

    def run(self, works: Iterable[Callable[[], None]], *, num_threads: int = 1) -> None:
        """Carries out every call in `works`; raises the first failure and abandons the others."""
        waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
        for work in works:
            waiting.put(work)
        failures: list[BaseException] = []

        def carry_out() -> None:
            try:
                while not self._is_stopped.is_set() and (work := _next_of(waiting)) is not None:
                    work()
            except BaseException as error:
                failures.append(error)
                self._is_stopped.set()

        threads = [
            threading.Thread(target=carry_out, name="streamcore-download", daemon=True)
            for _ in range(min(num_threads, waiting.qsize()))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive() and not failures:
                    thread.join(_TICK_S)
                    self._tick()
        except BaseException:
            self._is_stopped.set()
            raise
        if failures:
            raise failures[0]


def _next_of(waiting: "SimpleQueue[Callable[[], None]]") -> Callable[[], None] | None:
    try:
        return waiting.get_nowait()
    except Empty:
        return None
