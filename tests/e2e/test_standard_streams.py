"""If one of these fails, a program dies, or lies, because of what its output leads to: cron, a full disk, `| head`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from tests.server_process import READY, run_server

SCRIPT = "script:" + str(Path(__file__).parents[2] / "docs" / "script.example.json")
STREAMCORE = [sys.executable, "-m", "streamcore"]
STREAMS = ["stdin", "stdout", "stderr"]
# `full` takes nothing, as a disk without room; `broken` is a pipe whose reader has gone.
STATES = ["closed", "full", "broken"]


@dataclass
class Command:
    """A command line, and the exit status that it has where every stream is well."""

    line: list[str]
    status: int = 0


COMMANDS = {
    "nothing": Command([]),
    "--help": Command(["--help"]),
    "--version": Command(["--version"]),
    "serve --help": Command(["serve", "--help"]),
    "simulate": Command(["simulate", "--requests", "5"]),
    "simulate --json": Command(["simulate", "--requests", "5", "--json"]),
    "replay": Command(["replay", "TRACE"]),
    "a wrong folder": Command(["serve", "nowhere"], 1),
    "a wrong option": Command(["serve", "--prot", "1"], 2),
    "a wrong command": Command(["sevre"], 2),
    "a wrong trace": Command(["replay", "nowhere"], 1),
}


@contextmanager
def redirected(stream: str, state: str, command: list[str]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """A command line one of whose streams is in some state, and what `Popen` must be given for that."""
    if state == "broken":
        reader, writer = os.pipe()
        os.close(reader)
        yield command, {stream: writer}
        os.close(writer)
        return
    target = {"closed": "&-", "full": "/dev/full"}[state]
    yield ["sh", "-c", f'exec "$0" "$@" {STREAMS.index(stream)}>{target}', *command], {}


def assert_nothing_of_python(text: str) -> None:
    assert "Traceback" not in text
    assert "Exception ignored" not in text


@pytest.fixture(autouse=True)
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in most shells: without a buffer nothing is left to fail at the end of a program."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a server has written."""
    path = tmp_path_factory.mktemp("trace") / "a.trace"
    with run_server(SCRIPT, "--trace-file", str(path)) as server:
        server.stop()
    return str(path)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("name", COMMANDS)
def test_command_ends_in_order(name: str, stream: str, state: str, trace: str) -> None:
    """What cannot be written is one line and a status, never a traceback; a reader that has gone is not even a line."""
    command = COMMANDS[name]
    line = [trace if word == "TRACE" else word for word in command.line]
    with redirected(stream, state, [*STREAMCORE, *line]) as (shown, streams):
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        ended = subprocess.run(shown, text=True, timeout=60, check=False, **streams)
    errors = ended.stderr or ""
    assert_nothing_of_python(errors)
    if stream == "stdout" and state != "closed" and command.status == 0:
        assert ended.returncode == {"full": 1, "broken": 141}[state]
        said = "streamcore: standard output cannot be written: No space left on device\n"
        assert errors == {"full": said, "broken": ""}[state]
    else:
        assert ended.returncode == command.status
        assert len(errors.splitlines()) == (command.status > 0 and stream != "stderr")


def url_of(lines: IO[str]) -> str:
    """Where the server is, as standard output or the log says it."""
    for line in lines:
        if match := READY.search(line):
            return match[1]
        if "serving" in line:
            return line.split()[-1]
    raise AssertionError("the server did not get ready")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("stream", STREAMS)
def test_server_serves_all_the_same(stream: str, state: str) -> None:
    """A service has no terminal. No socket may take the place of a stream: a client would be sent the log."""
    command = [*STREAMCORE, "serve", "--port", "0", SCRIPT]
    seen = "stdout" if stream == "stderr" else "stderr"
    with redirected(stream, state, command) as (shown, streams):
        streams = {seen: subprocess.PIPE} | streams
        with subprocess.Popen(shown, text=True, **streams) as process:
            output: IO[str] = getattr(process, seen)
            url = url_of(output)
            places = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
            assert not [place for place in places if place.startswith("socket:")]
            if state == "closed":
                assert places[STREAMS.index(stream)] == "/dev/null"
            assert httpx.get(f"{url}/health").status_code == 200
            process.terminate()
            assert_nothing_of_python(output.read())
            assert process.wait(60) == 0


def test_server_without_any_stream() -> None:
    """All three closed at once, as some supervisors start their services."""
    command = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', *STREAMCORE, "serve", "--port", "0", "nowhere"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 1


def test_text_that_the_terminal_has_no_letters_for(tmp_path: Path) -> None:
    """A terminal in Latin-1 must not end a server whose model has a name in Japanese."""
    script = tmp_path / "script.json"
    script.write_text('{"rules": [{"answer": {"text": "ok"}}]}')
    command = [*STREAMCORE, "serve", "--port", "0", f"script:{script}", "--served-model-name", "日本"]
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode("latin-1") for _ in range(3)]
        assert READY.search(lines[0])
        assert r'{"model": "\u65e5\u672c"' in lines[2]
        process.terminate()
        assert process.wait(60) == 0
