"""If one of these fails, clients without a key silence the server for all others by one byte on each connection."""

import json
import select
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from tests.hostile.clients import SCRIPT, chat, connect, held, post, status, wait_until_held
from tests.server_process import run_server

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="how many descriptors a test needs is known there"
)

LIMITED = """
import resource, sys
from streamcore import cli
resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
sys.exit(cli.main())
"""
BODY = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"


@pytest.mark.parametrize("sent", [b"G", BODY], ids=["head", "body"])
def test_requests_that_never_come_to_their_end_keep_nobody_out(sent: bytes) -> None:
    """More of them than there are descriptors: each of 50 probes is answered, and so is a request."""
    with run_server(SCRIPT, program=("-c", LIMITED)) as server, ExitStack() as crowd:
        for _ in range(200):
            crowd.enter_context(connect(server)).sendall(sent)
        for _ in range(50):
            assert httpx.get(f"{server.url}/health", timeout=5).status_code == 200
        assert post(server, "/v1/chat/completions", chat("weather")).status_code == 200
        assert server.stop() == 0


def test_two_descriptors_stay_for_probes_where_all_others_are_at_work(tmp_path: Path) -> None:
    """A server that is busy to its last descriptor would be taken for dead, and restarted under its clients."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"rules": [{"answer": {"text": "Wait.", "first_token_delay_ms": 600_000}}]}))
    body = json.dumps(chat("wait", stream=True)).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with run_server(f"script:{script}", program=("-c", LIMITED)) as server, ExitStack() as crowd:
        for _ in range(120):
            crowd.enter_context(connect(server)).sendall(request % len(body) + body)
        for _ in range(20):
            assert httpx.get(f"{server.url}/health", timeout=20).status_code == 200
        refused = post(server, "/v1/chat/completions", chat("one more"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_connections")
        crowd.close()
        assert server.stop() == 0


def test_long_heads_that_never_end_fill_no_memory() -> None:
    """Sixty kilobytes of each of a thousand heads, sent without a key, are in the bounds of all heads."""
    with run_server(SCRIPT) as server, ExitStack() as crowd:
        before = server.memory_bytes()
        long = b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 60_000
        connections = [crowd.enter_context(connect(server)) for _ in range(600)]
        for connection in connections:
            connection.sendall(long)
        # Those that do not fit are closed, which makes room for the beginnings of others.
        refused, _, _ = select.select(connections, [], [], 30)
        assert status(refused[0]) == 503
        assert held(server, "head_bytes") <= 32 << 20
        assert server.memory_bytes() - before < 100 << 20
        crowd.close()
        wait_until_held(server, "head_bytes", 0)
        assert server.stop() == 0
