"""What one client can send too much of, for `faults.py neighbour`: each flood runs until it is over."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

HARMFUL, OTHER = KEYS = ("sk-harmful", "sk-other")
LONGEST_BYTES = 16 << 20

#: A connection to the server under attack.
Connect = Callable[[], socket.socket]


def post(
    route: str, body: object, key: str = HARMFUL, *, close: bool = True, announced: int | None = None
) -> bytes:
    """A whole request, or the beginning of one whose body is announced to be longer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {route} HTTP/1.1", "Host: x", f"X-Api-Key: {key}", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(data) if announced is None else announced}"]
    lines += ["Connection: close"] if close else []
    return "\r\n".join([*lines, "", ""]).encode() + data


def chat(text: str, **more: object) -> dict[str, object]:
    """A chat of one message."""
    return {"model": "bench", "messages": [{"role": "user", "content": text}], **more}


def open_again_and_again(connect: Connect, sent: bytes, is_over: threading.Event, num_held: int) -> None:
    """Hold this many connections on which this was sent; one that the server closes is opened anew."""
    held: list[socket.socket] = []
    while not is_over.is_set():
        while len(held) < num_held and not is_over.is_set():
            with suppress(OSError):
                client = connect()
                held.append(client)
                client.settimeout(5)
                client.sendall(sent)
        time.sleep(0.05)
        held = [client for client in held if _is_open(client)]
    for client in held:
        client.close()


def _is_open(client: socket.socket) -> bool:
    try:
        client.setblocking(False)
        client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    # It has been answered or closed, so that another takes its place.
    client.close()
    return False


def ask_again_and_again(connect: Connect, sent: bytes, is_over: threading.Event) -> None:
    """Send a request, read its answer, and so on."""
    while not is_over.is_set():
        with suppress(OSError), connect() as client:
            client.settimeout(60)
            client.sendall(sent)
            while client.recv(1 << 16) and not is_over.is_set():
                pass


def floods() -> Iterator[tuple[str, Callable[[Connect, threading.Event], None], int]]:
    """The name of each flood, what one of its threads does, and how many threads it has."""
    unfinished = post("/v1/completions", b" " * (LONGEST_BYTES - 1), announced=LONGEST_BYTES)
    tokens = post("/tokenize", {"prompt": "1 " * (LONGEST_BYTES // 2 - 64)})
    unread = post("/v1/chat/completions", chat("whole"))
    urgent = post("/v1/chat/completions", chat("short", priority=-(2**31)))
    plain = post("/v1/chat/completions", chat("short"))
    yield "bodies", lambda connect, over: open_again_and_again(connect, unfinished, over, 12), 1
    yield "tokenising", lambda connect, over: ask_again_and_again(connect, tokens, over), 4
    yield "unread answers", lambda connect, over: open_again_and_again(connect, unread, over, 300), 1
    yield "half heads", lambda connect, over: open_again_and_again(connect, b"G", over, 2000), 1
    yield "priorities", lambda connect, over: ask_again_and_again(connect, urgent, over), 64
    yield "full queue", lambda connect, over: ask_again_and_again(connect, plain, over), 200
