"""If one of these fails, one customer's flood keeps the requests of all others out, or behind its own."""

import json
import select
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from tests.hostile.clients import HARMFUL, KEYS, OTHER, chat, connect, head, post, status
from tests.server_process import ServerProcess, run_server

ROUTE = "/v1/chat/completions"


def script(folder: Path, **answer: Any) -> str:
    """A script with one answer to everything."""
    path = folder / "script.json"
    path.write_text(json.dumps({"models": ["demo"], "rules": [{"answer": answer}]}))
    return f"script:{path}"


def ask(server: ServerProcess, crowd: ExitStack, key: str, **more: Any) -> Any:
    """Send a chat, and read nothing of its answer."""
    body = json.dumps(chat("hello", model="demo", **more)).encode()
    connection = crowd.enter_context(connect(server))
    connection.sendall(head(ROUTE, len(body), key) + body)
    return connection


def test_a_key_that_fills_the_queue_leaves_room_for_another(tmp_path: Path) -> None:
    """Sixty requests for a queue of sixteen: the other key's four are accepted, and they wait."""
    model = script(tmp_path, text="Wait.", first_token_delay_ms=600_000)
    limits = ("--max-waiting-requests", "16", "--max-num-seqs", "1")
    with run_server(model, *KEYS, *limits) as server, ExitStack() as crowd:
        flood = [ask(server, crowd, HARMFUL, stream=True) for _ in range(60)]
        statuses = [status(connection) for connection in flood]
        assert statuses.count(429) >= 40
        others = [ask(server, crowd, OTHER, stream=True) for _ in range(4)]
        assert [status(connection) for connection in others] == [200] * 4
        crowd.close()
        server.process.kill()


def test_priority_moves_no_request_before_those_of_another_key(tmp_path: Path) -> None:
    """Forty requests at the lowest number would all be served before the one of a key that asks without any."""
    model = script(tmp_path, pieces=["word "] * 20, token_delay_ms=5)
    with run_server(model, *KEYS, "--max-num-seqs", "1") as server, ExitStack() as crowd:
        flood = [ask(server, crowd, HARMFUL, priority=-(2**31)) for _ in range(40)]
        # It is in the middle of its first ones.
        assert select.select(flood, [], [], 60)[0]
        assert post(server, ROUTE, chat("hello", model="demo")).status_code == 200
        answered, _, _ = select.select(flood, [], [], 0)
        assert len(answered) < 30
        crowd.close()
        page = httpx.get(f"{server.url}/health", timeout=60)
        assert page.status_code == 200
        assert server.stop() == 0
