"""The server as an ASGI application: under uvicorn, mounted in a FastAPI site, wrapped in middleware.

    app = streamcore.asgi.create_app("/models/Llama-3.1-8B-Instruct", max_num_seqs=64)

Each request is handed to the routes that `streamcore serve` has, so every byte of a body is the same. Python
only carries messages between the ASGI server and Rust, and an event loop learns from one descriptor that there
is something to carry: no thread of Rust's enters the interpreter. Needs Starlette:
`pip install 'streamcore-llm[asgi]'`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from typing import Any
from urllib.parse import quote, unquote

from streamcore import _core
from streamcore.config import ServeConfig, config_of
from streamcore.engine_thread import EngineThread
from streamcore.errors import ConfigError, StreamcoreError

try:
    from starlette.applications import Starlette
    from starlette.routing import Route
    from starlette.types import Message, Receive, Scope, Send
except ModuleNotFoundError as error:
    message = "streamcore.asgi needs Starlette: pip install 'streamcore-llm[asgi]'"
    raise ModuleNotFoundError(message, name=error.name) from error

_SOCKET_SETTINGS = ("host", "port")


def create_app(model: str | os.PathLike[str] | None = None, **settings: Any) -> Starlette:
    """An ASGI application that serves a model. Its lifespan loads the model, and ends what still runs at its end.

    Args:
        model: folder of a model in Hugging Face layout; None: the demo model.
        settings: the options of `streamcore serve`, with underscores and without `host` and `port`, which are the ASGI server's.

    Raises:
        ConfigError: a setting is unknown, or its value is not possible.
    """
    try:
        config = config_of(model, settings, without=_SOCKET_SETTINGS)
    except ConfigError as error:
        raise _without_our_frames(error) from None
    door = _Door(config)
    return Starlette(routes=[Route("/{path:path}", door)], lifespan=door.lifespan)


class _Door:
    """The endpoint behind every path, and the lifespan of what it needs."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._server: _core.Server | None = None

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Load the model; afterwards let running answers end, for up to `shutdown_timeout`."""
        if self._server is not None:
            raise RuntimeError("the lifespan of this streamcore application runs already")
        with _bell_of_running_loop():
            try:
                async with EngineThread(self._config).running() as self._server:
                    yield
            except StreamcoreError as error:
                raise _without_our_frames(error) from None
            finally:
                self._server = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._server is None:
            raise RuntimeError(
                "the lifespan of the streamcore application does not run: when it is mounted in another application, "
                "that one's lifespan must enter it, see docs/asgi.md"
            )
        with _bell_of_running_loop() as bell, bell.call(self._server, scope) as call:
            await call.answer(receive, send)


class _Bell:
    """Brings to one event loop what Rust has for it. Used in the thread of that loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.num_users = 0
        self._loop = loop
        self._calls: dict[int, _Call] = {}
        self._numbers = count()
        self._descriptor, writer = _descriptors()
        self._bell = _core.Doorbell(writer)
        if writer != self._descriptor:
            os.close(writer)
        loop.add_reader(self._descriptor, self._ring)

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _ring(self) -> None:
        """Read first, take then: what becomes ready in between rings again."""
        with suppress(BlockingIOError):
            os.read(self._descriptor, 4096)
        for number, part in self._bell.take():
            # A call that is over may still be told that its answer was lost.
            if call := self._calls.get(number):
                call.take(part)

    @contextmanager
    def call(self, server: _core.Server, scope: Scope) -> Iterator["_Call"]:
        """Open an exchange for a `with` block; what still runs at its end is aborted."""
        number = next(self._numbers)
        headers = [(name, value) for name, value in scope["headers"]]
        prefix, target = _address(scope)
        call = _Call(server.open(self._bell, number, scope["method"], prefix, target, headers))
        self._calls[number] = call
        try:
            yield call
        finally:
            call.exchange.close()
            del self._calls[number]


class _Call:
    """One request: the pieces of its body on their way in, the parts of its answer on their way out."""

    def __init__(self, exchange: _core.Exchange) -> None:
        self.exchange = exchange
        # Never more than one part and the news that the rest is lost: a part is made when it is asked for.
        self._parts: asyncio.Queue[Message] = asyncio.Queue()
        self._body_wanted = asyncio.Event()

    def take(self, part: Message | None) -> None:
        """Accept what Rust has; None: it wants a piece of the body."""
        if part is None:
            self._body_wanted.set()
        else:
            self._parts.put_nowait(part)

    async def answer(self, receive: Receive, send: Send) -> None:
        """Carry messages until the answer is complete or the client has left."""
        listening = asyncio.ensure_future(self._listen(receive))
        # A client that leaves need not be found by writing to it.
        listening.add_done_callback(lambda _: self.exchange.close())
        try:
            while True:
                self.exchange.resume()
                part = await self._parts.get()
                if not part:
                    break
                await send(part)
                if not part.get("more_body", True):
                    return
        finally:
            listening.cancel()
        if listening.done():
            listening.result()
            return
        # To end normally would make half an answer look like a whole one.
        raise RuntimeError("the answer was cut")

    async def _listen(self, receive: Receive) -> None:
        """Hand over the body as it is wanted, then wait until the client leaves."""
        is_last = False
        while not is_last:
            await self._body_wanted.wait()
            self._body_wanted.clear()
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            is_last = not message.get("more_body", False)
            self.exchange.feed(bytes(message.get("body", b"")), is_last)
        while (await receive())["type"] != "http.disconnect":
            pass


# The bells of the loops that have a use for one now: an application's lifespan, or a request. Nearly always this is one loop.
_bells: dict[asyncio.AbstractEventLoop, _Bell] = {}


@contextmanager
def _bell_of_running_loop() -> Iterator[_Bell]:
    """One descriptor for each loop, however many applications and requests use it, and none for a loop that has none."""
    loop = asyncio.get_running_loop()
    bell = _bells.get(loop)
    if bell is None:
        bell = _bells[loop] = _Bell(loop)
    bell.num_users += 1
    try:
        yield bell
    finally:
        bell.num_users -= 1
        if bell.num_users == 0:
            del _bells[loop]
            bell.close()


def _without_our_frames(error: StreamcoreError) -> StreamcoreError:
    """What is to be mended stands in the message. ASGI servers print the whole traceback, which is long enough without ours."""
    return error.with_traceback(None)


def _descriptors() -> tuple[int, int]:
    """Where to read and where to write a wake-up: one eventfd where there is such a thing, else a pipe."""
    if hasattr(os, "eventfd"):
        both = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return both, both
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


def _address(scope: Mapping[str, Any]) -> tuple[str, bytes]:
    """The prefix that the application is mounted under, and behind it path and query as the client sent them."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    raw = (scope.get("raw_path") or b"").split(b"?")[0]
    prefix = quote(root)
    if root and (path + "/").startswith(root + "/"):
        path, raw = path[len(root) :], raw.removeprefix(prefix.encode())
    # Not every server tells the path as it was sent, and the prefix may have been sent in other letters.
    if unquote(raw.decode("latin-1")) != path:
        raw = quote(path).encode()
    query = scope.get("query_string", b"")
    return prefix, (raw or b"/") + (b"?" + query if query else b"")
