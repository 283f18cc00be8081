"""If one of these fails, one request is tokenised for seconds and gigabytes while all others wait."""

import json
from contextlib import ExitStack
from pathlib import Path

from tests.hostile.clients import HARMFUL, KEYS, SCRIPT, chat, connect, head, post, wait_until_held
from tests.server_process import ServerProcess, run_server


def highest_memory(server: ServerProcess) -> int:
    """Resident memory at its highest."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_megabytes_that_no_context_holds_are_not_tokenised_to_their_end() -> None:
    """The longest body, in the place of a text, takes no gigabytes, and its refusal says which limit it has met."""
    with run_server(SCRIPT, *KEYS) as server:
        before = server.memory_bytes()
        digits = {"prompt": "1" * 16_000_000}
        refused = post(server, "/tokenize", digits, HARMFUL)
        assert refused.status_code == 400
        assert "limit is 524288" in refused.json()["error"]["message"]
        assert post(server, "/v1/completions", digits | {"max_tokens": 1}, HARMFUL).status_code == 400
        refused = post(server, "/tokenize", {"prompt": "1 " * 8_000_000}, HARMFUL)
        assert "limit is 1048576" in refused.json()["error"]["message"]
        assert highest_memory(server) - before < 600 << 20
        assert server.stop() == 0


def test_work_for_a_client_that_has_left_ends_at_the_next_piece() -> None:
    """Clients that ask for megabytes of tokens and leave take no other client's turn."""
    with run_server(SCRIPT, *KEYS) as server, ExitStack() as crowd:
        body = json.dumps({"prompt": "one word " * 1_000_000}).encode()
        for _ in range(4):
            client = crowd.enter_context(connect(server))
            client.sendall(head("/tokenize", len(body)) + body)
        crowd.close()
        wait_until_held(server, "preparations", 0)
        wait_until_held(server, "long_body_bytes", 0)
        assert post(server, "/v1/chat/completions", chat("x" * 70_000)).status_code in (200, 400)
        assert server.stop() == 0
