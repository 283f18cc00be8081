"""The check of a GPU, which has fifteen minutes when there is one: it must not fail over itself."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.cuda import floors
from tests.cuda.toolkit import ROOT
from tests.gpu import check
from tests.gpu.common import PREDICTIONS, run
from tests.gpu.common import floors as foreseen

# A check whose parts are Python, told in lines.
CHECK = """
import os, sys
from pathlib import Path
from tests.gpu.check import *
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
names = ("first", "second", "third")
listed = [Part(name, int(limit), [sys.executable, "-u", "-c", text])
          for name, limit, text in zip(names, sys.argv[2::2], sys.argv[3::2])]
sys.exit(run_all(listed, dict(os.environ), Path(sys.argv[1])))
"""
# Says a number, waits until it is in the results, and goes on as the test wants.
ONCE_WRITTEN = """
import json, os, pathlib, signal, sys, time
print(json.dumps({{"own process": os.getpid()}}))
print('{{"copy, TB/s": 4.3}}', flush=True)
while "copy, TB/s" not in pathlib.Path({results!r}).read_text():
    time.sleep(0.01)
{then}
"""
QUICK = 'print(\'{"products": "right"}\')'


def checked(folder: Path, *parts: tuple[int, str]) -> int:
    """The exit status of a check whose parts have these limits and programs."""
    arguments = [word for limit_s, program in parts for word in (str(limit_s), program)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHECK, str(folder), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True).returncode


def once_written(folder: Path, then: str) -> str:
    """A program that goes on once its number is on disk."""
    return ONCE_WRITTEN.format(results=str(folder / "results.json"), then=then)


def results_in(folder: Path) -> list[dict[str, object]]:
    """The parts of a check."""
    found: list[dict[str, object]] = json.loads((folder / "results.json").read_text())
    return found


def test_the_parts_fit_into_eight_minutes() -> None:
    """What is stopped in the middle has measured nothing."""
    assert (
        sum(part.limit_s + check.KILLED_AFTER_S / 5 for part in check.parts(is_emulated=False)) <= 8 * 60 - 30
    )
    assert check.parts(is_emulated=False)[0].name == "primitives"


def test_what_was_measured_before_the_machine_went_is_there(tmp_path: Path) -> None:
    """A lent machine is taken away in the middle of a part: minutes of measurements must not go with it."""
    killed = once_written(tmp_path, "os.kill(os.getppid(), signal.SIGKILL)")
    assert checked(tmp_path, (600, QUICK), (600, killed)) == -signal.SIGKILL
    first, second = results_in(tmp_path)
    assert (first["status"], first["numbers"]) == (0, {"products": "right"})
    assert second["status"] is None
    table = (tmp_path / "results.md").read_text()
    assert "| first | yes |" in table
    assert "| second | under way |" in table
    assert "| copy, TB/s | 4.3 |" in table


def test_who_ends_the_check_ends_its_part(tmp_path: Path) -> None:
    """A part that goes on keeps the device from the next one."""
    ended = once_written(tmp_path, "os.kill(os.getppid(), signal.SIGTERM)\nsignal.pause()")
    assert checked(tmp_path, (600, ended)) == 128 + signal.SIGTERM
    numbers = results_in(tmp_path)[0]["numbers"]
    assert isinstance(numbers, dict)
    with pytest.raises(ProcessLookupError):
        os.kill(numbers["own process"], 0)


def test_a_part_that_hangs_costs_its_limit_alone(tmp_path: Path) -> None:
    """Its own children hold its output open: a check that waits for the end of that waits for ever."""
    hanging = once_written(
        tmp_path, "import subprocess\nsubprocess.run([sys.executable, '-c', 'import signal; signal.pause()'])"
    )
    assert checked(tmp_path, (1, hanging), (600, QUICK)) == 1
    first, second = results_in(tmp_path)
    assert (first["status"], first["said"]) == (-1, [*first["said"][:-1], "stopped after 1 s"])  # type: ignore[index]
    assert (second["status"], second["numbers"]) == (0, {"products": "right"})


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
            "the device has no memory left for this part: CUDA out of memory; `--max-num-batched-tokens`",
        ),
        (
            RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with"),
            "the device failed during this part: CUDA error: an illegal memory access was encountered; start again",
        ),
    ],
)
def test_a_device_that_fails_says_it_in_one_line(
    error: RuntimeError, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line is what the table shows."""

    def failing() -> None:
        raise error

    assert run(failing) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(said)


def test_every_kernel_that_floors_knows_is_foreseen() -> None:
    """A time without a prediction beside it says nothing about the kernel."""
    assert set(foreseen()) == {kernel.title for kernel in floors.KERNELS}
    assert "Predicted, not measured" in PREDICTIONS.read_text()


def test_the_table_has_every_number() -> None:
    """It is what is copied into the documents, in a hurry."""
    results = [
        {"part": "a", "status": 0, "seconds": 1.5, "numbers": {"copy, TB/s": 4.3}},
        {"part": "b", "status": 1, "seconds": 9.0, "said": ["Traceback", "KeyError: 'x'"]},
    ]
    text = check.table(results)
    assert re.search(r"^\| a \| yes \| 1.5 \|$", text, re.MULTILINE)
    assert re.search(r"^\| b \| no: KeyError: 'x' \| 9.0 \|$", text, re.MULTILINE)
    assert "| copy, TB/s | 4.3 |" in text


def test_tests_are_counted_as_they_end() -> None:
    """Of a part that is stopped after most of its cases, it is known which of them failed."""
    said = (
        "tests/kernels/test_a.py::test_b[cuda-bf16] PASSED                 [ 50%]\n"
        "tests/kernels/test_a.py::test_c[cuda-64 of 70] FAILED             [ 75%]\n"
        "tests/kernels/test_a.py::test_d[cuda] PASSED                      [100%]\n"
    )
    failed = "tests/kernels/test_a.py::test_c[cuda-64 of 70]"
    assert check.numbers_of(said) == {"passed": 2, "failed": 1, "first that failed": failed}


def imported(path: Path, seen: set[Path]) -> set[str]:
    """The packages that a module of the tests imports where it is imported itself, and through other modules of the tests."""
    seen.add(path)
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            modules = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        for module in modules:
            names.add(module.partition(".")[0])
            file = (ROOT / module.replace(".", "/")).with_suffix(".py")
            if module.startswith("tests.") and file.is_file() and file not in seen:
                names |= imported(file, seen)
    return names


def test_the_check_needs_pytest_and_what_the_wheel_needs() -> None:
    """The machine with the device has no network, and not what a developer has installed."""
    scripts = [*(ROOT / "tests" / "gpu").glob("*.py"), *(ROOT / "tests" / "kernels").glob("*.py")]
    found: set[str] = set()
    for path in [*scripts, ROOT / "tests" / "conftest.py"]:
        found |= imported(path, set())
    assert found - sys.stdlib_module_names == {"tests", "streamcore", "torch", "safetensors", "pytest"}
