"""Runs on a machine with a GPU what only a device can say, and writes the results as they come.

Run it with: python tests/gpu/check.py --wheel FILE --out FOLDER

It needs a streamcore wheel that was built elsewhere (or an installed one), torch for CUDA, pytest without any plugin, and
this checkout's `tests` folder: no network, no compiler. Each part has a time limit and a process of its own, so that a
fault of the device ends one part. `results.json` has all numbers, `results.md` a table. `--emulated` takes the emulator
for the device, to try the script itself where there is none.
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
    measure = [str(ROOT / "tests" / "gpu" / "measure.py")]
    listed = [
        ("one case of each kernel", 60, [*kernels, "-k", f"{kind} and bf16 and ({one})"]),
        ("all cases of all kernels", 150, [*kernels, "-k", all_kernels]),
        ("sampling", 60, [*measure, "sampling"]),
        ("model", 90, [*measure, "model"]),
        ("times", 90, [*measure, "times"]),
    ]
    if not is_emulated and (sanitizer := shutil.which("compute-sanitizer")):
        listed.append(("sanitizer", 60, [sanitizer, *kernels, "-k", f"{kind} and ({small}) and bf16"]))
    return listed


def run_part(name: str, limit_s: int, arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Whether the part passed, what it printed last, and the numbers of its last line where that is JSON."""
    command = arguments if arguments[0].endswith("sanitizer") else [sys.executable, *arguments]
    if command[0].endswith("sanitizer"):
        command = [command[0], sys.executable, *command[1:]]
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
        for name, value in result.get("numbers", {}).items():
            lines.append(f"\n{name}: {value}")
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
