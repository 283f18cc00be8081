"""The ways in which a block is run. Each is a function of the block and of what there is to run it with."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.pages import commands
from tests.pages.reader import ROOT, Block
from tests.server_process import ServerProcess

DEMO = ROOT / "python" / "streamcore" / "demo_model"


@dataclass
class World:
    """What blocks are run with."""

    server: ServerProcess
    """`streamcore serve` with the demo model and a short context."""
    folder: Path
    """Where files may be written; each test has its own."""
    request: pytest.FixtureRequest

    def fill_in(self, text: str) -> str:
        """Put in what a reader puts in: the address of the server, and the folder of the model."""
        filled = text.replace("http://127.0.0.1:8000", self.server.url)
        filled = filled.replace("/models/Llama-3.1-8B-Instruct", str(DEMO))
        return re.sub(r"\b(?:MODEL|FOLDER|CHECKPOINT)\b", str(DEMO), filled)


Way = Callable[[Block, World], None]


def parts(block: Block, _world: World) -> None:
    """A command in each line that takes too long, or needs what is not here: what it names must exist."""
    for line in block.text.replace("\\\n", " ").splitlines():
        commands.check(line)


def shell(block: Block, world: World) -> str:
    """Run all of it as a shell does, in a folder of its own; returns what it printed."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", world.fill_in(block.text)]
    ended = subprocess.run(
        command, cwd=world.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def ask(block: Block, world: World) -> None:
    """A `curl` line gets a whole stream."""
    assert shell(block, world).rstrip().endswith("data: [DONE]")


def torch_for_the_cpu(block: Block, world: World) -> None:
    """The lines that point pip at another build of torch leave a constraint that pip can read."""
    text = block.text.replace("<the index for CPU builds>", "https://example.invalid/cpu")
    shell(Block(block.page, block.line, "", text), world)
    (line,) = (world.folder / "constraint.txt").read_text().splitlines()
    assert re.fullmatch(r"torch==\d+\.\d+\.\d+\+cpu", line)


def transcript(block: Block, world: World) -> None:
    """A command behind `$`, and all that it prints, to the letter."""
    command, _, expected = block.text.partition("\n")
    assert shell(Block(block.page, block.line, "", command.removeprefix("$ ")), world) == expected + "\n"


def quotes(path: str, start: str) -> Way:
    """The block is a program of the repository, from a certain line on, which other tests run."""

    def check(block: Block, _world: World) -> None:
        source = (ROOT / path).read_text()
        assert block.text + "\n" == source[source.index(start) :], f"{block} differs from {path}"

    return check


def python(*, before: str = "", then: Callable[[dict[str, Any], World], None] | None = None) -> Way:
    """Run it in this process.

    Args:
        before: what the sentence around the block takes for granted.
        then: looks at the names that the block has made.
    """

    def run(block: Block, world: World) -> None:
        names: dict[str, Any] = {"__name__": "block"}
        exec(compile(before, "before", "exec"), names)
        exec(compile(world.fill_in(block.text), str(block), "exec"), names)
        if then is not None:
            then(names, world)

    return run


def server(block: Block, world: World) -> None:
    """A command that serves until it is ended; its port is a free one."""
    words = shlex.split(world.fill_in(block.text).replace("script:", f"script:{ROOT}/"))
    assert words[:2] == ["streamcore", "serve"]
    with ServerProcess(*words[2:]) as started:
        assert started.stop(signal.SIGTERM) == 0


def simulation(block: Block, world: World) -> None:
    """Too many requests for a test: a few of them, with the same options."""
    text, num_changed = re.subn(r"--requests \d+", "--requests 20", block.text)
    assert num_changed == 1
    assert "20 answered" in shell(Block(block.page, block.line, "", text), world)


def _record(trace: Path, words: list[str]) -> None:
    """Serve one request with a trace."""
    with ServerProcess(*words) as started:
        (name,) = (model["id"] for model in httpx.get(f"{started.url}/v1/models").json()["data"])
        body = {"model": name, "prompt": "Once upon a time", "max_tokens": 20}
        httpx.post(f"{started.url}/v1/completions", json=body, timeout=60).raise_for_status()
        assert started.stop(signal.SIGTERM) == 0
    assert trace.exists()


def trace_and_simulate(block: Block, world: World) -> None:
    """Four lines, of which each takes what the ones before have left."""
    serve, replay, simulate_trace, simulate = block.text.splitlines()
    words = shlex.split(world.fill_in(serve), comments=True)
    assert words[:2] == ["streamcore", "serve"]
    trace = world.folder / "trace.jsonl"
    _record(trace, [str(trace) if word == trace.name else word for word in words[2:]])
    line = Block(block.page, block.line, "", f"{replay}\n{simulate_trace}")
    assert "as in the trace" in shell(line, world)
    few = simulate.partition("#")[0] + "--requests 20"
    assert shell(Block(block.page, block.line, "", few), world).count("\n") == 7


def replays(block: Block, world: World) -> None:
    """A trace that replays, and one that does not; other numbers than those of the page."""
    well, badly = block.text.split("\n\n")
    trace = world.folder / "trace.jsonl"
    script = world.folder / "script.json"
    script.write_text(json.dumps({"rules": [{"answer": {"text": "Hello, world"}}]}))
    _record(trace, [f"script:{script}", "--trace-file", str(trace)])
    for told in (well, badly):
        command, _, expected = told.partition("\n")
        run = f"{command.removeprefix('$ ')} 2>&1 || true"
        printed = shell(Block(block.page, block.line, "", run), world)
        assert _blurred(printed) == _blurred(expected + "\n")
        # One token that was drawn becomes another.
        trace.write_text(re.sub(r'("sampled":\[)(\d+)', r"\g<1>1\2", trace.read_text(), count=1))


def _blurred(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{8}\b|\d+", "N", text)
