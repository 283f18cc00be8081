"""Clients that do harm, against a server that plays a script: what the others notice, and what is left behind.

    python benches/serving/faults.py flood [--requests 10000]
    python benches/serving/faults.py slow-readers [--readers 500] [--rounds 3]
    python benches/serving/faults.py drips [--clients 200]
    python benches/serving/faults.py neighbour [--requests 100] [--only NAME]

The model costs nothing, so that what is measured is the server. The tables are Markdown.
"""

import argparse
import json
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.request import Request, urlopen

from floods import KEYS, OTHER, chat, floods, post

from streamcore.console import complain_of_development_build

SCRIPT = {
    "models": ["bench"],
    "rules": [
        {"when": {"equals": "short"}, "answer": {"pieces": ["word "] * 10, "token_delay_ms": 1}},
        {"when": {"equals": "steady"}, "answer": {"pieces": ["word "] * 200, "token_delay_ms": 20}},
        {"when": {"equals": "whole"}, "answer": {"pieces": ["word "] * 6000}},
        {"when": {"equals": "long"}, "answer": {"pieces": ["word "] * 6000, "token_delay_ms": 20}},
    ],
}


class Server:
    """`streamcore serve script:FILE` as a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.pid = process.pid
        self.port = port

    def connect(self, receive_bytes: int | None = None) -> socket.socket:
        """A connection, maybe with a small window."""
        client = socket.socket()
        if receive_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.connect(("127.0.0.1", self.port))
        return client

    def memory_mib(self, what: str = "VmRSS") -> float:
        """Resident memory now (VmRSS) or at its highest (VmHWM), in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"{what}:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) / 1024

    def metrics(self) -> dict[str, float]:
        """`/metrics` by name and labels."""
        request = Request(f"http://127.0.0.1:{self.port}/metrics", headers={"X-Api-Key": OTHER})
        page = urlopen(request).read().decode()
        lines = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def check_everything_is_back(self) -> None:
        """Waits until no request is left, then asks for one."""
        deadline = time.monotonic() + 30
        while (metrics := self.metrics())["streamcore_num_requests_running"] or metrics[
            "streamcore_num_requests_waiting"
        ]:
            assert time.monotonic() < deadline, "requests are left"
        assert metrics["streamcore_kv_blocks_free"] == metrics["streamcore_kv_blocks"], "blocks are left"
        with self.connect() as client:
            client.sendall(post("/v1/chat/completions", chat("short"), OTHER))
            assert b'"content":"' + b"word " * 10 + b'"' in read_to_end(client), "the next answer is wrong"


#: The command with a limit on the memory that is its own.
LIMITED = """
import resource, sys
from streamcore import cli
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv.pop(1)),) * 2)
sys.exit(cli.main())
"""


@contextmanager
def serving(*options: str, memory_bytes: int | None = None) -> Iterator[Server]:
    """A server for the length of a `with` block; of its log only errors are shown."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.json"
        path.write_text(json.dumps(SCRIPT))
        program = ["-m", "streamcore"] if memory_bytes is None else ["-c", LIMITED, str(memory_bytes)]
        command = [sys.executable, *program, "serve", f"script:{path}", "--port", "0", *options]
        environment = os.environ | {"STREAMCORE_LOG": "error"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if match := re.search(rb"Ready at http://127\.0\.0\.1:(\d+)", line):
                        server = Server(process, int(match[1]))
                        server.check_everything_is_back()
                        yield server
                        return
                raise SystemExit("the server did not start, its reason is above")
            finally:
                process.kill()


def request(text: str, *, stream: bool = False, close: bool = False) -> bytes:
    body = json.dumps({"model": "bench", "messages": [{"role": "user", "content": text}], "stream": stream})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{'Connection: close' if close else 'Connection: keep-alive'}\r\n\r\n{body}".encode()


def read_to_end(client: socket.socket) -> bytes:
    read = b""
    while part := client.recv(65536):
        read += part
    return read


def flood(num_requests: int) -> None:
    """All requests at once for a queue of a hundred; the connections are open before, so that a second suffices."""
    with serving("--max-waiting-requests", "100", "--max-num-seqs", "4") as server:
        before_mib = server.memory_mib()
        clients = [server.connect() for _ in range(num_requests)]
        sent, start = request("short", close=True), time.monotonic()
        for client in clients:
            client.sendall(sent)
        took_s = time.monotonic() - start
        answers: dict[socket.socket, bytes] = dict.fromkeys(clients, b"")
        statuses, slowest_s = Counter[str](), {"200": 0.0, "429": 0.0}
        with selectors.DefaultSelector() as selector:
            for client in clients:
                selector.register(client, selectors.EVENT_READ, client)
            while selector.get_map():
                ready = selector.select(timeout=60)
                assert ready, f"{len(selector.get_map())} clients hang"
                for key, _ in ready:
                    client = key.data
                    part = client.recv(65536)
                    answers[client] += part
                    if not part:
                        status = check_answer(answers[client])
                        statuses[status] += 1
                        slowest_s[status] = time.monotonic() - start
                        selector.unregister(client)
                        client.close()
        server.check_everything_is_back()
        print("| requests | sent within | 200 | 429 | last 429 | last 200 | memory before, highest, after |")
        print("|---|---|---|---|---|---|---|")
        print(
            f"| {num_requests} | {took_s:.2f} s | {statuses['200']} | {statuses['429']} | {slowest_s['429']:.2f} s "
            f"| {slowest_s['200']:.2f} s | {before_mib:.0f}, {server.memory_mib('VmHWM'):.0f}, {server.memory_mib():.0f} MiB |"
        )


def check_answer(answer: bytes) -> str:
    """The status; asserts that the answer is whole, and that a refusal is an honest one."""
    head, body = answer.split(b"\r\n\r\n", 1)
    parsed, status = json.loads(body), head[9:12].decode()
    if status == "200":
        assert parsed["choices"][0]["message"]["content"] == "word " * 10
    else:
        assert status == "429", answer
        assert parsed["error"]["code"] == "queue_full"
        assert b"\r\nretry-after: " in head
    return status


def latencies_ms(server: Server, text: str = "steady") -> list[float]:
    """Times between the tokens of one stream that is read as it comes."""
    with server.connect() as client:
        client.sendall(request(text, stream=True, close=True))
        times: list[float] = []
        read = b""
        while part := client.recv(65536):
            times += [time.monotonic()] * part.count(b'"content":"word ')
            read = read[-32:] + part
        assert b"data: [DONE]\n\n" in read
    return [1000 * (later - earlier) for earlier, later in pairwise(times)]


def p99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * len(values))]


def slow_readers(num_readers: int, num_rounds: int) -> None:
    """One client that reads as fast as it can, alone and beside many that take eight bytes a second, in turns."""
    with serving("--max-num-seqs", str(num_readers + 1)) as server:
        ratios = []
        print("| round | ITL p50 alone, beside | ITL p99 alone, beside | ratio of p99 | server's memory |")
        print("|---|---|---|---|---|")
        for number in range(1, num_rounds + 1):
            alone = latencies_ms(server) + latencies_ms(server)
            readers = [server.connect(receive_bytes=1024) for _ in range(num_readers)]
            for reader in readers:
                reader.sendall(request("long", stream=True))
            is_over = threading.Event()
            sipping = threading.Thread(target=sip, args=(readers, is_over))
            sipping.start()
            while server.metrics()["streamcore_num_requests_running"] < num_readers:
                time.sleep(0.05)
            beside = latencies_ms(server) + latencies_ms(server)
            memory_mib = server.memory_mib()
            assert server.metrics()["streamcore_num_requests_running"] == num_readers, (
                "the slow readers are gone"
            )
            is_over.set()
            sipping.join()
            for reader in readers:
                reader.close()
            server.check_everything_is_back()
            ratios.append(p99(beside) / p99(alone))
            print(
                f"| {number} | {statistics.median(alone):.1f}, {statistics.median(beside):.1f} ms "
                f"| {p99(alone):.1f}, {p99(beside):.1f} ms | {ratios[-1]:.2f} | {memory_mib:.0f} MiB |"
            )
        print(f"\nmedian ratio {statistics.median(ratios):.2f}")


def sip(readers: list[socket.socket], is_over: threading.Event) -> None:
    """Takes eight bytes a second from each, one after the other."""
    while True:
        for reader in readers:
            if is_over.wait(1 / len(readers)):
                return
            reader.recv(8, socket.MSG_DONTWAIT)


def drips(num_clients: int) -> None:
    """Heads and bodies that come byte by byte, one a second: ended by the server's limits, unnoticed by the others."""
    with serving() as server:
        alone = latencies_ms(server) + latencies_ms(server)
        start, ended = time.monotonic(), dict[str, list[float]]()
        head, body = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n", request("short")
        dripping = []
        for number in range(num_clients):
            client = server.connect()
            client.sendall(head if number % 2 else body[: body.index(b"\r\n\r\n") + 4])
            dripping.append((client, b"x" if number % 2 else b" "))
        beside: list[float] = []
        measuring = threading.Thread(
            target=lambda: beside.extend(latencies_ms(server) + latencies_ms(server))
        )
        measuring.start()
        while dripping:
            time.sleep(1)
            for client, byte in list(dripping):
                try:
                    answer = client.recv(4096, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    client.send(byte)
                    continue
                code = json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"]
                ended.setdefault(code, []).append(time.monotonic() - start)
                dripping.remove((client, byte))
                client.close()
            assert time.monotonic() - start < 90, f"{len(dripping)} clients still drip"
        measuring.join()
        server.check_everything_is_back()
        for code, times in sorted(ended.items()):
            print(f"{len(times)} ended by `{code}` after {min(times):.0f} to {max(times):.0f} s")
        print(f"ITL p99 alone {p99(alone):.1f} ms, beside {p99(beside):.1f} ms")


def neighbour(num_requests: int, only: str | None) -> None:
    """One key floods, another sends one small request after the other: how long these take, and how many are served."""
    print("| flood | p50 alone, beside | p99 alone, beside | served | held at most | memory highest |")
    print("|---|---|---|---|---|---|")
    for name, attack, num_threads in floods():
        if only in (None, name):
            with serving("--api-key", *KEYS, "--max-waiting-requests", "64", "--max-num-seqs", "8") as server:
                alone, _ = times_ms(server, num_requests)
                is_over = threading.Event()
                attackers = [
                    threading.Thread(target=attack, args=(server.connect, is_over))
                    for _ in range(num_threads)
                ]
                for attacker in attackers:
                    attacker.start()
                time.sleep(3)
                beside, statuses = times_ms(server, num_requests)
                held = {pool: amount for pool, amount in server.metrics().items() if "_held{" in pool}
                is_over.set()
                for attacker in attackers:
                    attacker.join()
                most = max(held, key=lambda pool: held[pool])
                print(
                    f"| {name} | {statistics.median(alone):.1f}, {statistics.median(beside):.1f} ms "
                    f"| {p99(alone):.1f}, {p99(beside):.1f} ms | {statuses['200']} of {num_requests} "
                    f"| {held[most] / 2**20:.0f} Mi of {most} | {server.memory_mib('VmHWM'):.0f} MiB |",
                    flush=True,
                )


def times_ms(server: Server, num_requests: int) -> tuple[list[float], Counter[str]]:
    """How long each of these requests takes, one after the other, and how they are answered."""
    times, statuses = [], Counter[str]()
    for _ in range(num_requests):
        start = time.monotonic()
        with server.connect() as client:
            client.sendall(post("/v1/chat/completions", chat("short"), OTHER))
            statuses[read_to_end(client)[9:12].decode()] += 1
        times.append(1000 * (time.monotonic() - start))
    return times, statuses


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("flood").add_argument("--requests", type=int, default=10_000)
    readers = kinds.add_parser("slow-readers")
    readers.add_argument("--readers", type=int, default=500)
    readers.add_argument("--rounds", type=int, default=3)
    kinds.add_parser("drips").add_argument("--clients", type=int, default=200)
    neighbours = kinds.add_parser("neighbour")
    neighbours.add_argument("--requests", type=int, default=100)
    neighbours.add_argument("--only")
    chosen = parser.parse_args()
    complain_of_development_build()
    if chosen.kind == "flood":
        flood(chosen.requests)
    elif chosen.kind == "slow-readers":
        slow_readers(chosen.readers, chosen.rounds)
    elif chosen.kind == "drips":
        drips(chosen.clients)
    else:
        neighbour(chosen.requests, chosen.only)


if __name__ == "__main__":
    main()
