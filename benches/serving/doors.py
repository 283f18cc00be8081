"""Compare the two doors: `streamcore serve` and the ASGI application under uvicorn, interleaved: A B A B.

    python benches/serving/doors.py [MODEL] [--streams 1 8 64] [--tokens 256] [--rounds 5]

Both servers serve the same model on the same machine and take turns; the one whose turn it is not is idle. The
client counts nothing but bytes, so that it costs little. Only the ratios of one run mean something; the table is
Markdown.
"""

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import IO

from streamcore.console import complain_of_development_build

NATIVE = (
    "from streamcore.cli import main; main(['serve', *MODEL, '--port', '0', '--served-model-name', 'bench'])"
)
ASGI = """
import uvicorn
from streamcore.asgi import create_app
app = create_app(*MODEL, served_model_name="bench")
uvicorn.run(app, port=0, access_log=False)
"""


@contextmanager
def running(program: str, model: list[str]) -> Iterator[int]:
    """A server as a process of its own; its port."""
    command = [sys.executable, "-u", "-c", f"MODEL = {model!r}\n{program}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            port = wait_for_port(process.stdout)
            # A server whose output is not read stops when the pipe is full.
            Thread(target=deque, args=(process.stdout, 0), daemon=True).start()
            yield port
        finally:
            process.kill()


def wait_for_port(output: IO[str]) -> int:
    """Reads what a server says until it names its address.

    Raises:
        SystemExit: the server ended before; shows the last lines of what it said.
    """
    last: deque[str] = deque(maxlen=20)
    for line in output:
        if match := re.search(r"(?:Ready at|running on) http://127\.0\.0\.1:(\d+)", line):
            return int(match[1])
        last.append(line)
    raise SystemExit(f"the server did not start:\n{''.join(last)}")


async def stream(port: int, num_tokens: int) -> float:
    """Reads one stream to its end; seconds to its first event."""
    body = json.dumps(
        {
            "model": "bench",
            "messages": [{"role": "user", "content": "Count from 1 to 1000"}],
            "max_tokens": num_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
    ).encode()
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nConnection: close\r\n\r\n".encode() + body)
    await reader.readuntil(b"data: ")
    first = time.perf_counter() - started
    last = b""
    while piece := await reader.read(1 << 16):
        last = (last + piece)[-64:]
    assert b"[DONE]" in last, last
    writer.close()
    return first


async def measure(port: int, num_streams: int, num_tokens: int) -> tuple[float, float]:
    """Output tokens per second, and the median of the times to the first event in milliseconds."""
    started = time.perf_counter()
    firsts = await asyncio.gather(*[stream(port, num_tokens) for _ in range(num_streams)])
    took = time.perf_counter() - started
    return num_streams * num_tokens / took, statistics.median(firsts) * 1000


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="*", metavar="MODEL")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    complain_of_development_build()
    print("| streams | serve, tokens/s | ASGI, tokens/s | share | TTFT p50, ms | ASGI, ms |")
    print("|---|---|---|---|---|---|")
    with running(NATIVE, arguments.model) as native, running(ASGI, arguments.model) as asgi:
        for port in (native, asgi):
            asyncio.run(measure(port, 2, 16))
        for num_streams in arguments.streams:
            runs = [
                [asyncio.run(measure(port, num_streams, arguments.tokens)) for port in (native, asgi)]
                for _ in range(arguments.rounds)
            ]
            (ours, ours_first), (theirs, theirs_first) = (
                [statistics.median(values) for values in zip(*door, strict=True)]
                for door in zip(*runs, strict=True)
            )
            row = f"| {num_streams} | {ours:.0f} | {theirs:.0f} | {theirs / ours:.2f} "
            print(row + f"| {ours_first:.1f} | {theirs_first:.1f} |", flush=True)


if __name__ == "__main__":
    main()
