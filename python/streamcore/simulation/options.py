"""The options of `streamcore simulate`."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from streamcore.config import parse_bytes
from streamcore.errors import ConfigError
from streamcore.simulation.presets import DEVICES, MODELS


def lengths(text: str) -> tuple[int, int]:
    """Read `256`, or a range such as `128:1024`."""
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"`{text}` is neither a length such as 256 nor a range such as 128:1024"
        )
    return int(match[1]), int(match[2] or match[1])


def count(text: str) -> int:
    """Read a number that is not negative."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"`{text}` is not a number such as 100")
    return int(text)


def at_least_1(text: str) -> int:
    """Read a number that is not 0."""
    number = count(text)
    if number == 0:
        raise argparse.ArgumentTypeError("it is 0, it must be at least 1")
    return number


def on_or_off(text: str) -> bool:
    """Read `on` or `off`."""
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"`{text}` is neither on nor off")
    return text == "on"


def number_of_bytes(text: str) -> int:
    """Read a number of bytes such as `80G`."""
    try:
        return parse_bytes(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_options(parser: argparse.ArgumentParser) -> None:
    """Define every option; those of limits and pace take several values, and each combination is
    simulated.

    What is not given is None, so that an option without effect can be refused.
    """
    _add_load(parser.add_argument_group("load"))
    _add_device(parser.add_argument_group("model and device"))
    _add_limits(
        parser.add_argument_group("limits", "Each takes several values; every combination is simulated.")
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each simulation")


def _add_load(load: argparse._ArgumentGroup) -> None:
    load.add_argument(
        "--trace", type=Path, metavar="FILE", help="the load of `streamcore serve --trace-file FILE`"
    )
    load.add_argument("--speed", type=float, help="play the trace this many times as fast (default: 1)")
    load.add_argument("--requests", type=at_least_1, metavar="N", help="requests (default: 10000)")
    pace = load.add_mutually_exclusive_group()
    pace.add_argument("--rate", type=float, nargs="+", metavar="R", help="requests a second, at random times")
    pace.add_argument(
        "--concurrency",
        type=count,
        nargs="+",
        metavar="N",
        help="clients, each of which waits for its answer before it sends the next (default: 64)",
    )
    text = "tokens of a prompt, or a range such as 128:1024 (default: 512)"
    load.add_argument("--prompt-len", type=lengths, metavar="LEN", help=text)
    text = "tokens of an answer, or a range (default: 128)"
    load.add_argument("--output-len", type=lengths, metavar="LEN", help=text)
    text = "prompts begin with one of this many shared prefixes (default: none)"
    load.add_argument("--prefixes", type=count, metavar="N", help=text)
    text = "tokens of a prefix, which come before those of the prompt (default: 512)"
    load.add_argument("--prefix-len", type=count, metavar="N", help=text)
    text = "share of each API key in the requests, such as 100 1 (default: one key)"
    load.add_argument("--keys", type=float, nargs="+", metavar="SHARE", help=text)
    load.add_argument("--seed", type=count, help="the same seed makes the same load (default: 0)")


def _add_device(group: argparse._ArgumentGroup) -> None:
    text = f"{', '.join(MODELS)} a folder with a config.json, or a name like org/name; else that of the trace, or llama-3.1-8b"
    group.add_argument("--model", help=text)
    text = "bytes of a weight: 2, or less for quantised weights (default: 2)"
    group.add_argument("--bytes-per-weight", type=float, default=2.0, metavar="BYTES", help=text)
    text = "one of the GPUs that are known (default: h100)"
    group.add_argument("--device", choices=sorted(DEVICES), help=text)
    text = "bytes that the device reads in a second, such as 3T; else 80 %% of its peak"
    group.add_argument("--bandwidth", type=number_of_bytes, metavar="BYTES", help=text)
    text = "operations that it makes in a second, such as 5e14; else half of its peak"
    group.add_argument("--flops", type=float, metavar="N", help=text)
    text = "memory of the device, such as 80G, of which nine tenths are used; else its own"
    group.add_argument("--memory", type=number_of_bytes, metavar="BYTES", help=text)
    text = "what the host needs for a step, in milliseconds (default: 0.5)"
    group.add_argument("--overhead-ms", type=float, default=0.5, metavar="MS", help=text)


def _add_limits(limits: argparse._ArgumentGroup) -> None:
    def add(option: str, kind: Callable[[str], float], text: str) -> None:
        limits.add_argument(option, type=kind, nargs="+", metavar="MS" if kind is float else "N", help=text)

    add("--block-size", count, "tokens in a block, with as many tokens in all; else that of the trace, or 16")
    add(
        "--num-blocks",
        count,
        "blocks; else as many as the memory holds, or those of a trace without `--device` and `--memory`",
    )
    add("--max-num-batched-tokens", count, "tokens in a step; else that of the trace, or 8192")
    add("--max-num-seqs", count, "requests that run at once; else that of the trace, or 256")
    add("--steps-in-flight", count, "1 or 2; else that of the trace, or 2")
    add(
        "--target-itl-ms",
        float,
        "what a step with decodes should take, 0 for none; else that of the trace, or the server's default",
    )
    limits.add_argument(
        "--prefix-caching",
        type=on_or_off,
        nargs="+",
        metavar="on|off",
        help="whether prompts that begin alike share blocks; else as in the trace, or on",
    )
    limits.add_argument(
        "--max-waiting-requests",
        type=count,
        metavar="N",
        help="requests that wait before others are refused (default: 2048)",
    )
