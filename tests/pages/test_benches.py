"""If one of these fails, a benchmark cannot be run as its page says, or hides why."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.pages.reader import ROOT
from tests.pages.ways import DEMO

PYTHON = ROOT / "python"
SCRIPT = {"rules": [{"answer": {"text": "one two three four"}}]}


def bench(
    program: str, *arguments: object, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "benches" / program), *map(str, arguments)]
    environment = os.environ | (environment or {})
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("program", "arguments", "rows"),
    [
        ("serving/doors.py", ("SCRIPT", "--streams", 1, "--tokens", 4, "--rounds", 1), ["| 1 | "]),
        (
            "serving/constrained.py",
            ("--streams", 1, "--tokens", 4, "--rounds", 1),
            ["| free | ", "| a pattern | "],
        ),
        ("serving/faults.py", ("flood", "--requests", 40), ["| 40 | "]),
        ("serving/ceiling.py", ("--seconds", 1), ["| 4096 MiB | ", "| answer_bytes | "]),
        (
            "serving/builds.py",
            (DEMO, PYTHON, PYTHON, "--streams", 2, "--prompt", 4, "--tokens", 4, "--rounds", 1),
            ["| 2 | "],
        ),
        ("crossing.py", ("--rows", 4, "--steps", 20), ["4 rows: median "]),
        (
            "runner/perplexity.py",
            (DEMO, "--quantize", "none,int8", "--pieces", 1),
            ["| demo_model | none | ", "| demo_model | int8 | "],
        ),
        (
            "kernels/sampling.py",
            ("--vocab", 300, "--rows", 2, "--rounds", 1),
            ["| greedy | flat | 300 | 2 |", "| temperature 0.8"],
        ),
        ("runner/step.py", (DEMO, "--rows", 2, "--steps", 2), ["| greedy | 2 |", "| temperature 0.8"]),
        (
            "runner/operations.py",
            (DEMO, "--rows", 2, "--context", 4, "--rounds", 2, "--quantize-activations", "int8"),
            ["2 tokens of 2 sequences, ", "| PagedAttention | ", "| forward pass, "],
        ),
        (
            "runner/operations.py",
            (DEMO, "--prompts", 2, "--context", 4, "--rounds", 2),
            ["8 tokens of 2 sequences, ", "| PagedAttention | ", "| forward pass, "],
        ),
    ],
)
def test_small_run_gives_its_rows(
    tmp_path: Path, program: str, arguments: tuple[object, ...], rows: list[str]
) -> None:
    """A benchmark that nothing runs is broken on the day on which a figure is wanted."""
    (tmp_path / "script.json").write_text(json.dumps(SCRIPT))
    script = f"script:{tmp_path / 'script.json'}"
    ended = bench(program, *(script if argument == "SCRIPT" else argument for argument in arguments))
    assert ended.returncode == 0, ended.stderr
    for row in rows:
        assert any(line.startswith(row) for line in ended.stdout.splitlines()), ended.stdout


@pytest.mark.parametrize(
    ("program", "arguments", "environment", "reason"),
    [
        ("serving/doors.py", ["nowhere"], {}, "model folder nowhere does not exist"),
        ("serving/faults.py", ["flood"], {"STREAMCORE_API_KEY": ""}, "`STREAMCORE_API_KEY` has an empty key"),
    ],
)
def test_server_that_does_not_start_says_why(
    program: str, arguments: list[str], environment: dict[str, str], reason: str
) -> None:
    """`the server did not start` alone sends the reader into the source."""
    ended = bench(program, *arguments, environment=environment)
    assert ended.returncode == 1
    assert reason in ended.stderr
    assert "the server did not start" in ended.stderr
