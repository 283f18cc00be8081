"""What the programs here have in common: a list of checks, and a look at the server from outside.

A check is a function whose first line of documentation says what would break in the world. Standard library only.
"""

import asyncio
import inspect
import itertools
import os
import re
import select
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

API_KEY = "key-of-the-tests"
READY = re.compile(r"Ready at (http://\S+)")
# Wherever the client left: on a busy machine that can be before its request was queued. What takes
# longer than the client said that it waits, the server gives up, which may be a moment before the
# client leaves.
ABORTED = r'(?:streamcore_aborts_total|streamcore_requests_total\{finish_reason="deadline"\})'

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather of a city", "parameters": WEATHER},
}

_checks: list[Callable[..., Any]] = []
_numbers = itertools.count(1)


class Watched:
    """A server that runs somewhere, seen through its metrics."""

    def __init__(self, url: str) -> None:
        self.url = url

    def metric(self, name: str) -> float:
        """The sum of the values of `/metrics` whose name and labels match `name`, a regular expression."""
        asked = urllib.request.Request(f"{self.url}/metrics", headers={"x-api-key": API_KEY})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            page = answer.read().decode()
        values = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", page, re.MULTILINE)
        assert values, f"no metric {name} in:\n{page}"
        return sum(map(float, values))

    def wait_for(self, name: str, expected: float, timeout_s: float = 30.0) -> None:
        """Ask again and again until a metric has a value."""
        deadline = time.monotonic() + timeout_s
        while (value := self.metric(name)) != expected:
            assert time.monotonic() < deadline, f"{name} is {value}, expected {expected}"

    def num_aborted(self) -> float:
        """Requests whose client left before they had ended."""
        return self.metric(ABORTED)

    def wait_for_aborted(self, expected: float) -> None:
        """Wait until as many have ended so."""
        self.wait_for(ABORTED, expected)

    def assert_idle(self) -> None:
        """Nothing runs, and every block is back.

        Raises:
            AssertionError: a client left something behind.
        """
        self.wait_for("streamcore_num_requests_running", 0)
        self.wait_for("streamcore_kv_blocks_free", self.metric("streamcore_kv_blocks"))


class Server(Watched):
    """`streamcore serve` of this Python, on a port of its choice, for the length of a `with` block."""

    def __init__(self, *arguments: str, timeout_s: float = 120.0) -> None:
        command = [sys.executable, "-m", "streamcore", "serve", *arguments, "--port", "0"]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=(log := tempfile.TemporaryFile()),  # noqa: SIM115 - the process keeps it
            env=os.environ | {"PYTHONUNBUFFERED": "1", "STREAMCORE_LOG": "warn"},
        )
        self.log = log
        super().__init__(self._wait_until_ready(timeout_s))

    def _wait_until_ready(self, timeout_s: float) -> str:
        assert self.process.stdout is not None
        output, deadline = "", time.monotonic() + timeout_s
        while select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            read = os.read(self.process.stdout.fileno(), 65536).decode()
            if not read:
                break
            output += read
            if match := READY.search(output):
                return match[1]
        self.process.kill()
        self.log.seek(0)
        raise AssertionError(f"the server did not get ready:\n{output}{self.log.read().decode()}")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()


def servers() -> list[Watched]:
    """The servers that the runner started: the demo model's, and one that plays `script.py`."""
    return [Watched(url) for url in os.environ["STREAMCORE_URLS"].split()]


def question(case: str) -> str:
    """What to ask the scripted server for a case of `script.py`, from its first turn."""
    return f"{case} {next(_numbers)}"


class Raised:
    """What a `with raises(...)` block caught."""

    error: Any = None


@contextmanager
def raises(kind: type[Exception]) -> Iterator[Raised]:
    """Expect an error of this class."""
    raised = Raised()
    try:
        yield raised
    except kind as error:
        raised.error = error
    else:
        raise AssertionError(f"{kind.__name__} was not raised")


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add a function, of either colour, to the program's checks."""
    _checks.append(function)
    return function


def run_checks() -> None:
    """Run all checks in order and print a line for each; ends the program, with 1 if one failed."""
    num_failed = 0
    # One loop for all: clients keep connections from one call to the next.
    loop = asyncio.new_event_loop()
    for function in _checks:
        said = (function.__doc__ or function.__name__).strip().splitlines()[0]
        try:
            result = function()
            if inspect.iscoroutine(result):
                loop.run_until_complete(result)
            print(f"ok    {said}", flush=True)
        except Exception:
            num_failed += 1
            print(f"FAIL  {said}\n{traceback.format_exc()}", flush=True)
    sys.exit(num_failed > 0)
