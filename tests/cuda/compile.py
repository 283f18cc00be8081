"""Compiles one launcher for a device and for the host, and runs its tests: what a change of a kernel needs.

Run it with: python -m tests.cuda.compile sample

The compiler for the device, where there is one, takes the newest generation that a server is likely to have; the build of the
extension takes them all. Planted bugs are left to the whole suite.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.cuda.host_library import host_library
from tests.cuda.machine_code import entries
from tests.cuda.toolkit import BUILD, CUDA, INCLUDES, ROOT, nvcc

TARGET = "sm_90"
FLAGS = ["-O3", "-std=c++17", "-lineinfo", "-Werror", "all-warnings", "-Xptxas", "-v"]
TESTS = {
    "primitives": ["tests/cuda/test_primitives.py"],
    "attention": [
        *("tests/cuda/test_memory.py", "tests/kernels/test_paged_attention.py"),
        *("-k", "decodes or prefills or emulated"),
    ],
    "linear": ["tests/cuda/test_memory.py", "tests/kernels", "-k", "product or linear or experts"],
    "fp8": ["tests/cuda/test_memory.py", "tests/kernels/test_fp8_weights.py", "-k", "fp8"],
    "grouped": ["tests/cuda/test_memory.py", "tests/kernels/test_groups_on_cuda.py", "-k", "groups"],
    "sample": ["tests/cuda/test_sampling.py", "tests/cuda/test_scoring.py"],
    "rope_and_store": ["tests/cuda/test_memory.py", "tests/kernels/test_elementwise.py", "-k", "rope"],
    "gated": ["tests/cuda/test_memory.py", "tests/kernels/test_elementwise.py", "-k", "test_rows or gated"],
    "rms_norm": ["tests/cuda/test_memory.py", "tests/kernels/test_elementwise.py", "-k", "test_rows or norm"],
    "rows": [
        "tests/cuda/test_memory.py",
        "tests/kernels/test_elementwise.py",
        "-k",
        "test_rows or embed or take",
    ],
}
"""The tests of launchers, by the beginning of their names."""


def compiled_for_device(source: Path) -> tuple[Path, str]:
    """The machine code of a launcher, and what the compiler says of it."""
    compiler = nvcc()
    assert compiler is not None
    BUILD.mkdir(parents=True, exist_ok=True)
    output = BUILD / f"{source.stem}.{TARGET}.cubin"
    command = [str(compiler), *FLAGS, *INCLUDES, f"-arch={TARGET}", "-cubin", str(source), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return output, done.stdout + done.stderr


def main(name: str) -> int:
    """Compiles and tests; returns the exit status."""
    sources = sorted((CUDA / "launch").glob(f"{name}*.cu"))
    if not sources or name not in TESTS:
        sys.stderr.write(f"no launcher is called {name}, there are {', '.join(TESTS)}\n")
        return 2
    with ThreadPoolExecutor() as pool:
        forms = [pool.submit(host_library, "fast"), pool.submit(host_library, "check")]
        reports = list(pool.map(compiled_for_device, sources)) if nvcc() else []
        for form in forms:
            form.result()
    num_spilled = 0
    for _, report in reports:
        for entry in entries(report):
            sys.stdout.write(f"{entry}\n")
            num_spilled += entry.spilled > 0
    tests = [sys.executable, "-m", "pytest", "-q", *TESTS[name]]
    status = subprocess.run(tests, cwd=ROOT, check=False).returncode
    return status or int(num_spilled > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
