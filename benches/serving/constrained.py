"""Measure what constrained answers cost: alone, and the others that are served beside them.

One server; free and constrained answers take turns. Only the ratios of one run mean something; the table is Markdown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

from streamcore.console import complain_of_development_build

WAYS: Mapping[str, Mapping[str, Any]] = {
    "free": {},
    "a list of strings": {"guided_json": {"type": "array", "items": {"type": "string"}, "minItems": 500}},
    "a pattern": {"guided_regex": "[a-z ]{4000}"},
}


@contextmanager
def running(model: list[str]) -> Iterator[str]:
    """A server as a process of its own; its address."""
    command = [
        sys.executable,
        "-m",
        "streamcore",
        "serve",
        *model,
        "--port",
        "0",
        "--served-model-name",
        "bench",
    ]
    environment = os.environ | {"STREAMCORE_LOG": "error"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            ready = next((line for line in process.stdout if line.startswith("Ready at ")), None)
            if ready is None:
                raise SystemExit("the server did not start")
            yield ready.split()[2]
        finally:
            process.terminate()


def ask(url: str, num_tokens: int, more: Mapping[str, Any]) -> float:
    """Asks for one answer; milliseconds a token."""
    body = {"prompt": "Count", "max_tokens": num_tokens, "temperature": 1.0, "ignore_eos": True, **more}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    began = time.perf_counter()
    with urllib.request.urlopen(request) as response:
        answer = json.load(response)
    return (time.perf_counter() - began) * 1e3 / int(answer["usage"]["completion_tokens"])


@contextmanager
def busy(url: str, num_streams: int, num_tokens: int, more: Mapping[str, Any]) -> Iterator[None]:
    """Keep this number of answers running."""
    is_over = Event()

    def again() -> None:
        while not is_over.is_set():
            ask(url, num_tokens, more)

    with ThreadPoolExecutor(max(num_streams, 1)) as pool:
        futures = [pool.submit(again) for _ in range(num_streams)]
        try:
            yield
        finally:
            is_over.set()
    for future in futures:
        future.result()


def main() -> None:
    """Prints a row for each way to ask."""
    complain_of_development_build()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="*")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    with running(options.model) as url:
        for _ in range(options.rounds):
            for name, more in WAYS.items():
                alone = ask(url, options.tokens, more)
                with busy(url, options.streams, options.tokens, more):
                    beside = statistics.median(ask(url, options.tokens, {}) for _ in range(3))
                times[name].append((alone, beside))
    print(f"| answer | ms a token, alone | ms a token of a free answer beside {options.streams} |")
    print("|---|---|---|")
    for name, measured in times.items():
        alone, beside = (statistics.median(column) for column in zip(*measured, strict=True))
        print(f"| {name} | {alone:.2f} | {beside:.2f} |")


if __name__ == "__main__":
    main()
