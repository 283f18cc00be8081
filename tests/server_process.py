"""Start `streamcore serve` as a user does, as a process of its own, and look at it from outside."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import httpx
import pytest
from tests import metrics

READY = re.compile(r"Ready at (http://\S+)")


def is_socket(link: Path) -> bool:
    """Whether a descriptor, seen in `/proc`, is a socket; one that has been closed meanwhile is not."""
    try:
        return os.readlink(link).startswith("socket:")
    except FileNotFoundError:
        return False


def lines_until_cut(lines: Iterator[str]) -> list[str]:
    """Read the lines of a stream that fails: it must break off, so that no client takes it for a whole one."""
    read: list[str] = []
    with pytest.raises(httpx.RemoteProtocolError):
        read.extend(line for line in lines if line)
    return read


class ServerProcess:
    """A running server: its URL, its output so far, its metrics."""

    def __init__(self, *arguments: str, program: Sequence[str] = ("-m", "streamcore")) -> None:
        command = [sys.executable, *program, "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.output = ""
        self.url = self._wait_until_ready()

    def _wait_until_ready(self, timeout_s: float = 250.0) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout_s
        while select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            read = os.read(self.process.stdout.fileno(), 65536).decode()
            if not read:
                break
            self.output += read
            if match := READY.search(self.output):
                return match[1]
        self.process.kill()
        raise AssertionError(f"the server did not get ready; its output:\n{self.output}")

    def read_output_until(self, text: str, timeout_s: float = 30.0) -> str:
        """Read on until the output has a text in it; returns all of it."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout_s
        while text not in self.output:
            assert select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]
            self.output += os.read(self.process.stdout.fileno(), 65536).decode()
        return self.output

    def metrics_page(self) -> str:
        """What `/metrics` says now."""
        return httpx.get(f"{self.url}/metrics", timeout=60).text

    def metric(self, name: str) -> float:
        """One value of `/metrics`, summed over its labels."""
        return metrics.value(self.metrics_page(), name)

    def wait_for_metric(self, name: str, expected: float, timeout_s: float = 30.0) -> None:
        """Ask `/metrics` again and again until a value is reached."""
        deadline = time.monotonic() + timeout_s
        while (value := self.metric(name)) != expected:
            assert time.monotonic() < deadline, f"{name} is {value}, expected {expected}"

    def wait_until_all_is_back(self) -> None:
        """Ask `/metrics` again and again until no request holds anything."""
        patience = metrics.Patience()
        while not patience.is_all_back(self.metrics_page()):
            pass

    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) * 1024

    def num_sockets(self) -> int:
        """Sockets that the process has open."""
        links = Path(f"/proc/{self.process.pid}/fd").iterdir()
        return sum(is_socket(link) for link in links)

    def stop(self, sent_signal: signal.Signals = signal.SIGTERM, timeout_s: float = 60.0) -> int:
        """Send a signal, wait for the end, return the exit status."""
        self.process.send_signal(sent_signal)
        rest, _ = self.process.communicate(timeout=timeout_s)
        self.output += rest.decode()
        return self.process.returncode

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@contextmanager
def run_server(*arguments: str, program: Sequence[str] = ("-m", "streamcore")) -> Iterator[ServerProcess]:
    """A server for the length of a `with` block."""
    with ServerProcess(*arguments, program=program) as server:
        yield server
