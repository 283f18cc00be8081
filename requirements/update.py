"""Write the locks again: the newest releases, and the oldest, that the ranges of pyproject.toml allow.

    python requirements/update.py

`locked` and `oldest` each get `setup.txt` (what building and serving need) and `test.txt` (that, the tests and the linters).
A lock has a hash for each file of each release, names no index, and holds for every Python and platform. torch is not in it:
its builds for different devices are different files, so the Makefile installs the one that pip is pointed at.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent / "pyproject.toml"
LOWEST_PYTHON = "3.10"
SETUP = ("build", "run")
TEST = (*SETUP, "test", "lint", "lock")
HEADER = "# Written by `make update`; do not edit.\n"

# What torch's build for CUDA brings of its own, in releases that each build chooses for itself.
OF_TORCH = re.compile(r"torch|triton|cuda-(?:bindings|pathfinder|toolkit)|nvidia-.+")


def compile_lock(groups: tuple[str, ...], *options: str) -> list[str]:
    """Resolve dependency groups; each requirement comes with its hashes and the packages that want it."""
    command = [sys.executable, "-m", "uv", "pip", "compile", *(f"--group={group}" for group in groups)]
    command += [
        "--universal",
        f"--python-version={LOWEST_PYTHON}",
        "--generate-hashes",
        "--quiet",
        "--no-header",
    ]
    compiled = subprocess.run(
        [*command, *options], check=True, stdout=subprocess.PIPE, text=True, cwd=PROJECT.parent
    )
    requirements = re.findall(r"^\S.*(?:\n .*)*", compiled.stdout, re.MULTILINE)
    return [requirement for requirement in requirements if not is_of_torch(requirement)]


def is_of_torch(requirement: str) -> bool:
    """Whether the package is torch, or comes with its build for CUDA and nothing else asks for it."""
    wanted_by = re.findall(r"# +(?:via +)?([\w.-]+)", requirement.replace("# via\n", "\n"))
    name = requirement.split("==")[0]
    is_brought = all(OF_TORCH.fullmatch(other) for other in wanted_by)
    return name == "torch" or (bool(OF_TORCH.fullmatch(name)) and is_brought)


def write_locks(folder: str, *options: str) -> None:
    """Write the two files of a folder; serving gets the releases that the tests have."""
    target = HERE / folder
    target.mkdir(exist_ok=True)
    everything = target / "test.txt"
    everything.write_text(HEADER + "\n".join(compile_lock(TEST, *options)) + "\n")
    setup = compile_lock(SETUP, *options, f"--constraint={everything}")
    (target / "setup.txt").write_text(HEADER + "\n".join(setup) + "\n")


if __name__ == "__main__":
    write_locks("locked")
    write_locks("oldest", "--resolution=lowest-direct")
