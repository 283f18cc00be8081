"""The ASGI server's side of a request, played by hand, so that a test decides when a client reads or leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Scope
from tests.metrics import Patience

from streamcore.asgi import create_app


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Starlette]:
    """The demo model as an application whose lifespan runs."""
    app = create_app(**settings)
    async with app.router.lifespan_context(app):
        yield app


def chat(max_tokens: int, *, stream: bool = True) -> bytes:
    """A body that asks for exactly this many tokens, always the same ones."""
    return json.dumps(
        {
            "model": "demo",
            "messages": [{"role": "user", "content": "Count from 1 to 1000"}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": stream,
        }
    ).encode()


class Call:
    """One request to an application, as a task of its own.

    Args:
        app: the application.
        target: path and query as a client sends them.
        body: its pieces.
        num_reads: how many messages are taken before the client stops reading; None: all.
        root_path: what the application is mounted under.
        path: what the ASGI server makes of the target's path; None: the same.
        headers: beside those that every request has.
    """

    def __init__(
        self,
        app: ASGIApp,
        method: str,
        target: str,
        body: Sequence[bytes] = (),
        *,
        num_reads: int | None = None,
        root_path: str = "",
        path: str | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        raw_path, _, query = target.partition("?")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path or raw_path,
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "root_path": root_path,
            "headers": [(b"host", b"test"), (b"x-request-id", b"t1"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("test", 80),
        }
        self._pieces = list(body) or [b""]
        self._left = asyncio.Event()
        self._reads = asyncio.Semaphore(1 << 30 if num_reads is None else num_reads)
        self.messages: list[Message] = []
        self.num_receives = 0
        self.task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        self.num_receives += 1
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self._reads.acquire()
        self.messages.append(message)

    def leave(self) -> None:
        """The client hangs up."""
        self._left.set()

    def read_on(self) -> None:
        """The client reads again."""
        for _ in range(1000):
            self._reads.release()

    async def num_messages_are(self, number: int) -> None:
        """Waits until this many messages have been taken."""
        while len(self.messages) < number:
            await asyncio.sleep(0)

    @property
    def status(self) -> int:
        """The status of the answer."""
        status = self.messages[0]["status"]
        assert isinstance(status, int)
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers of the answer."""
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        """What has come of the answer."""
        return b"".join(message["body"] for message in self.messages[1:])


async def get(app: ASGIApp, target: str) -> Call:
    """A whole answer."""
    call = Call(app, "GET", target)
    await call.task
    return call


async def metrics_page(app: ASGIApp) -> str:
    """What `/metrics` says now."""
    return (await get(app, "/metrics")).body.decode()


async def all_is_back(app: ASGIApp) -> None:
    """Waits until no request holds anything."""
    patience = Patience()
    while not patience.is_all_back(await metrics_page(app)):
        # A loop that asks without a pause keeps the interpreter from the engine.
        await asyncio.sleep(0.01)
