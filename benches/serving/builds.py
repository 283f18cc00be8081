"""Compare two builds of streamcore, in turns on the same prompts: output tokens/s at some numbers of streams.

    python benches/serving/builds.py FOLDER BEFORE AFTER [--streams 1 8 32]

FOLDER is a checkpoint; BEFORE and AFTER are the `python` folders of two checkouts, each with its extension built in release.
Only the ratios of one run mean something; the table is Markdown. Each round starts both servers anew. A server takes memory for
its KV cache as it is used: one that has run for a while is seen with as many requests of `--warm-up` as fill the cache.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from streamcore.console import complain_of_development_build

WARM_UP_STREAMS = 128


@contextmanager
def running(python: Path, model: str) -> Iterator[str]:
    """A server of a build; its address."""
    environment = os.environ | {"PYTHONPATH": str(python.resolve()), "STREAMCORE_LOG": "error"}
    command = [sys.executable, "-m", "streamcore", "serve", model, "--port", "0"]
    command += ["--served-model-name", "bench"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            ready = next((line for line in process.stdout if line.startswith("Ready at ")), None)
            if ready is None:
                raise SystemExit("the server did not start")
            yield ready.split()[2]
        finally:
            process.terminate()


def rate(
    url: str, num_streams: int, num_requests: int, dice: random.Random, options: argparse.Namespace
) -> float:
    """Output tokens per second of this many streams; with pauses, of the time between them alone."""
    prompts = [[dice.randrange(10, 250) for _ in range(options.prompt)] for _ in range(num_requests)]

    def ask(prompt: list[int]) -> tuple[int, float]:
        time.sleep(options.pause_ms / 1000)
        began = time.perf_counter()
        body = {"prompt": prompt, "max_tokens": options.tokens, "ignore_eos": True, "temperature": 0}
        request = urllib.request.Request(
            f"{url}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            num_tokens = int(json.load(response)["usage"]["completion_tokens"])
        return num_tokens, time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(num_streams) as pool:
        tokens, seconds = zip(*pool.map(ask, prompts), strict=True)
    elapsed = sum(seconds) / num_streams if options.pause_ms > 0 else time.perf_counter() - began
    return float(sum(tokens) / elapsed)


def main() -> None:
    """Prints a row for each number of streams."""
    complain_of_development_build()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--requests-per-stream", type=int, default=3)
    parser.add_argument("--pause-ms", type=float, default=0, help="what each stream waits before a request")
    parser.add_argument(
        "--warm-up", type=int, default=3, help="requests to each server before the measured ones"
    )
    options = parser.parse_args()
    builds = (options.before, options.after)
    rates: dict[tuple[Path, int], list[float]] = {}
    for number in range(options.rounds):
        for build in builds:
            dice = random.Random(number)
            with running(build, options.model) as url:
                rate(url, min(options.warm_up, WARM_UP_STREAMS), options.warm_up, random.Random(-1), options)
                for num_streams in options.streams:
                    num_requests = num_streams * options.requests_per_stream
                    measured = rate(url, num_streams, num_requests, dice, options)
                    rates.setdefault((build, num_streams), []).append(measured)
    print("| streams | before, tokens/s | after, tokens/s | ratio |")
    print("|---|---|---|---|")
    for num_streams in options.streams:
        before, after = (statistics.median(rates[build, num_streams]) for build in builds)
        print(f"| {num_streams} | {before:.0f} | {after:.0f} | {after / before:.2f} |")


if __name__ == "__main__":
    main()
