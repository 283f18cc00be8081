"""`streamcore simulate`: from the command line to the figures."""

import argparse
import json
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.checkpoints import LLAMA_3_1_8B

from streamcore.cli import main
from streamcore.errors import ConfigError
from streamcore.simulation.options import add_options
from streamcore.simulation.settings import choose_model, combinations, model_size
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
    assert told.splitlines()[10].split() == ["p50", "p90", "p99", "max"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            (),
            [
                "device      h100, assumed: 2.68 TB/s, 494 TFLOP/s",
                "model       llama-3.1-8b, assumed: 16.1 GB of",
            ],
        ),
        (
            ("--device", "l4", "--model", "llama-3.2-1b"),
            ["device      l4: 0.24 TB/s", "model       llama-3.2-1b: 2.48 GB"],
        ),
        (
            ("--rate", "1", "2", "--device", "b200"),
            ["device      b200: 6.4 TB/s", "model       llama-3.1-8b, assumed: "],
        ),
    ],
)
def test_device_and_model_are_named(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], expected: list[str]
) -> None:
    """Figures without them are taken for those of another device, in a table as in a full report."""
    told = run(capsys, *options).splitlines()
    assert [line.startswith(start) for line, start in zip(told, expected, strict=False)] == [True, True], told


def test_every_combination_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Policies are compared side by side, over the same load, and each row says which it is."""
    told = run(capsys, "--rate", "10", "20", "--prefix-caching", "on", "off")
    head, *rows = told.split("\n\n")[1].splitlines()
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


def limits(*options: str) -> dict[str, Any]:
    """The limits that these options ask for."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    given = vars(parser.parse_args(options))
    ((_, settings),) = combinations(given, choose_model(given))
    found: dict[str, Any] = settings["limits"]
    return found


def test_a_trace_is_played_to_the_memory_of_the_device() -> None:
    """An L4 with the KV cache of the H200 that the trace comes from looks as if it were enough."""
    trace = ("--trace", "trace.jsonl", "--model", "llama-3.1-8b")
    assert limits(*trace) == {}
    assert limits(*trace, "--block-size", "32") == {"block_size": 32}
    # Nine tenths of 24 GB, less 16.06 GB of weights, of 128 KiB for each token.
    assert limits(*trace, "--device", "l4") == {"num_kv_tokens": 42266}
    assert limits(*trace, "--memory", "24G") == {"num_kv_tokens": 42266}
    assert limits(*trace, "--device", "l4", "--num-blocks", "9") == {"num_blocks": 9}
    assert limits("--device", "l4") == {"num_kv_tokens": 42266}


def test_the_size_of_a_model_is_that_of_its_config(tmp_path: Path) -> None:
    """The preset and the published config of the same model must agree, or one of them plans for another."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_3_1_8B))
    size, preset = model_size(str(tmp_path)), model_size("llama-3.1-8b")
    assert size.num_weights == pytest.approx(preset.num_weights, rel=1e-3)
    assert size.kv_bytes_per_token == preset.kv_bytes_per_token
    with pytest.raises(
        ConfigError, match="`--model` is `gpt-5`, it must be a folder, a name like org/name or one of llama-3"
    ):
        model_size("gpt-5")


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        ("--rate 0", 1, "streamcore: `rate` is 0, it must be more than 0"),
        ("--rate 1 --concurrency 2", 2, "--concurrency: not allowed with argument --rate"),
        (
            "--prompt-len 1000",
            1,
            "maximum context length is 640 tokens, as many as the KV cache holds, the prompt has 1000",
        ),
        ("--prompt-len 2:x", 2, "`2:x` is neither a length such as 256 nor a range such as 128:1024"),
        ("--prefix-caching maybe", 2, "`maybe` is neither on nor off"),
        ("--requests 0", 2, "argument --requests: it is 0, it must be at least 1"),
        ("--requests -4", 2, "`-4` is not a number such as 100"),
        ("--rate nan", 2, "argument --rate: invalid float value: 'nan'"),
        ("--request 4", 2, "unknown option `--request`, did you mean `--requests`?"),
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


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--trace nowhere.jsonl", "trace nowhere.jsonl cannot be read: No such file"),
        (
            "--trace nowhere.jsonl --rate 1",
            "`--rate` has no meaning with `--trace`; `--speed` changes its pace",
        ),
        (
            "--trace nowhere.jsonl --prompt-len 9",
            "`--prompt-len` has no meaning with `--trace`; the trace brings its own requests",
        ),
        ("--trace nowhere.jsonl --seed 0", "`--seed` has no meaning with `--trace`"),
        ("--speed 2", "`--speed` has no meaning without `--trace`"),
        ("--prefix-len 9", "`--prefix-len` has no meaning without `--prefixes`"),
        ("--concurrency 9 --max-waiting-requests 9", "has no meaning without `--rate` or `--trace`"),
        ("--memory 80G --num-blocks 9", "`--memory` has no meaning with `--num-blocks`"),
    ],
)
def test_an_option_without_effect_is_refused(
    capsys: pytest.CaptureFixture[str], options: str, expected: str
) -> None:
    """A user who gives one would read the figures as those of something else."""
    assert main(["simulate", *options.split()]) == 1
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
