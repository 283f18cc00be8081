"""`streamcore simulate`: from the command line to the figures."""

import json
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.checkpoints import LLAMA_3_1_8B

from streamcore.cli import main
from streamcore.errors import ConfigError
from streamcore.simulation.settings import model_size
from streamcore.simulation.table import duration

# Few blocks: in a build for development the engine looks at each of them at every step.
SMALL = [
    "--requests",
    "4",
    "--prompt-len",
    "32",
    "--output-len",
    "5",
    "--num-blocks",
    "40",
    "--max-num-seqs",
    "4",
]


def run(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What a simulation of a small load prints."""
    assert main(["simulate", *SMALL, *options]) == 0
    return capsys.readouterr().out


def reports(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(capsys, "--json", *options).splitlines()]


def test_one_simulation_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    """A planner must find every figure without asking for it."""
    told = run(capsys, "--concurrency", "2", "--keys", "1", "1", "--seed", "3")
    for name in (
        "requests    4 answered, 0 refused",
        "tokens      128 in, 20 out",
        "TTFT",
        "ITL",
        "queue of key 2",
    ):
        assert name in told
    assert told.splitlines()[8].split() == ["p50", "p90", "p99", "max"]


def test_every_combination_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Policies are compared side by side, over the same load, and each row says which it is."""
    head, *rows = run(capsys, "--rate", "10", "20", "--prefix-caching", "on", "off").splitlines()
    assert head.split()[:2] == ["rate", "prefix-caching"]
    assert [row.split()[:2] for row in rows] == [["10", "on"], ["10", "off"], ["20", "on"], ["20", "off"]]


def test_options_reach_the_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    """An option that is read and forgotten gives figures for another machine."""
    (given,) = reports(
        capsys,
        *("--bandwidth", "2T", "--flops", "1e14", "--overhead-ms", "1", "--bytes-per-weight", "1"),
        *(
            "--steps-in-flight",
            "1",
            "--target-itl-ms",
            "20",
            "--block-size",
            "8",
            "--prefixes",
            "2",
            "--prefix-len",
            "16",
        ),
    )
    settings = given["settings"]
    assert settings["device"] == {
        "weight_bytes": 8.03e9,
        "kv_bytes_per_token": 131072,
        "flops_per_token": 2 * 8.03e9,
        "bytes_per_s": 2e12,
        "flops_per_s": 1e14,
        "overhead_s": 0.001,
    }
    expected = {
        "block_size": 8,
        "num_blocks": 40,
        "max_num_seqs": 4,
        "max_steps_in_flight": 1,
        "target_itl_ms": 20,
    }
    assert settings["limits"] == expected
    assert given["report"]["num_prompt_tokens"] == 4 * (16 + 32)
    # 1 ms of the host, 4.015 ms to read the weights and a little for the context.
    assert given["report"]["itl"]["p50_s"] == pytest.approx(0.00515, rel=0.03)


def test_the_size_of_a_model_is_that_of_its_config(tmp_path: Path) -> None:
    """The preset and the published config of the same model must agree, or one of them plans for another."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_3_1_8B))
    size, preset = model_size(str(tmp_path)), model_size("llama-3.1-8b")
    assert size.num_weights == pytest.approx(preset.num_weights, rel=1e-3)
    assert size.kv_bytes_per_token == preset.kv_bytes_per_token
    with pytest.raises(ConfigError, match="`--model` is `gpt-5`, it must be a folder or one of llama-3"):
        model_size("gpt-5")


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        ("--rate 0", 1, "streamcore: `rate` is 0, it must be more than 0"),
        ("--rate 1 --concurrency 2", 2, "--concurrency: not allowed with argument --rate"),
        (
            "--trace nowhere.jsonl --rate 1",
            1,
            "`--rate` has no meaning with `--trace`; `--speed` changes its pace",
        ),
        ("--trace nowhere.jsonl", 1, "streamcore: trace nowhere.jsonl cannot be read: No such file"),
        ("--prompt-len 1000", 1, "are asked for, the KV cache holds 640 tokens"),
        ("--prompt-len 2:x", 2, "`2:x` is neither a length such as 256 nor a range such as 128:1024"),
        ("--prefix-caching maybe", 2, "`maybe` is neither on nor off"),
        ("--requests -4", 2, "`-4` is not a number such as 100"),
        ("--requets 4", 2, "unknown option `--requets`, did you mean `--requests`?"),
    ],
)
def test_what_cannot_be_is_named(
    capsys: pytest.CaptureFixture[str], options: str, status: int, expected: str
) -> None:
    """A wrong option must end in a sentence about it."""
    try:
        ended: object = main(["simulate", *SMALL, *options.split()])
    except SystemExit as exit_:
        ended = exit_.code
    assert ended == status
    assert expected in capsys.readouterr().err


def test_a_model_that_does_not_fit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Figures of a model that the device cannot hold are worth nothing."""
    assert main(["simulate", "--requests", "1", "--model", "llama-3.1-70b"]) == 1
    assert "the weights take 141.2 GB, nine tenths of the memory are 72.0 GB" in capsys.readouterr().err


def test_durations_have_three_figures_and_a_unit() -> None:
    """A column of mixed units without their names would be misread."""
    told = [duration(seconds) for seconds in (0.0, 0.000123456, 0.0123456, 1.23456, 123.456)]
    assert told == ["0 ms", "0.123 ms", "12.3 ms", "1.23 s", "123 s"]


def test_ctrl_c_ends_a_simulation() -> None:
    """A load that was typed with a zero too many must not hold the terminal until it is through."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        assert main(["simulate", *SMALL, "--requests", "1000000000"]) == 130
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
