"""Runs on a machine with a GPU what only a device can say, and writes the results as they come.

Run it with: python tests/gpu/check.py --wheel FILE --out FOLDER

It needs a streamcore wheel that was built elsewhere (or an installed one), torch for CUDA, pytest without any plugin, and
this checkout's `tests` and `docs/gpu.md`: no network, no compiler. Each part has a time limit and a process of its own, so
that a fault of the device ends one part; the limits are less than eight minutes together. `results.json` has all numbers,
`results.md` a table: both are there, whole, at any moment, with what has been measured until then. `said.txt` has
everything that the parts print. `--emulated` takes the emulator for the device, to try the script itself where there is none;
`--emulated LIBRARY` one that was compiled elsewhere.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTEST = [*("-m", "pytest", "-v", "--tb=short", "-c", "/dev/null", "-p", "no:cacheprovider")]
PYTEST += ["--import-mode=importlib", "--rootdir", str(ROOT), "-W", "ignore"]
KILLED_AFTER_S = 10
"""What a process that was killed has to be gone."""


@dataclass(frozen=True)
class Part:
    """A part of the check: a command that must end with status 0 within some seconds."""

    name: str
    limit_s: int
    command: list[str]


def parts(is_emulated: bool) -> list[Part]:
    """All of them, in order."""
    kind = "emulated" if is_emulated else "cuda"
    kernels = [*PYTEST, str(ROOT / "tests" / "kernels")]
    one = "decodes and test_mixtures or test_products and 130-520-9 or test_narrow_experts and 9"
    # The emulator takes minutes for what a device does at once.
    all_kernels = ["-k", "emulated and test_gated"] if is_emulated else ["-m", "gpu"]

    def python(name: str, limit_s: int, *arguments: str) -> Part:
        # The emulator may take its time: what counts is that each part comes to its end.
        return Part(name, limit_s * (20 if is_emulated else 1), [sys.executable, *arguments])

    def script(name: str, limit_s: int, file: str, *arguments: str) -> Part:
        return python(name, limit_s, str(ROOT / "tests" / "gpu" / f"{file}.py"), *arguments)

    listed = [
        script("primitives", 30, "primitives"),
        python("one case of each kernel", 35, *kernels, "-k", f"{kind} and bf16 and ({one})"),
        python("all cases of all kernels", 100, *kernels, *all_kernels),
        script("sampling and log-probabilities", 25, "measure", "sampling"),
        script("model: against the CPU, eager, captured, two in flight", 50, "measure", "model"),
        script("times", 75, "times"),
        script("workload of the small model", 55, "workloads", "small"),
        script("workload of the large model", 50, "workloads", "large"),
    ]
    if not is_emulated and (sanitizer := shutil.which("compute-sanitizer")):
        small = "(test_head_shapes or test_rope_and_store_kv) and bf16"
        checked = [sanitizer, sys.executable, *kernels, "-m", "gpu", "-k", small]
        listed.insert(3, Part("compute-sanitizer", 30, checked))
    return listed


class Results:
    """What is known so far, on disk at any moment."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.said = folder / "said.txt"
        self.said.write_bytes(b"")
        self.parts: list[dict[str, Any]] = []

    def write(self) -> None:
        """Writes both files anew; who is killed meanwhile leaves those of before."""
        self._replace("results.md", table(self.parts))
        self._replace("results.json", json.dumps(self.parts, indent=1))

    def _replace(self, name: str, text: str) -> None:
        partial = self._folder / f"{name}.new"
        partial.write_text(text)
        partial.replace(self._folder / name)


def numbers_of(said: str) -> dict[str, Any]:
    """The numbers in what a part printed: those of its lines of JSON, and the tests by how they ended."""
    numbers: dict[str, Any] = {}
    for line in said.splitlines():
        if line.startswith("{"):
            numbers |= json.loads(line)
    ends = re.findall(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED)\b", said, re.MULTILINE)
    for _, end in ends:
        numbers[end.lower()] = numbers.get(end.lower(), 0) + 1
    failed = [name for name, end in ends if end in ("FAILED", "ERROR")]
    return numbers | ({"first that failed": failed[0]} if failed else {})


def run_part(part: Part, environment: dict[str, str], results: Results) -> dict[str, Any]:
    """Whether the part passed, its numbers, and what it printed last; all of it is written as it comes."""
    started, begin = time.monotonic(), results.said.stat().st_size
    result: dict[str, Any] = {"part": part.name, "status": None, "seconds": 0.0}
    results.parts.append(result)
    results.write()

    def note() -> None:
        with results.said.open("rb") as written:
            written.seek(begin)
            said = written.read().decode(errors="replace")
        # The last line may not be whole yet.
        whole = said[: said.rfind("\n") + 1]
        result["seconds"] = round(time.monotonic() - started, 1)
        result["numbers"], result["said"] = numbers_of(whole), whole.splitlines()[-12:]
        results.write()

    with results.said.open("ab") as said:
        process = subprocess.Popen(
            part.command, cwd=ROOT, env=environment, stdout=said, stderr=said, start_new_session=True
        )
    try:
        status = None
        while status is None and time.monotonic() - started < part.limit_s:
            status = ended(process, 0.5)
            note()
    finally:
        # What the part has started ends with it.
        kill_group(process)
    if status is None:
        with results.said.open("ab") as said:
            said.write(f"stopped after {part.limit_s} s\n".encode())
    result["status"] = -1 if status is None else status
    note()
    return result


def ended(process: "subprocess.Popen[bytes]", within_s: float) -> int | None:
    """The status of a process, None if it does not end in time."""
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        return None


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kills a process and those that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    # One that hangs in the driver stays; the next part goes on beside it.
    ended(process, KILLED_AFTER_S)


_WORDS = {None: "under way", 0: "yes"}


def table(results: list[dict[str, Any]]) -> str:
    """The results for people."""
    lines = ["| part | passed | seconds |", "|---|---|---|"]
    for result in results:
        passed = _WORDS.get(result["status"], "no")
        last = result["said"][-1] if passed == "no" and result.get("said") else ""
        why = f": {last.replace('|', '/')}" if last else ""
        lines.append(f"| {result['part']} | {passed}{why} | {result['seconds']} |")
    for result in results:
        numbers = result.get("numbers", {})
        if numbers:
            lines += ["", f"| {result['part']} | |", "|---|---|"]
            lines += [f"| {name} | {value} |" for name, value in numbers.items()]
    return "\n".join(lines) + "\n"


def environment_of(options: argparse.Namespace) -> dict[str, str]:
    """What the parts see: the wheel in front of whatever is installed, and no plugins of pytest."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    if options.wheel is not None:
        unpacked = options.out / "wheel"
        shutil.rmtree(unpacked, ignore_errors=True)
        shutil.unpack_archive(options.wheel, unpacked, "zip")
        paths.insert(0, str(unpacked.resolve()))
    emulator = {"STREAMCORE_EMULATOR": str(Path(options.emulated).resolve())} if options.emulated else {}
    return (
        os.environ
        | emulator
        | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "STREAMCORE_GPU_CHECK": "cuda" if options.emulated is None else "emulated",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    )


def run_all(listed: list[Part], environment: dict[str, str], folder: Path) -> int:
    """Runs parts; the number of those that failed."""
    results = Results(folder)
    for part in listed:
        result = run_part(part, environment, results)
        sys.stdout.write(f"{part.name}: {result['status']}, {result['seconds']} s\n")
        sys.stdout.flush()
    sys.stdout.write(table(results.parts))
    return sum(result["status"] != 0 for result in results.parts)


def main() -> int:
    """Runs the check."""
    parser = argparse.ArgumentParser(description="Check streamcore on a GPU.")
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--emulated", nargs="?", const="", metavar="LIBRARY")
    options = parser.parse_args()
    # Who ends the script ends the part that is under way, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return run_all(parts(options.emulated is not None), environment_of(options), options.out)


if __name__ == "__main__":
    sys.exit(main())
