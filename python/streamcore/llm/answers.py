"""Answers as they come from the second door: one thread waits for many of them, by one
descriptor.
"""

import json
import os
import select
from collections.abc import Callable, Iterator
from itertools import count
from types import TracebackType
from typing import Any

from streamcore import _core
from streamcore.bell import Message, doorbell
from streamcore.errors import EngineFailedError, InvalidRequestError, QueueFullError, RequestError
from streamcore.llm.outputs import Delta, Json, deltas
from streamcore.llm.requests import Request

# A signal that comes just before the system call of a wait does not end it, so no wait is longer.
# The threads that hand over the last parts of what is aborted are never busy for so long.
_MAX_WAIT_MS = 1000

OF_ANOTHER_PROCESS = "this LLM belongs to the process that was forked: make one after the fork"

HEADERS = [(b"content-type", b"application/json")]


class Door:
    """Where requests are handed in, and what learns that it closes: a stream that is not read
    waits for its reader.
    """

    def __init__(self, server: _core.Server) -> None:
        self.server = server
        # A set is changed and copied in one piece, so threads need no lock.
        self.aborts: set[Callable[[], None]] = set()

    def abort_all(self) -> None:
        """Abort every answer that is open."""
        for abort in tuple(self.aborts):
            abort()


class OpenAnswers:
    """The answers that one thread waits for. Left as a `with` block; what is still open then is
    aborted.

    It waits for a descriptor, so it needs no event loop, and a signal such as Ctrl-C ends the wait.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._exchanges: dict[int, _core.Exchange] = {}
        self._numbers = count()
        self._process = os.getpid()
        self._descriptor, self._bell = doorbell()
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def __enter__(self) -> "OpenAnswers":
        self._door.aborts.add(self.abort)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Abort what is open, and wait until the engine knows."""
        self._door.aborts.discard(self.abort)
        try:
            # The threads that would report it are not in a fork.
            if os.getpid() == self._process:
                self.abort()
                while self._exchanges and self.wait():
                    pass
        finally:
            os.close(self._descriptor)

    def open(self, request: Request) -> int:
        """Begin a request; returns the number of its answer."""
        number = next(self._numbers)
        exchange = self._door.server.open(self._bell, number, "POST", "", request.target, HEADERS)
        exchange.feed(request.body, True)
        exchange.resume()
        self._exchanges[number] = exchange
        return number

    def abort(self) -> None:
        """End what is open, which `wait` notices. May be called from any thread."""
        for exchange in tuple(self._exchanges.values()):
            exchange.close()

    def resume(self, number: int) -> None:
        """Have the next part of an answer made."""
        self._refuse_fork()
        self._exchanges[number].resume()

    def _refuse_fork(self) -> None:
        """A fork would take from the descriptor what its parent waits for, and wait for threads
        that it has not.
        """
        if os.getpid() != self._process:
            raise RuntimeError(OF_ANOTHER_PROCESS)

    def wait(self) -> list[tuple[int, Message]]:
        """Wait a while for something; returns what there is, each with the number of its answer.

        Raises:
            RuntimeError: this process is a fork of the one that asked.
        """
        self._refuse_fork()
        if not self._poll.poll(_MAX_WAIT_MS):
            return []
        os.read(self._descriptor, 4096)
        # A piece of the body is never asked for: all of it was handed over at once.
        parts = [(number, part) for number, part in self._bell.take() if part is not None]
        for number, part in parts:
            if not part or not part.get("more_body", True):
                self._exchanges.pop(number, None)
        return parts


class WholeAnswer:
    """Puts the parts of an answer together."""

    def __init__(self) -> None:
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._body = b""

    def take(self, part: Message) -> Json | None:
        """Take the next part; the answer, once it is complete.

        Raises:
            RequestError: the request was refused, or the answer is lost.
        """
        self._body += _content(part)
        if part["type"] == "http.response.start":
            self._status, self._headers = part["status"], dict(part["headers"])
        if part.get("more_body", True):
            return None
        answer: dict[str, Any] = json.loads(self._body)
        if self._status != 200:
            raise request_error(answer["error"], self._headers)
        return answer


class StreamedAnswer:
    """Reads the deltas out of the parts of an answer."""

    def __init__(self) -> None:
        self._refusal: WholeAnswer | None = None
        self.is_over = False

    def take(self, part: Message) -> Iterator[Delta]:
        """Take the next part, and return what is new in it, also before an error.

        Raises:
            RequestError: the request was refused, or the answer is lost.
        """
        if part and part["type"] == "http.response.start" and part["status"] != 200:
            self._refusal = WholeAnswer()
        if self._refusal is not None:
            self._refusal.take(part)
            return
        # A part is one whole event or several.
        for event in _content(part).split(b"\n\n"):
            if event == b"data: [DONE]":
                self.is_over = True
            elif event.startswith(b"data: "):
                chunk = json.loads(event.removeprefix(b"data: "))
                if "error" in chunk:
                    raise request_error(chunk["error"])
                yield from deltas(chunk)


def _content(part: Message) -> bytes:
    """What a part has of the body.

    Raises:
        EngineFailedError: there will be no more parts.
    """
    if not part:
        raise EngineFailedError("the answer was cut: the model was closed, or has failed", code="cut")
    content: bytes = part.get("body", b"")
    return content


def request_error(error: Json, headers: dict[bytes, bytes] | None = None) -> RequestError:
    """The exception of an error as the routes write it."""
    message, code, param = error["message"], error["code"], error["param"]
    if error["type"] == "rate_limit_error":
        full = QueueFullError(message, code=code, param=param)
        full.retry_after_s = float((headers or {}).get(b"retry-after", b"1"))
        return full
    kind = EngineFailedError if error["type"] == "server_error" else InvalidRequestError
    return kind(message, code=code, param=param)
