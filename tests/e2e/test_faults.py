"""If one of these fails, clients that die or do harm take something from those that come after them."""

import asyncio
import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.server_process import ServerProcess, run_server

AN_HOUR_MS = 3_600_000
ANSWER = "The next request is answered right."
SCRIPT = {
    "models": ["demo"],
    "rules": [
        {"when": {"equals": "prefill"}, "answer": {"text": "x", "first_token_delay_ms": AN_HOUR_MS}},
        {"when": {"equals": "decode"}, "answer": {"pieces": ["a", "b"], "token_delay_ms": AN_HOUR_MS}},
        {"when": {"equals": "busy"}, "answer": {"pieces": list("abcdefghij"), "token_delay_ms": 1}},
        {"answer": {"text": ANSWER}},
    ],
}
# A process that is killed closes its sockets; its system answers whatever comes later with a reset.
# One that leaves bytes unread, or a machine that a firewall has cut off, resets at once.
WAYS_TO_DIE = ("close", "reset")


@pytest.fixture(scope="module")
def one_row(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serves one request at a time, so that the next one waits."""
    path = tmp_path_factory.mktemp("script") / "script.json"
    path.write_text(json.dumps(SCRIPT))
    with run_server(f"script:{path}", "--max-num-seqs", "1") as server:
        yield server


def request(text: str, *, stream: bool = False) -> bytes:
    body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": text}], "stream": stream})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


class Victim:
    """A client that will not live to see its answer."""

    def __init__(self, server: ServerProcess, sent: bytes) -> None:
        url = httpx.URL(server.url)
        assert url.port is not None
        self.socket = socket.create_connection((url.host, url.port), timeout=30)
        self.socket.sendall(sent)

    def read_until(self, end: bytes) -> bytes:
        read = b""
        while not read.endswith(end):
            byte = self.socket.recv(1)
            assert byte, f"closed after {read!r}"
            read += byte
        return read

    def die(self, way: str) -> None:
        if way == "reset":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def aborts(server: ServerProcess, phase: str) -> str:
    return rf'streamcore_aborts_total\{{phase="{phase}"\}}'


def check_everything_is_back(server: ServerProcess) -> None:
    server.wait_until_all_is_back()
    body = {"model": "demo", "messages": [{"role": "user", "content": "next"}]}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["content"] == ANSWER


@pytest.mark.parametrize("way", WAYS_TO_DIE)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_client_dies_while_its_answer_is_computed(
    one_row: ServerProcess, phase: str, stream: bool, way: str
) -> None:
    """An answer that would take an hour ends with the client that wanted it, before and after the first token."""
    before = one_row.metric(aborts(one_row, phase))
    num_tokens = one_row.metric("streamcore_generation_tokens_total")
    victim = Victim(one_row, request(phase, stream=stream))
    one_row.wait_for_metric("streamcore_num_requests_running", 1)
    assert one_row.metric("streamcore_kv_blocks_free") < one_row.metric("streamcore_kv_blocks")
    if phase == "decode":
        one_row.wait_for_metric("streamcore_generation_tokens_total", num_tokens + 1)
    if stream:
        victim.read_until(b'"content":"a"' if phase == "decode" else b"\r\n\r\n")
    victim.die(way)
    one_row.wait_for_metric(aborts(one_row, phase), before + 1)
    check_everything_is_back(one_row)


@pytest.mark.parametrize("way", WAYS_TO_DIE)
@pytest.mark.parametrize("stream", [True, False])
def test_client_dies_in_the_queue(one_row: ServerProcess, stream: bool, way: str) -> None:
    """A place in the queue goes to those who are still there, and the one who is served keeps his."""
    before = one_row.metric(aborts(one_row, "queued"))
    first = Victim(one_row, request("prefill"))
    one_row.wait_for_metric("streamcore_num_requests_running", 1)
    second = Victim(one_row, request("decode", stream=stream))
    one_row.wait_for_metric("streamcore_num_requests_waiting", 1)
    second.die(way)
    one_row.wait_for_metric(aborts(one_row, "queued"), before + 1)
    one_row.wait_for_metric("streamcore_num_requests_waiting", 0)
    assert one_row.metric("streamcore_num_requests_running") == 1
    first.die(way)
    check_everything_is_back(one_row)


@pytest.mark.parametrize("way", WAYS_TO_DIE)
def test_client_dies_while_it_sends_its_body(one_row: ServerProcess, way: str) -> None:
    """Half a request is none; if its sender has only closed his side, he gets a 400."""
    names = (aborts(one_row, "before_queue"), r'streamcore_http_responses_total\{status="400"\}')
    # Shows the second of them, which is there once it has been counted.
    assert httpx.post(f"{one_row.url}/v1/chat/completions", content="?").status_code == 400
    before = sum(map(one_row.metric, names))
    head, body = request("next").split(b"\r\n\r\n")
    victim = Victim(one_row, head + b"\r\nExpect: 100-continue\r\n\r\n")
    victim.read_until(b"HTTP/1.1 100 Continue\r\n\r\n")
    victim.socket.sendall(body[:20])
    victim.die(way)
    while sum(map(one_row.metric, names)) == before:
        pass
    assert sum(map(one_row.metric, names)) == before + 1
    check_everything_is_back(one_row)


@pytest.mark.parametrize("way", WAYS_TO_DIE)
def test_client_dies_while_it_sends_its_head(one_row: ServerProcess, way: str) -> None:
    """What was never a request is counted nowhere and holds no socket."""
    num_sockets = one_row.num_sockets()
    Victim(one_row, request("next")[:30]).die(way)
    while one_row.num_sockets() > num_sockets:
        pass
    check_everything_is_back(one_row)


@pytest.mark.parametrize("way", WAYS_TO_DIE)
def test_client_dies_before_the_last_byte(one_row: ServerProcess, way: str) -> None:
    """All is computed and written: there is nothing to abort, and the answer counts as finished."""
    finished = r'streamcore_requests_total\{finish_reason="stop"\}'
    num_finished, num_aborts = one_row.metric(finished), one_row.metric("streamcore_aborts_total")
    victim = Victim(one_row, request("busy", stream=True))
    victim.read_until(b"data: [DONE]\n\n\r\n0\r\n\r")
    victim.die(way)
    one_row.wait_for_metric(finished, num_finished + 1)
    assert one_row.metric("streamcore_aborts_total") == num_aborts
    check_everything_is_back(one_row)


async def answer_of(host: str, port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(sent.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        return await reader.read()
    finally:
        writer.close()


async def test_a_thousand_requests_at_once_for_a_queue_of_a_hundred(tmp_path: Path) -> None:
    """Every client gets an answer or an honest refusal at once; none hangs, and nothing is left behind."""
    path = tmp_path / "script.json"
    path.write_text(json.dumps(SCRIPT))
    with run_server(f"script:{path}", "--max-waiting-requests", "100", "--max-num-seqs", "4") as server:
        url = httpx.URL(server.url)
        assert url.port is not None
        answers = await asyncio.gather(*[answer_of(url.host, url.port, request("busy")) for _ in range(1000)])
        served = [answer for answer in answers if answer.startswith(b"HTTP/1.1 200 ")]
        refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 429 ")]
        assert len(served) + len(refused) == 1000
        assert len(served) >= 104
        assert refused
        assert all(b'"content":"abcdefghij"' in answer for answer in served)
        for answer in refused:
            head, body = answer.split(b"\r\n\r\n")
            assert b"\r\nretry-after: " in head
            error = json.loads(body)["error"]
            assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
        assert server.metric("streamcore_refusals_total") == len(refused)
        check_everything_is_back(server)
