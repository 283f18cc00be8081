"""All floods of `faults.py` at once against a server with little memory: how much it takes, and how much it gives back.

    python benches/serving/ceiling.py [--memory-mib 4096] [--seconds 60]

The limit is one of the system (`ulimit -d`): beyond it the process would end. One key floods, another sends one small request
after the other, and those that it sends must be served. The table is Markdown.
"""

import argparse
import multiprocessing
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable

from faults import Server, serving, times_ms
from floods import KEYS, Connect, ask_again_and_again, chat, floods, open_again_and_again, post

from streamcore.console import complain_of_development_build

#: How long the server has to give memory back.
REST_S = 5

Attack = Callable[[Connect, threading.Event], None]


def attacks() -> list[tuple[Attack, int]]:
    """What each thread does, and how many do it: the floods, and what fills the pools that they leave out."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 60_000
    short = post("/v1/completions", b" " * 60_000, announced=60_001)
    scores = post("/v1/chat/completions", chat("whole", n=16, logprobs=True, top_logprobs=20))
    kept = post("/v1/responses", {"model": "bench", "input": "x" * 200_000, "max_output_tokens": 1})
    more: list[tuple[Attack, int]] = [
        (lambda connect, is_over: open_again_and_again(connect, head, is_over, 800), 1),
        (lambda connect, is_over: open_again_and_again(connect, short, is_over, 1500), 1),
        (lambda connect, is_over: open_again_and_again(connect, scores, is_over, 8), 1),
        (lambda connect, is_over: ask_again_and_again(connect, kept, is_over), 4),
    ]
    return [(attack, num_threads) for _, attack, num_threads in floods()] + more


def highest_of_pools(server: Server, highest: dict[str, float]) -> None:
    """Note what is held of each pool, where it is more than before."""
    for name, value in server.metrics().items():
        if "_held{" in name:
            highest[name] = max(highest.get(name, 0), value)


def attacker(attack: Attack, num_threads: int, connect: Connect, is_over: threading.Event) -> None:
    """One process of attackers: those of all floods would be in each other's way."""
    threads = [threading.Thread(target=attack, args=(connect, is_over)) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def play(server: Server, seconds: float) -> tuple[Counter[str], dict[str, float]]:
    """All floods for this long: how the other key was answered, and the most that was held."""
    fork = multiprocessing.get_context("fork")
    is_over, statuses, highest = fork.Event(), Counter[str](), dict[str, float]()
    processes = [
        fork.Process(target=attacker, args=(attack, num_threads, server.connect, is_over))
        for attack, num_threads in attacks()
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        statuses += times_ms(server, 1)[1]
        highest_of_pools(server, highest)
    is_over.set()
    for process in processes:
        process.join()
    return statuses, highest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory-mib", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=60)
    chosen = parser.parse_args()
    complain_of_development_build()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with serving("--api-key", *KEYS, memory_bytes=chosen.memory_mib << 20) as server:
        before_mib = server.memory_mib()
        statuses, highest = play(server, chosen.seconds)
        highest_mib, still_mib = server.memory_mib("VmHWM"), server.memory_mib()
        time.sleep(REST_S)
        server.check_everything_is_back()
        print(f"| limit | before | highest | at the end | {REST_S} s later | the other key |")
        print("|---|---|---|---|---|---|")
        print(
            f"| {chosen.memory_mib} MiB | {before_mib:.0f} MiB | {highest_mib:.0f} MiB | {still_mib:.0f} MiB "
            f"| {server.memory_mib():.0f} MiB | {statuses['200']} of {statuses.total()} served |"
        )
        print("\n| pool | most held | limit |")
        print("|---|---|---|")
        limits = server.metrics()
        for name, value in highest.items():
            print(
                f"| {name.split(chr(34))[1]} | {value:.0f} | {limits[name.replace('_held{', '_held_limit{')]:.0f} |"
            )


if __name__ == "__main__":
    main()
