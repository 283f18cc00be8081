"""If one of these fails, clients that never finish a body fill the memory, and no gauge shows it."""

import select
from contextlib import ExitStack

import pytest
from tests.hostile.clients import (
    HARMFUL,
    KEYS,
    OTHER,
    SCRIPT,
    chat,
    connect,
    head,
    held,
    post,
    send_until_refused,
    status,
    wait_until_held,
)
from tests.server_process import run_server

BODY_BYTES = 16 << 20
LIMIT_BYTES = 64 << 20


def test_bodies_that_lack_their_last_byte_fill_no_memory_and_keep_nobody_out() -> None:
    """Long bodies of one key that never end: a few are held, the others get 429, and another key's are served."""
    with run_server(SCRIPT, *KEYS) as server, ExitStack() as crowd:
        before = server.memory_bytes()
        connections = [crowd.enter_context(connect(server)) for _ in range(8)]
        for connection in connections:
            send_until_refused(connection, head("/v1/completions", BODY_BYTES) + b" " * (BODY_BYTES - 1))
        wait_until_held(server, "long_body_bytes", 3 * BODY_BYTES)
        assert server.memory_bytes() - before < LIMIT_BYTES + (48 << 20)
        refused, _, _ = select.select(connections, [], [], 0)
        assert [status(connection) for connection in refused] == [429] * 5
        assert post(server, "/v1/chat/completions", chat("x" * 100_000)).status_code == 200
        assert post(server, "/v1/chat/completions", chat("x" * 10_000), HARMFUL).status_code == 200
        crowd.close()
        wait_until_held(server, "long_body_bytes", 0)
        assert held(server, "short_body_bytes") == 0
        assert server.stop() == 0


@pytest.mark.parametrize("key", [HARMFUL, OTHER])
def test_a_length_that_is_only_announced_holds_nothing(key: str) -> None:
    """A few dozen bytes would otherwise reserve what a body of megabytes needs."""
    with run_server(SCRIPT, *KEYS) as server, ExitStack() as crowd:
        for _ in range(32):
            crowd.enter_context(connect(server)).sendall(head("/v1/completions", BODY_BYTES, key) + b"{")
        body = {"prompt": "x" * 5_000_000, "max_tokens": 1}
        assert post(server, "/v1/completions", body).status_code == 400, "it is longer than the context"
        assert held(server, "long_body_bytes") == 0
        assert server.stop() == 0
