"""Compare two running servers with a neutral client, interleaved: A B A B, a new seed every round.

    python benches/serving/compare.py --bench BENCH --checkpoint FOLDER --ours PORT --peer PORT

BENCH is a program called as `BENCH PORT CONCURRENCY REQUESTS INPUT_LEN OUTPUT_LEN CHECKPOINT MORE...` that
runs `vllm bench serve` (its Rust build, `vllm-rs`) against 127.0.0.1:PORT. Both servers must serve FOLDER under
the name "tiny". Only the ratios of one run mean something; the table is Markdown.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WARM_UP_STREAMS = 128
METRICS = {  # what the client calls it: our name, whether more is better
    "completed": ("requests answered", True),
    "output_throughput": ("output tokens/s", True),
    "p50_ttft_ms": ("TTFT p50, ms", False),
    "p99_ttft_ms": ("TTFT p99, ms", False),
    "p50_itl_ms": ("ITL p50, ms", False),
    "p99_itl_ms": ("ITL p99, ms", False),
}


def run_once(
    arguments: argparse.Namespace,
    port: int,
    concurrency: int,
    num_requests: int,
    seed: int,
    *,
    may_lose: bool = False,
) -> dict[str, float]:
    """One run of the client against one server; all requests have to be answered unless it may lose some."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            arguments.bench,
            port,
            concurrency,
            num_requests,
            arguments.input_len,
            arguments.output_len,
        ]
        command += [arguments.checkpoint, "--seed", seed, "--save-result"]
        command += ["--result-dir", folder, "--result-filename", "result.json"]
        run = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            sys.exit(f"{arguments.bench} failed:\n{run.stdout}\n{run.stderr}")
        result = json.loads((Path(folder) / "result.json").read_text())
    if result["completed"] != num_requests and not may_lose:
        sys.exit(f"port {port}: {result['completed']} of {num_requests} requests completed")
    return {name: float(result[name]) for name in METRICS if name in result}


def compare(arguments: argparse.Namespace, concurrency: int) -> None:
    """Print one row for each metric: the medians of both servers and their ratio."""
    ours: list[dict[str, float]] = []
    peer: list[dict[str, float]] = []
    num_requests = max(arguments.min_requests, arguments.requests_per_stream * concurrency)
    for round_number in range(arguments.rounds):
        seed = arguments.seed + 1000 * concurrency + round_number
        ours.append(run_once(arguments, arguments.ours, concurrency, num_requests, seed))
        may_lose = arguments.peer_may_lose
        peer.append(run_once(arguments, arguments.peer, concurrency, num_requests, seed, may_lose=may_lose))
    for name, (label, more_is_better) in METRICS.items():
        if not all(name in run for run in ours + peer):
            continue
        our_median = statistics.median(run[name] for run in ours)
        peer_median = statistics.median(run[name] for run in peer)
        better = "higher" if more_is_better else "lower"
        row = (
            concurrency,
            label,
            f"{our_median:.1f}",
            f"{peer_median:.1f}",
            f"{our_median / peer_median:.2f}",
        )
        print("| " + " | ".join(map(str, row)) + f" | {better} is better |", flush=True)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bench", required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--ours", type=int, required=True, metavar="PORT")
    parser.add_argument("--peer", type=int, required=True, metavar="PORT")
    parser.add_argument(
        "--peer-may-lose",
        action="store_true",
        help="count what the peer answers: a server that closes sockets behind streams loses requests of this client",
    )
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests-per-stream", type=int, default=3)
    parser.add_argument("--min-requests", type=int, default=8)
    parser.add_argument("--input-len", type=int, default=128)
    parser.add_argument("--output-len", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--warm-up",
        type=int,
        default=0,
        help="requests to each server before the measured ones: streamcore takes memory as it is used, some servers "
        "when they start",
    )
    arguments = parser.parse_args()
    if num_requests := arguments.warm_up:
        for port in (arguments.ours, arguments.peer):
            run_once(arguments, port, min(num_requests, WARM_UP_STREAMS), num_requests, 0, may_lose=True)
    print("| streams | | streamcore | peer | ratio | |\n|---|---|---|---|---|---|")
    for concurrency in arguments.concurrency:
        compare(arguments, concurrency)


if __name__ == "__main__":
    main()
