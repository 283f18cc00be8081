"""Write the locks again: the newest releases, and the oldest, that the ranges of pyproject.toml allow.

    python requirements/update.py

`locked` and `oldest` each get `setup.txt` (what building and serving need) and `test.txt` (that, the tests and the linters).
Each client of `make test-clients` keeps the releases that its own file pins, and gets a lock of all that they bring. A lock has
a hash for each file of each release, names no index (but cargo's does), and holds for every platform and every Python from the
lowest on (for a client: the lowest that it supports). torch is not in it: its builds for different devices are different files,
so the Makefile installs the one that pip is pointed at.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent / "pyproject.toml"
CLIENTS = HERE.parent / "tests" / "clients"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
SETUP = ("build", "develop", "run")
TEST = (*SETUP, "test", "lint", "lock")
HEADER = "# Written by `make update`; do not edit.\n"

# What torch's build for CUDA brings of its own, in releases that each build chooses for itself.
OF_TORCH = re.compile(r"torch|triton|cuda-(?:bindings|pathfinder|toolkit)|nvidia-.+")
# Built for one build of torch each, and found beside it.
BESIDE_TORCH = ("torch", "torchaudio", "torchvision")


def groups(*names: str) -> list[str]:
    """Dependency groups of pyproject.toml, as arguments of `compile_lock`."""
    return [f"--group={name}" for name in names]


def compile_lock(*arguments: str, python: str = PYTHONS[0]) -> list[str]:
    """Resolve what the arguments name; each requirement comes with its hashes and the packages that want it.

    Raises:
        subprocess.CalledProcessError: no releases go together, or not on this Python and all later ones.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--universal", f"--python-version={python}"]
    command += ["--generate-hashes", "--quiet", "--no-header", *arguments]
    compiled = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT.parent)
    requirements = re.findall(r"^\S.*(?:\n .*)*", compiled.stdout, re.MULTILINE)
    return [requirement for requirement in requirements if not is_of_torch(requirement)]


def is_of_torch(requirement: str) -> bool:
    """Whether the package is torch, or comes with its build for CUDA and nothing else asks for it."""
    wanted_by = re.findall(r"# +(?:via +)?([\w.-]+)", requirement.replace("# via\n", "\n"))
    name = requirement.split("==")[0]
    is_brought = all(OF_TORCH.fullmatch(other) for other in wanted_by)
    return name in BESIDE_TORCH or (bool(OF_TORCH.fullmatch(name)) and is_brought)


def write_lock(path: Path, requirements: list[str]) -> None:
    """Write a lock."""
    path.write_text(HEADER + "\n".join(requirements) + "\n")


def write_locks(folder: str, *options: str) -> None:
    """Write the two files of a folder; serving gets the releases that the tests have."""
    target = HERE / folder
    target.mkdir(exist_ok=True)
    everything = target / "test.txt"
    write_lock(everything, compile_lock(*groups(*TEST), *options))
    setup = compile_lock(*groups(*SETUP), *options, f"--constraint={everything}")
    write_lock(target / "setup.txt", setup)


def write_client_lock(pins: Path) -> None:
    """Write `locked.txt` beside the pins of a client in Python, for the lowest Python that it supports and later ones."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as any_torch:
        # A client may pin a build of torch that no index of ours has.
        any_torch.write("".join(f"{name}\n" for name in BESIDE_TORCH))
        any_torch.flush()
        source = (str(pins.relative_to(PROJECT.parent)), f"--override={any_torch.name}")
        for python in PYTHONS:
            try:
                write_lock(pins.with_name("locked.txt"), compile_lock(*source, python=python))
            except subprocess.CalledProcessError as error:
                reason = error.stderr
            else:
                return
    raise SystemExit(f"{pins}: {reason}")


def write_node_lock(pins: Path) -> None:
    """Write `package-lock.json` beside the pins of a client in JavaScript."""
    options = ("--package-lock-only", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund")
    pins.with_name("package-lock.json").unlink(missing_ok=True)
    subprocess.run(["npm", "install", *options], check=True, cwd=pins.parent)


def write_rust_lock(pins: Path) -> None:
    """Write `Cargo.lock` beside the pins of a client in Rust."""
    subprocess.run(["cargo", "generate-lockfile", "--manifest-path", str(pins)], check=True)


def main() -> None:
    """Write every lock."""
    for program, language in (("npm", "JavaScript"), ("cargo", "Rust")):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is missing, which writes the locks of the clients in {language}")
    write_locks("locked")
    write_locks("oldest", "--resolution=lowest-direct")
    for pins in sorted(CLIENTS.glob("*/requirements.txt")):
        write_client_lock(pins)
    for pins in sorted(CLIENTS.glob("*/package.json")):
        write_node_lock(pins)
    for pins in sorted(CLIENTS.glob("*/Cargo.toml")):
        write_rust_lock(pins)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.stderr or error) from None
