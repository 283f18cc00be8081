"""If this fails, a request behind uvicorn is lost because the one before it was answered before its body had come."""

import re
import socket
from urllib.parse import urlsplit

import pytest

JSON = "content-type: application/json"
EARLY = {
    "unknown route": ("POST /v1/nothing", JSON, 404),
    "wrong method": ("PUT /v1/chat/completions", JSON, 405),
    "wrong type": ("POST /v1/chat/completions", "content-type: text/plain", 415),
    "wrong encoding": ("POST /v1/chat/completions", f"{JSON}\r\ncontent-encoding: br", 415),
}


def read_answer(client: socket.socket) -> tuple[int, bool]:
    """The status of the next answer, and whether it announces the end; 0 if the connection ends before."""
    read = b""
    while b"\r\n\r\n" not in read:
        if not (more := client.recv(1)):
            return 0, True
        read += more
    head = read.decode().lower()
    for _ in range(int(re.findall(r"content-length: (\d+)", head)[0])):
        client.recv(1)
    return int(head.split()[1]), "connection: close" in head


@pytest.mark.parametrize("case", EARLY)
def test_next_request_is_answered_or_the_end_was_announced(site: str, case: str) -> None:
    """A pool sends its next request on a connection that has not said that it ends."""
    start, headers, status = EARLY[case]
    address = urlsplit(site)
    with socket.create_connection((address.hostname, address.port), timeout=60) as client:
        client.sendall(f"{start} HTTP/1.1\r\nhost: t\r\n{headers}\r\ncontent-length: 5\r\n\r\n".encode())
        # The answer is there before the body is.
        found, is_last = read_answer(client)
        assert found == status
        if not is_last:
            client.sendall(b"{} \n\nGET /health HTTP/1.1\r\nhost: t\r\n\r\n")
            assert read_answer(client)[0] == 200
