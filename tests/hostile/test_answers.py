"""If this fails, unread answers fill the memory while the server says that it is idle."""

import json
import select
import socket
from contextlib import ExitStack

from tests.hostile.clients import KEYS, chat, connect, head, held, post, status, wait_until_held
from tests.server_process import run_server

LIMIT_BYTES = 768 << 20


def test_scores_that_nobody_reads_are_held_within_a_bound() -> None:
    """Each of eight requests asks for up to 280 MB of log-probabilities: those that fit are made, the others get 429."""
    with run_server(*KEYS) as server, ExitStack() as crowd:
        body = json.dumps({"prompt": "a", "n": 128, "logprobs": 5, "max_tokens": 3000}).encode()
        connections = [crowd.enter_context(connect(server)) for _ in range(8)]
        for connection in connections:
            connection.sendall(head("/v1/completions", len(body)) + body)
        refused: list[socket.socket] = []
        while len(refused) < 6:
            refused, _, _ = select.select(connections, [], [], 60)
            assert refused, "nothing is refused"
        assert [status(connection) for connection in refused] == [429] * 6
        assert 0 < held(server, "answer_bytes") <= LIMIT_BYTES
        assert post(server, "/v1/chat/completions", chat("hello", max_tokens=2)).status_code == 200
        crowd.close()
        wait_until_held(server, "answer_bytes", 0)
        assert server.stop() == 0
