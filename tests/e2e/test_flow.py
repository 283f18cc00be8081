"""If one of these fails, the server is not to be trusted when things go wrong, or logs what must stay private."""

import asyncio
import json
import socket
import time
from pathlib import Path

import httpx
import pytest
from tests.server_process import ServerProcess, lines_until_cut, run_server

# A device that hangs: the step that is launched once the file is there never comes back.
HANGING = """
import sys, threading
from pathlib import Path
from streamcore import cli
from streamcore.runner.model_runner import ModelRunner
launch, trigger = ModelRunner.launch, Path(sys.argv.pop(1))
def hang(self, plan):
    if trigger.exists():
        threading.Event().wait()
    launch(self, plan)
ModelRunner.launch = hang
sys.exit(cli.main())
"""


def chat(text: str, **fields: object) -> dict[str, object]:
    return {"model": "demo", "messages": [{"role": "user", "content": text}], "temperature": 0, **fields}


def health(server: ServerProcess) -> int:
    return httpx.get(f"{server.url}/health", timeout=30).status_code


def test_hung_device_is_told_to_the_orchestrator_and_to_every_stream(tmp_path: Path) -> None:
    """A device that hangs in the middle of an answer must not look like a slow one for ever."""
    trigger = tmp_path / "hang"
    with run_server(program=("-c", HANGING, str(trigger))) as server:
        body = chat("Count from 1 to 1000", max_tokens=3000, ignore_eos=True, stream=True)
        url = f"{server.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=60) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            assert health(server) == 200
            trigger.touch()
            while health(server) == 200:
                time.sleep(0.05)
            assert httpx.get(f"{server.url}/ready").status_code == 503
            assert httpx.post(url, json=body, timeout=60).status_code == 503
            rest = lines_until_cut(lines)
        error = json.loads(rest[-1].removeprefix("data: "))["error"]
        assert "the step loop has not answered" in error["message"]
        assert health(server) == 503
        assert "every request ends" in server.read_output_until("every request ends")


def test_log_has_one_line_for_each_request_and_nothing_of_its_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An operator finds each request by its id; a prompt is never in the log, at any level."""
    monkeypatch.setenv("STREAMCORE_LOG", "debug")
    secret = "xylophone"
    with run_server() as server:
        url = f"{server.url}/v1/chat/completions"
        body = chat(secret, max_tokens=5, ignore_eos=True, stream=True)
        assert httpx.post(url, json=body, headers={"x-request-id": "mine"}, timeout=60).status_code == 200
        assert httpx.post(url, json=chat(secret, max_tokens=-1)).status_code == 400
        assert httpx.post(url, content=f'{{"model": {secret}').status_code == 400
        health(server)
        server.stop()
    lines = [line for line in server.output.splitlines() if " /v1/" in line or " /health" in line]
    assert len(lines) == 4
    assert "INFO" in lines[0]
    assert "DEBUG" in lines[3]
    for word in ("POST /v1/chat/completions", "request_id=mine", "status=200", "output_tokens=5", "ms="):
        assert word in lines[0]
    assert "status=400" in lines[1]
    assert secret not in server.output


def test_log_shows_what_no_route_has_seen_and_little_of_it() -> None:
    """A client that is refused before any route sees it must be found in the log, and must not be able to fill it."""
    named = "Host: x\r\nX-Request-Id: {}\r\n"
    refused = [
        (f"GET /a HTTP/1.1\r\n{named.format('two')}Host: y\r\n\r\n", "GET /a", "two", 400),
        ("this is no request\r\n\r\n", "- *", "", 400),
        (
            f"{'M' * 9000} /health HTTP/1.1\r\n{named.format('me')}Connection: close\r\n\r\n",
            f" {'M' * 16} /health",
            "me",
            405,
        ),
    ]
    with run_server() as server:
        url = httpx.URL(server.url)
        assert url.port is not None
        for request, *_ in refused:
            with (
                socket.create_connection((url.host, url.port), timeout=60) as client,
                client.makefile("rb") as answer,
            ):
                client.sendall(request.encode())
                assert answer.read().startswith(b"HTTP/1.1 4")
        server.stop()
    lines = [line for line in server.output.splitlines() if "status=4" in line]
    assert len(lines) == len(refused), server.output
    for line, (_, shown, name, status) in zip(lines, refused, strict=True):
        assert f"{shown} " in line
        assert f"request_id={name}" in line
        assert f"status={status}" in line
        assert len(line) < 300


async def status_of(host: str, port: int, body: bytes) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    status = answer[9:12].decode()
    if status == "429":
        assert b"\r\nretry-after: " in answer
        assert b'"code":"queue_full"' in answer
    return status


async def test_flood_is_refused_honestly_and_leaves_nothing_behind() -> None:
    """Ten times what the queue holds at once: refused clients learn when to come back, all others are answered."""
    with run_server("--max-waiting-requests", "20", "--max-num-seqs", "4") as server:
        url = httpx.URL(server.url)
        assert url.port is not None
        body = json.dumps(chat("Hello", max_tokens=20, ignore_eos=True)).encode()
        statuses = await asyncio.gather(*[status_of(url.host, url.port, body) for _ in range(400)])
        assert set(statuses) == {"200", "429"}
        assert statuses.count("200") >= 21
        server.wait_until_all_is_back()
        assert server.metric("streamcore_refusals_total") == statuses.count("429")
        assert httpx.post(f"{server.url}/v1/chat/completions", content=body, timeout=60).status_code == 200


def test_netcat_gets_its_answer() -> None:
    """`nc -N` closes its side behind the request; a whole answer comes all the same."""
    with run_server() as server:
        url = httpx.URL(server.url)
        assert url.port is not None
        body = json.dumps(chat("Hello", max_tokens=200, ignore_eos=True)).encode()
        with socket.create_connection((url.host, url.port), timeout=60) as client:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while read := client.recv(65536):
                answer += read
        assert b'"finish_reason":"length"' in answer


def test_log_that_nobody_reads_holds_up_no_request() -> None:
    """A log collector that stops reading would stop the server with it, once the pipe between them is full."""
    with run_server() as server, httpx.Client() as client:
        filler = "x" * 64
        for index in range(900):
            name = f"{filler}-{index}"
            assert client.get(f"{server.url}/v1/models", headers={"x-request-id": name[:64]}).is_success
        assert server.stop() == 0
        assert len(server.output) > 1 << 16, "the pipe was never full"
