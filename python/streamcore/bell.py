"""What Python needs of the second door: a descriptor that rings when answers have something, and
its place in an event loop.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

from streamcore import _core

Message = dict[str, Any]
"""A part of an answer, as ASGI has it; an empty one: the rest of the answer is lost."""


class Call:
    """One request: the pieces of its body on their way in, the parts of its answer on their way
    out.
    """

    def __init__(self, exchange: _core.Exchange) -> None:
        self.exchange = exchange
        self.body_wanted = asyncio.Event()
        # Never more than one part and the news that the rest is lost: a part is made when it is
        # asked for.
        self._parts: asyncio.Queue[Message] = asyncio.Queue()

    def take(self, part: Message | None) -> None:
        """Accept what Rust has; None: it wants a piece of the body."""
        if part is None:
            self.body_wanted.set()
        else:
            self._parts.put_nowait(part)

    async def next_part(self) -> Message:
        """Have the next part made, and wait for it."""
        self.exchange.resume()
        return await self._parts.get()


class Bell:
    """Brings to one event loop what Rust has for it. Used in the thread of that loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.num_users = 0
        self._loop = loop
        self._calls: dict[int, Call] = {}
        self._numbers = count()
        self._descriptor, self._bell = doorbell()
        loop.add_reader(self._descriptor, self._ring)

    def close(self) -> None:
        """Give the descriptor back."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _ring(self) -> None:
        """Read first, take then: what becomes ready in between rings again."""
        with suppress(BlockingIOError):
            os.read(self._descriptor, 4096)
        for number, part in self._bell.take():
            # A call that is over may still hear that its answer was lost.
            if call := self._calls.get(number):
                call.take(part)

    @contextmanager
    def call(
        self,
        server: _core.Server,
        method: str,
        prefix: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
    ) -> Iterator[Call]:
        """Open an exchange for a `with` block, as `Server.open` does; what still runs at its end is
        aborted.
        """
        number = next(self._numbers)
        call = Call(server.open(self._bell, number, method, prefix, target, headers))
        self._calls[number] = call
        try:
            yield call
        finally:
            call.exchange.close()
            del self._calls[number]


# The bells of the loops that have a use for one now: an application's lifespan, or a request.
# Nearly always this is one loop.
_bells: dict[asyncio.AbstractEventLoop, Bell] = {}


@contextmanager
def bell_of_running_loop() -> Iterator[Bell]:
    """One descriptor for each loop, however many applications and requests use it, and none for a
    loop that has none.
    """
    loop = asyncio.get_running_loop()
    bell = _bells.get(loop)
    if bell is None:
        bell = _bells[loop] = Bell(loop)
    bell.num_users += 1
    try:
        yield bell
    finally:
        bell.num_users -= 1
        if bell.num_users == 0:
            del _bells[loop]
            bell.close()


def doorbell() -> tuple[int, _core.Doorbell]:
    """A bell, and the descriptor that becomes readable when it rings: an eventfd where there is
    such a thing, else a pipe.
    """
    if hasattr(os, "eventfd"):
        both = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return both, _core.Doorbell(both)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    bell = _core.Doorbell(writer)
    os.close(writer)
    return reader, bell
