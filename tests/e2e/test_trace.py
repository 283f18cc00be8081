"""`--trace-file` and `streamcore replay`, as a user types them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
from tests.server_process import run_server


def streamcore(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "streamcore", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def record(path: Path, *arguments: str) -> None:
    """Serve three requests, the last of which is killed with the server."""
    with run_server("--trace-file", str(path), *arguments) as server:
        url = f"{server.url}/v1/completions"
        model = httpx.get(f"{server.url}/v1/models").json()["data"][0]["id"]
        ask: dict[str, Any] = {"model": model, "prompt": "Once upon a time", "max_tokens": 20}
        for _ in range(2):
            httpx.post(url, json=ask, timeout=60).raise_for_status()
        with httpx.stream("POST", url, json=ask | {"stream": True, "max_tokens": 200}, timeout=60) as answer:
            # Held, since an iterator that is dropped closes the connection.
            lines = answer.iter_lines()
            next(lines)
            server.read_output_until("every prompt and every answer is written to")
            server.process.kill()


def test_a_server_that_was_killed_has_left_a_trace_that_replays(tmp_path: Path) -> None:
    """The trace is wanted most when the server came to a bad end."""
    trace = tmp_path / "trace.jsonl"
    record(trace)
    # Its streams have a pace that was not asked for, and replays need the times of its steps.
    config = json.loads(trace.read_text().splitlines()[0])["config"]
    assert (config["target_itl"], config["min_prefill_share"]) == ({"secs": 0, "nanos": 100_000_000}, 4)
    assert '\n{"observe"' in trace.read_text()
    ended = streamcore("replay", trace)
    assert ended.returncode == 0, ended.stderr
    num_steps = trace.read_text().count('\n{"plan"')
    assert num_steps >= 20
    assert f"all {num_steps} steps are equal" in ended.stdout
    simulated = streamcore("simulate", "--trace", trace, "--speed", "2")
    assert "requests    3 answered, 0 refused" in simulated.stdout, simulated.stderr
    # 3.5 million weights, and keys and values of 4 layers with 2 heads of 64: no other model is put
    # in its place.
    model = "model       demo, as in the trace: 0.00695 GB of weights, 2.05 kB a token in the KV cache\n"
    assert model in simulated.stdout
    simulated = streamcore("simulate", "--trace", trace, "--device", "l4")
    assert "requests    3 answered, 0 refused" in simulated.stdout, simulated.stderr

    lines = trace.read_text().splitlines(keepends=True)
    number, line = next((n, line) for n, line in enumerate(lines, start=1) if line.startswith('{"complete"'))
    call = json.loads(line)
    call["complete"]["sampled"][0] += 1
    lines[number - 1] = json.dumps(call) + "\n"
    trace.write_text("".join(lines))
    ended = streamcore("replay", trace)
    assert ended.returncode == 1
    assert f"{trace}: line {number + 1}: column `token_ids` of step 1 differs" in ended.stderr


def test_a_scripted_server_is_traced_too(tmp_path: Path) -> None:
    """Clients are debugged against scripts, and the trace shows what they sent."""
    script, trace = tmp_path / "script.json", tmp_path / "trace.jsonl"
    script.write_text(json.dumps({"rules": [{"answer": {"text": "Hello, world", "token_delay_ms": 20}}]}))
    record(trace, f"script:{script}")
    assert streamcore("replay", trace).returncode == 0
    # A script has no weights, so a model is assumed, and the report says so.
    simulated = streamcore("simulate", "--trace", trace)
    assert "model       llama-3.1-8b, assumed: 16.1 GB of weights" in simulated.stdout, simulated.stderr


def test_a_trace_is_never_overwritten(tmp_path: Path) -> None:
    """A server that is started again after a crash must not destroy the trace of it, and must say why it does not start."""
    trace = tmp_path / "trace.jsonl"
    trace.write_text("{}\n")
    ended = streamcore("serve", "--port", "0", "--trace-file", trace)
    assert ended.returncode == 1
    expected = f"streamcore: trace file {trace} exists already; move it away, or name another one"
    assert expected in ended.stderr
    assert trace.read_text() == "{}\n"

    ended = streamcore("replay", tmp_path / "nothing.jsonl")
    assert ended.returncode == 1
    assert "nothing.jsonl cannot be read: No such file" in ended.stderr
