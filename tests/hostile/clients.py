"""Clients that take more than their part, and the one beside them that must not notice."""

import http.client
import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from tests import metrics
from tests.server_process import ServerProcess

SCRIPT = "script:" + str(Path(__file__).parents[2] / "docs" / "script.example.json")
#: The key of the client that does harm, and that of the one beside it.
HARMFUL, OTHER = "sk-harmful", "sk-other"
KEYS = ("--api-key", HARMFUL, OTHER)


def connect(server: ServerProcess) -> socket.socket:
    """A connection on which nothing has been said."""
    url = httpx.URL(server.url)
    assert url.port is not None
    return socket.create_connection((url.host, url.port), timeout=60)


def head(route: str, length: int, key: str = HARMFUL) -> bytes:
    """The head of a request with a body of this length."""
    lines = (
        f"POST {route} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    )
    return "\r\n".join((*lines, "", "")).encode()


def post(server: ServerProcess, route: str, body: Any, key: str = OTHER) -> httpx.Response:
    """One request on a connection of its own, as a client sends it that tries only once."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    return httpx.post(f"{server.url}{route}", content=json.dumps(body), headers=headers, timeout=60)


def chat(content: str, **more: Any) -> dict[str, Any]:
    """The body of a chat with one message."""
    return {"messages": [{"role": "user", "content": content}], **more}


def held(server: ServerProcess, pool: str, key: str = OTHER) -> int:
    """What the server says that it holds of a pool."""
    page = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {key}"}, timeout=60).text
    return int(metrics.value(page, rf'streamcore_held\{{pool="{pool}"\}}'))


def wait_until_held(server: ServerProcess, pool: str, expected: int, timeout_s: float = 60.0) -> None:
    """Look again and again until the server holds this much of a pool."""
    deadline = time.monotonic() + timeout_s
    while (amount := held(server, pool)) != expected:
        assert time.monotonic() < deadline, f"{pool}: {amount} is held, expected {expected}"


def send_until_refused(connection: socket.socket, data: bytes) -> None:
    """Send as much as the server takes. It has closed a connection that it refuses before all is sent."""
    with suppress(ConnectionError):
        connection.sendall(data)


def status(connection: socket.socket) -> int:
    """The status of the answer that comes on a connection."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status
