"""The server as an ASGI application: under uvicorn, mounted in a FastAPI site, wrapped in
middleware.

    app = streamcore.asgi.create_app("/models/Llama-3.1-8B-Instruct", max_num_seqs=64)

Each request is handed to the routes that `streamcore serve` has, so every byte of a body is the
same. Python only carries messages between the ASGI server and Rust, and an event loop learns from
one descriptor that there is something to carry: no thread of Rust's enters the interpreter. Needs
Starlette: `pip install 'starlette>=0.46'`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, unquote

from streamcore import _core
from streamcore.bell import Call, bell_of_running_loop
from streamcore.config import SOCKET_SETTINGS, ServeConfig, config_of, with_keys_of_environment
from streamcore.engine_thread import EngineThread
from streamcore.errors import ConfigError, StreamcoreError

try:
    from starlette.applications import Starlette
    from starlette.routing import Route
    from starlette.types import Receive, Scope, Send
except ModuleNotFoundError as error:
    message = "streamcore.asgi needs Starlette: pip install 'starlette>=0.46'"
    raise ModuleNotFoundError(message, name=error.name) from error


def create_app(model: str | os.PathLike[str] | None = None, **settings: Any) -> Starlette:
    """An ASGI application that serves a model. Its lifespan loads the model, and ends what still
    runs at its end.

    Args:
        model: folder of a model in Hugging Face layout, a GGUF file, or a name such as `org/name`;
            None: the demo model.
        settings: the options of `streamcore serve`, with underscores and without those of the
            socket, which is the ASGI server's.

    Raises:
        ConfigError: a setting is unknown, or its value is not possible.
    """
    try:
        config = with_keys_of_environment(config_of(model, settings, without=SOCKET_SETTINGS))
    except ConfigError as error:
        raise _without_our_frames(error) from error.__cause__
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
        with bell_of_running_loop():
            try:
                async with EngineThread(self._config, is_watched=True).running() as loaded:
                    self._server = loaded.server
                    yield
            except StreamcoreError as error:
                raise _without_our_frames(error) from error.__cause__
            finally:
                self._server = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._server is None:
            raise RuntimeError(
                "the lifespan of the streamcore application does not run: when it is mounted in another application, "
                "that one's lifespan must enter it, see docs/asgi.md"
            )
        prefix, target = _address(scope)
        headers = [(name, value) for name, value in scope["headers"]]
        request = scope["method"], prefix, target, headers
        with bell_of_running_loop() as bell, bell.call(self._server, *request) as call:
            await _answer(call, receive, send)


async def _answer(call: Call, receive: Receive, send: Send) -> None:
    """Carry messages until the answer is complete or the client has left."""
    listening = asyncio.ensure_future(_listen(call, receive))
    # A client that leaves need not be found by writing to it.
    listening.add_done_callback(lambda _: call.exchange.close())
    try:
        while part := await call.next_part():
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


async def _listen(call: Call, receive: Receive) -> None:
    """Hand over the body as it is wanted, then wait until the client leaves."""
    is_last = False
    while not is_last:
        await call.body_wanted.wait()
        call.body_wanted.clear()
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        is_last = not message.get("more_body", False)
        call.exchange.feed(bytes(message.get("body", b"")), is_last)
    while (await receive())["type"] != "http.disconnect":
        pass


def _without_our_frames(error: StreamcoreError) -> StreamcoreError:
    """What is to be mended stands in the message. ASGI servers print the whole traceback, which is
    long enough without ours.
    """
    return error.with_traceback(None)


def _address(scope: Mapping[str, Any]) -> tuple[str, bytes]:
    """The prefix that the application is mounted under, and behind it path and query as the client
    sent them.
    """
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    raw = (scope.get("raw_path") or b"").split(b"?")[0]
    prefix = quote(root)
    if root and (path + "/").startswith(root + "/"):
        path, raw = path[len(root) :], raw.removeprefix(prefix.encode())
    # Not every server passes the path on as it was sent, and the prefix may have been sent in other
    # letters.
    if unquote(raw.decode("latin-1")) != path:
        raw = quote(path).encode()
    query = scope.get("query_string", b"")
    return prefix, (raw or b"/") + (b"?" + query if query else b"")
