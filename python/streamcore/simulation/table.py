"""What simulations found, for people."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_Report = Mapping[str, Any]

_COLUMNS: Mapping[str, Callable[[_Report], str]] = {
    "req/s": lambda report: f"{report['requests_per_s']:.2f}",
    "tok/s": lambda report: f"{report['output_tokens_per_s']:.0f}",
    "TTFT p50": lambda report: duration(report["ttft"]["p50_s"]),
    "p99": lambda report: duration(report["ttft"]["p99_s"]),
    "ITL p50": lambda report: duration(report["itl"]["p50_s"]),
    "p99 ": lambda report: duration(report["itl"]["p99_s"]),
    "queue p99": lambda report: duration(report["queue_time"]["p99_s"]),
    "running": lambda report: f"{report['mean_seqs']:.1f}",
    "KV peak": lambda report: f"{report['peak_kv_usage']:.0%}",
    "hits": lambda report: f"{report['prefix_hit_rate']:.0%}",
    "preempted": lambda report: str(report["num_preemptions"]),
    "refused": lambda report: str(report["num_refused"]),
}


def duration(seconds: float) -> str:
    """Three figures and a unit."""
    if seconds >= 100:
        return f"{seconds:.0f} s"
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1000:.3g} ms"


def render(results: Sequence[tuple[Mapping[str, Any], _Report]]) -> str:
    """One row for each simulation: what is different about it, then the figures."""
    names = list(results[0][0])
    head = [name.replace("_", "-") for name in names] + [title.strip() for title in _COLUMNS]
    rows = [
        [_value(values[name]) for name in names] + [cell(report) for cell in _COLUMNS.values()]
        for values, report in results
    ]
    return _aligned([head, *rows])


def render_subject(subject: Mapping[str, str], device: Mapping[str, float]) -> str:
    """What was simulated: a figure without it would be taken for one of another device or model."""
    reads, computes = device["bytes_per_s"] / 1e12, device["flops_per_s"] / 1e12
    weights, kv_cache = device["weight_bytes"] / 1e9, device["kv_bytes_per_token"] / 1e3
    return (
        f"device      {subject['device']}: {reads:.3g} TB/s, {computes:.3g} TFLOP/s\n"
        f"model       {subject['model']}: {weights:.3g} GB of weights, {kv_cache:.3g} kB a token in the KV cache\n"
    )


def render_one(report: _Report) -> str:
    """All that one simulation found, one thing in each line."""
    left_out = f", {report['num_left_out']} have no answer in the trace" if report["num_left_out"] else ""
    lines = {
        "requests": f"{report['num_requests']} answered, {report['num_refused']} refused{left_out}",
        "duration": duration(report["duration_s"]),
        "throughput": f"{report['requests_per_s']:.2f} requests/s, {report['output_tokens_per_s']:.0f} tokens/s",
        "tokens": f"{report['num_prompt_tokens']} in, {report['num_output_tokens']} out",
        "steps": f"{report['num_steps']}, with {report['mean_seqs']:.1f} requests on average; "
        f"device busy {report['device_busy']:.0%}",
        "KV cache": f"peak {report['peak_kv_usage']:.0%}, {report['prefix_hit_rate']:.0%} of prompt tokens cached, "
        f"{report['num_preemptions']} preemptions",
        "waiting": f"at most {report['peak_waiting']}",
    }
    width = max(map(len, lines))
    told = "".join(f"{name:<{width}}  {value}\n" for name, value in lines.items())
    times = {
        "TTFT": report["ttft"],
        "ITL": report["itl"],
        "request": report["latency"],
        "queue": report["queue_time"],
    }
    by_key = report["queue_time_by_key"]
    if len(by_key) > 1:
        times |= {f"queue of key {key}": summary for key, summary in by_key.items()}
    rows = [[name, *map(duration, summary.values())] for name, summary in times.items()]
    return told + "\n" + _aligned([["", "p50", "p90", "p99", "max"], *rows])


def _value(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else f"{value:g}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(line.rstrip() + "\n" for line in lines)
