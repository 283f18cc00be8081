"""If one of these fails, a server cannot be reached where its operator has put it, or does not say why."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "script.example.json"
COMMAND = (sys.executable, "-m", "streamcore", "serve", f"script:{EXAMPLE}")


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A server, and the line that says that it is ready."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    ready = process.stdout.readline() + process.stdout.readline() + process.stdout.readline()
    return process, ready


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def refusal(*arguments: str) -> str:
    """The one line that a server which cannot start says."""
    ended = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    lines = ended.stderr.strip().splitlines()
    assert "Traceback" not in ended.stderr
    return lines[0]


def get(path: Path, route: str) -> int:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        return client.get(f"http://localhost{route}").status_code


def test_unix_domain_socket_outlives_no_server(tmp_path: Path) -> None:
    """After a crash the next start must not need a hand; beside a server that runs it must not take its place."""
    path = tmp_path / "socket"
    process, ready = start("--uds", str(path))
    assert f"Ready at {path} after" in ready
    assert f"curl -N --unix-socket {path} http://localhost/v1/chat/completions" in ready
    assert get(path, "/health") == 200
    assert "in use" in refusal("--uds", str(path))
    process.kill()
    process.communicate()
    assert path.exists()
    process, _ = start("--uds", str(path))
    assert get(path, "/v1/models") == 200
    end(process)
    assert not path.exists()


def test_path_of_a_proxy(tmp_path: Path) -> None:
    """A proxy may leave its own path in a request: its clients must not get 404 for that."""
    path = tmp_path / "socket"
    process, _ = start("--uds", str(path), "--root-path", "/llm")
    assert [get(path, route) for route in ("/llm/v1/models", "/v1/models", "/other/v1/models")] == [
        200,
        200,
        404,
    ]
    end(process)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ssl-keyfile", "key.pem"), "`--ssl-keyfile` is given without `--ssl-certfile`"),
        (("--ssl-certfile", "/no/cert.pem"), "the certificate cannot be used: /no/cert.pem: "),
        (("--ssl-certfile", str(EXAMPLE)), "no certificate in PEM format is in it"),
        (("--root-path", "llm"), "`--root-path` is `llm`, it must be like /llm"),
        (("--uds", str(EXAMPLE)), "which is no socket"),
        (("--uds", "/no/such/folder/socket"), "cannot listen on /no/such/folder/socket: "),
    ],
)
def test_what_cannot_be_listened_on_is_said_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    """A wrong path must not cost the time in which a model is loaded, and must be named."""
    assert said in refusal("--port", "0", *arguments)


def test_early_answers_keep_the_connection(tmp_path: Path) -> None:
    """A client whose key is wrong sends its next request on the same connection, with the body of the first still on its way."""
    path = tmp_path / "socket"
    process, _ = start("--uds", str(path), "--api-key", "key")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        body = json.dumps({"model": "script", "messages": []}).encode()
        for _ in range(20):
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-length: {len(body)}\r\n\r\n"
            client.sendall(head.encode())
            client.sendall(body)
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert b"connection: close" not in answer.lower()
    end(process)
