"""If one of these fails, a program whose model has failed cannot find out why."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.asgi.driver import running
from tests.llm.driver import script_file

from streamcore import LLM, serve
from streamcore.errors import EngineFailedError
from streamcore.runner import loop

# A program with a model that fails, or is only made: what goes wrong is in its log.
PROGRAM = """
import sys
from streamcore import LLM, serve
from streamcore.errors import EngineFailedError

def broken(server):
    raise KeyError("layer")

if sys.argv[2] == "broken":
    serve.play = broken
with LLM(f"script:{sys.argv[1]}", **dict(argument.split("=") for argument in sys.argv[3:])) as llm:
    try:
        llm.generate("x")
    except EngineFailedError:
        pass
"""


def logged(*arguments: str, **environment: str) -> str:
    """What `PROGRAM` writes to its log."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env={**os.environ, **environment}
    )
    return ended.stderr


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LLM]:
    """A model whose steps fail with `KeyError('layer')`."""

    def fail(_server: object) -> None:
        raise KeyError("layer")

    monkeypatch.setattr(serve, "play", fail)
    with LLM(f"script:{script_file(tmp_path)}") as llm:
        yield llm


@pytest.mark.parametrize(
    "ask",
    [
        lambda llm: llm.generate("x"),
        lambda llm: llm.generate(["x", "y"]),
        lambda llm: llm.chat([{"role": "user", "content": "x"}]),
        lambda llm: next(llm.stream("x")),
    ],
)
def test_error_has_its_cause(broken: LLM, ask: Callable[[LLM], object]) -> None:
    """A program must get the exception: without it the fault cannot be found."""
    with pytest.raises(EngineFailedError, match="the model runner failed") as caught:
        ask(broken)
    assert isinstance(caught.value.__cause__, KeyError)


async def test_error_of_an_asynchronous_stream_has_its_cause(broken: LLM) -> None:
    """The same in a program with an event loop."""
    with pytest.raises(EngineFailedError) as caught:
        await anext(broken.astream("x"))
    assert isinstance(caught.value.__cause__, KeyError)


def test_log_says_what_has_failed_and_where(tmp_path: Path) -> None:
    """`'layer'` alone is not even the kind of an error."""
    log = logged(str(script_file(tmp_path)), "broken")
    assert "the model runner failed" in log
    assert "in broken" in log
    assert "KeyError: 'layer'" in log


def test_log_has_warnings(tmp_path: Path) -> None:
    """That every prompt is written to a file must be said to a program, too; what it is doing need not be."""
    log = logged(str(script_file(tmp_path)), "whole", f"trace_file={tmp_path / 'trace'}")
    assert "WARN" in log
    assert "every prompt and every answer is written" in log
    assert "INFO" not in log


@pytest.mark.parametrize("level", ["warning", "WARNING", "error,_core=Warning", "warn"])
def test_levels_have_the_names_of_python(tmp_path: Path, level: str) -> None:
    """`warning` is what Python calls that level; it is no module whose lines are wanted."""
    trace = f"trace_file={tmp_path / 'trace'}"
    log = logged(str(script_file(tmp_path)), "whole", trace, STREAMCORE_LOG=level)
    assert "every prompt and every answer is written" in log


class Watched:
    """A server that counts how often it is asked to watch the steps."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.num_watches = 0

    def watch(self, decode_s: float) -> None:
        self.num_watches += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


async def test_only_a_server_gives_up_steps_that_seem_to_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that computes for ten seconds without letting go of the interpreter would lose its model for good, though
    nothing is wrong with it. A site has clients and a balancer that must hear of it.
    """
    servers: list[Any] = []

    def run(server: Any, *args: Any, **options: Any) -> None:
        watched: Any = Watched(server)
        servers.append(watched)
        run_steps(watched, *args, **options)

    run_steps = loop.run_steps
    monkeypatch.setattr(loop, "run_steps", run)
    with LLM() as llm:
        llm.generate("Count")
    async with running():
        pass
    assert [server.num_watches for server in servers] == [0, 1]
