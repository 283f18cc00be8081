"""If one of these fails, a collector of logs drops a line, and it is the one that says what went wrong."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.server_process import run_server

SCRIPT = "script:" + str(Path(__file__).parents[2] / "docs" / "script.example.json")
JSON = ["--log-format", "json"]


def lines_of(output: str) -> list[dict[str, Any]]:
    """Every line of an output, each of which must be an object with these fields."""
    lines = [json.loads(line) for line in output.splitlines()]
    assert all({"timestamp", "level", "message"} <= line.keys() for line in lines), output
    return lines


def run(*arguments: str, program: str | None = None, **environment: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status of a command that ends by itself, and its lines of both streams."""
    called = ["-m", "streamcore"] if program is None else ["-c", program]
    ended = subprocess.run(
        [sys.executable, *called, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, lines_of(ended.stdout)


@pytest.mark.parametrize("model", [[], [SCRIPT]])
def test_life_of_a_server(model: list[str]) -> None:
    """The line that says where it is belongs to them, and holds the address by itself."""
    with run_server(*model, *JSON) as server:
        assert httpx.get(f"{server.url}/v1/nothing").status_code == 404
        server.stop()
    lines = lines_of(server.output)
    ready = next(line for line in lines if "url" in line)
    assert ready["url"] == server.url
    assert ready["example"].startswith("curl ")
    assert (lines[-1]["level"], lines[-1]["message"]) == ("INFO", "stopped")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([*JSON, "--prot", "1"], 2, "did you mean `--port`?"),
        (["--prot", "1", *JSON], 2, "did you mean `--port`?"),
        (["--port", "x", "--log-format=json"], 2, "--port"),
        (["--device", "cud", *JSON], 2, "did you mean `cuda`?"),
        (["--max-num-seqs", "0", *JSON], 2, "at least 1"),
        ([*JSON, "--api-key"], 2, "expected at least one argument"),
        (["no\nfolder", *JSON], 1, "model folder no\nfolder does not exist"),
        (["script:nothing.json", *JSON], 1, "script nothing.json cannot be read"),
        (["--trace-file", __file__, *JSON], 1, "exists already"),
        (["--host", "no.such.host.invalid", *JSON], 1, "cannot listen"),
    ],
)
def test_what_ends_the_start(arguments: list[str], status: int, said: str) -> None:
    """Whatever is wrong, and wherever on the command line the form of the log stands."""
    ended = run("serve", "--port", "0", *arguments)
    assert ended[0] == status
    assert [said in line["message"] for line in ended[1]] == [True]
    assert ended[1][0]["level"] == "ERROR"


def test_environment_that_is_wrong() -> None:
    """A port in use and a variable that makes no sense are the usual reasons of a service that does not start."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run("serve", "--port", str(taken.getsockname()[1]), *JSON)[0] == 1
    assert run("serve", "--port", "0", *JSON, STREAMCORE_LOG="a=b=c")[0] == 1
    assert run("serve", "--port", "0", *JSON, STREAMCORE_API_KEY="")[0] == 1


FOREIGN_VOICES = """
import logging, sys, threading, warnings
from streamcore import serve
announce = serve._announce

class Lost:
    def __del__(self):
        raise OSError("lost")

def fail():
    raise ValueError("of a thread")

def noisy(serving, *rest):
    warnings.warn("deprecated", FutureWarning)
    logging.getLogger("a library").warning("one line\\nand another")
    logging.getLogger("a library").error("an error")
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    Lost()
    announce(serving, *rest)
    raise RuntimeError("a bug")

serve._announce = noisy
from streamcore.__main__ import run
sys.exit(run())
"""


def test_libraries_and_python_itself() -> None:
    """Warnings, lines of Python's `logging`, and exceptions that end a thread, or the program."""
    status, lines = run("serve", "--port", "0", SCRIPT, *JSON, program=FOREIGN_VOICES)
    assert status == 1
    said = [(line["message"].splitlines()[-1], line["level"]) for line in lines]
    expected = {
        "FutureWarning: deprecated": "WARN",
        "and another": "WARN",
        "an error": "ERROR",
        "ValueError: of a thread": "ERROR",
        "OSError: lost": "ERROR",
        "RuntimeError: a bug": "ERROR",
    }
    for message, level in expected.items():
        assert [level for last, level in said if last.startswith(message)] == [level], said
