"""Runs on a machine with a GPU what only a device can say, and writes the results as they come.

Run it with: python tests/gpu/check.py --wheel FILE --out FOLDER

It needs a streamcore wheel that was built elsewhere (or an installed one), torch for CUDA, pytest without any plugin, and
this checkout's `tests` and `docs/gpu.md`: no network, no compiler. Each part has a time limit and a process of its own, so
that a fault of the device ends one part; the limits are less than eight minutes together. `results.json` has all numbers,
`results.md` a table, both written after every part. `--emulated` takes the emulator for the device, to try the script itself
where there is none.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTEST = [*("-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider"), "--import-mode=importlib"]
PYTEST += ["--rootdir", str(ROOT), "-W", "ignore"]


def parts(is_emulated: bool) -> list[tuple[str, int, list[str]]]:
    """Name, seconds, and arguments of Python for each part, in order."""
    kind = "emulated" if is_emulated else "cuda"
    kernels = [*PYTEST, str(ROOT / "tests" / "kernels")]
    small = "test_head_shapes or test_rope_and_store_kv"
    one = "decodes and test_mixtures or test_products and 130-520-9 or test_narrow_experts and 9"
    # The emulator takes minutes for what a device does at once.
    all_kernels = "emulated and test_gated" if is_emulated else "cuda"

    def script(name: str, *arguments: str) -> list[str]:
        return [str(ROOT / "tests" / "gpu" / f"{name}.py"), *arguments]

    listed = [
        (
            "primitives: one case of each kernel",
            45,
            [*kernels, "-k", f"{kind} and bf16 and ({one})"],
        ),
        ("all cases of all kernels", 110, [*kernels, "-k", all_kernels]),
        ("sampling and log-probabilities", 30, script("measure", "sampling")),
        ("model: against the CPU, eager, captured, two in flight", 60, script("measure", "model")),
        ("times", 75, script("times")),
        ("workload of the small model", 60, script("workloads", "small")),
        ("workload of the large model", 60, script("workloads", "large")),
    ]
    if not is_emulated and (sanitizer := shutil.which("compute-sanitizer")):
        checked = [sanitizer, sys.executable, *kernels, "-k", f"{kind} and ({small}) and bf16"]
        listed.insert(2, ("compute-sanitizer", 30, checked))
    # The emulator may take its time: what counts is that each part comes to its end.
    return [(name, limit_s * (20 if is_emulated else 1), arguments) for name, limit_s, arguments in listed]


def run_part(name: str, limit_s: int, arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Whether the part passed, what it printed last, and the numbers of its last line where that is JSON."""
    command = arguments if "compute-sanitizer" in arguments[0] else [sys.executable, *arguments]
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit_s, check=False
        )
        status, said = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as expired:
        status, said = -1, f"{(expired.stdout or b'').decode(errors='replace')}\nstopped after {limit_s} s"
    result: dict[str, Any] = {"part": name, "status": status, "seconds": round(time.monotonic() - started, 1)}
    for line in said.splitlines():
        if line.startswith("{"):
            result["numbers"] = json.loads(line)
    result["said"] = said.splitlines()[-12:]
    return result


def table(results: list[dict[str, Any]]) -> str:
    """The results for people."""
    lines = ["| part | passed | seconds |", "|---|---|---|"]
    for result in results:
        lines.append(
            f"| {result['part']} | {'yes' if result['status'] == 0 else 'no'} | {result['seconds']} |"
        )
    for result in results:
        numbers = result.get("numbers", {})
        if numbers:
            lines += ["", f"| {result['part']} | |", "|---|---|"]
            lines += [f"| {name} | {value} |" for name, value in numbers.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Runs every part; the number of those that failed."""
    parser = argparse.ArgumentParser(description="Check streamcore on a GPU.")
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--emulated", action="store_true")
    options = parser.parse_args()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environment |= {"STREAMCORE_GPU_CHECK": "emulated" if options.emulated else "cuda"}
    # Whatever plugins of pytest there are, they are not this project's.
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    options.out.mkdir(parents=True, exist_ok=True)
    if options.wheel is not None:
        unpacked = options.out / "wheel"
        shutil.unpack_archive(options.wheel, unpacked, "zip")
        environment["PYTHONPATH"] = f"{unpacked}{os.pathsep}{environment['PYTHONPATH']}"
    results: list[dict[str, Any]] = []
    for name, limit_s, arguments in parts(options.emulated):
        results.append(run_part(name, limit_s, arguments, environment))
        sys.stdout.write(f"{name}: {results[-1]['status']}, {results[-1]['seconds']} s\n")
        sys.stdout.flush()
        (options.out / "results.json").write_text(json.dumps(results, indent=1))
        (options.out / "results.md").write_text(table(results))
    return sum(result["status"] != 0 for result in results)


if __name__ == "__main__":
    sys.exit(main())
