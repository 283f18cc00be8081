"""Compiles the kernels and launchers of `cuda/` for the host, together with the emulator in `cuda/host`.

There are two forms: `fast` for numbers, and `check`, in which every access of a kernel calls the checker, by
`-fsanitize=thread` without its library. What was compiled stays in `target/cuda-host` under the hash of its inputs.
"""

import hashlib
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Literal

from tests.cuda.toolkit import BUILD, CUDA, INCLUDES, toolkit

Form = Literal["fast", "check"]

_FORMS: dict[Form, list[str]] = {
    "fast": ["-O2", "-g1"],
    # The optimiser must not split an access of 16 bytes into its elements.
    "check": [
        *("-Og", "-g", "-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0"),
        *("-fno-tree-sra", "-fno-tree-fre"),
    ],
}
_LEFT_OUT = {"device.cu"}
"""Launchers of nothing: they ask the driver."""

READY = os.environ.get("STREAMCORE_EMULATOR")
"""The fast form, compiled elsewhere: for a machine without a compiler."""


def missing() -> str | None:
    """What is missing for a host build, if something is."""
    if READY is not None:
        return None
    if shutil.which("g++") is None:
        return "no g++"
    return None if toolkit() else "no CUDA headers"


@cache
def host_library(form: Form, defines: tuple[str, ...] = (), sources: tuple[Path, ...] = ()) -> Path:
    """The library of some launchers, all of `cuda/launch` unless `sources` says which."""
    if READY is not None and form == "fast" and not sources:
        return Path(READY)
    sources = sources or tuple(
        path for path in sorted((CUDA / "launch").glob("*.cu")) if path.name not in _LEFT_OUT
    )
    emulator = [*sorted((CUDA / "host").glob("*.cpp")), CUDA / "host" / "switch.S"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # Those that take longest come first.
        kernels = [pool.submit(_kernel_object, source, form, defines) for source in sources]
        machine = [pool.submit(_emulator_object, source) for source in emulator]
        objects = [task.result() for task in [*kernels, *machine]]
    # Statics of templates would be one for the whole process, and two libraries share their shared
    # memory.
    return _built("libkernels.so", ["g++", "-shared", "-Wl,-Bsymbolic"], objects, [])


def _kernel_object(source: Path, form: Form, defines: tuple[str, ...]) -> Path:
    flags = [
        *("-x", "c++", "-std=c++17", "-fPIC", "-fno-gnu-unique", "-Wall", "-Wextra"),
        *("-Wno-unknown-pragmas", "-Wno-ignored-attributes", *_FORMS[form]),
        *(f"-D{define}" for define in defines),
        # A header beside the source takes the place of the kernels' own.
        *("-include", str(CUDA / "host" / "cuda_on_cpu.h"), f"-I{source.parent}", *INCLUDES),
    ]
    return _compiled(source, flags)


def _emulator_object(source: Path) -> Path:
    return _compiled(source, ["-O3", "-std=c++17", "-fPIC", "-g1", "-Wall", "-Wextra"])


def _compiled(source: Path, flags: list[str]) -> Path:
    include = f"-I{toolkit()}/include"
    return _built(f"{source.stem}.o", ["g++", "-c", *flags, include], [source], included(source))


_INCLUDE = re.compile(r'^\s*#include "([^"]+)"', re.MULTILINE)


def included(source: Path) -> list[Path]:
    """The headers of `cuda/` that a source includes, itself and through others: only their changes compile it again."""
    found: set[Path] = set()
    waiting = [source, CUDA / "host" / "cuda_on_cpu.h"]
    while waiting:
        path = waiting.pop()
        folders = [path.parent, *(CUDA / folder for folder in ("include", "kernels", "launch", "host"))]
        for name in _INCLUDE.findall(path.read_text()):
            header = next((folder / name for folder in folders if (folder / name).is_file()), None)
            if header is not None and header not in found:
                found.add(header)
                waiting.append(header)
    return sorted({*found, CUDA / "host" / "cuda_on_cpu.h"})


def _built(name: str, command: list[str], inputs: list[Path], headers: list[Path]) -> Path:
    """The output of a command, which is run where it is not there for these inputs."""
    digest = hashlib.sha256(" ".join(command).encode())
    for path in [*inputs, *headers]:
        digest.update(path.read_bytes())
    output = BUILD / f"{digest.hexdigest()[:16]}-{name}"
    if not output.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        # A test that is interrupted must not leave half a file.
        partial = output.with_suffix(f".{os.getpid()}{output.suffix}")
        done = subprocess.run(
            [*command, *map(str, inputs), "-o", str(partial)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        partial.rename(output)
    return output
