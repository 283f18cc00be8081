"""Where the CUDA compiler and its headers are, as the build script of `rust/kernels` looks for them."""

import os
import shutil
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CUDA = ROOT / "cuda"
BUILD = ROOT / "target" / "cuda-host"
INCLUDES = [f"-I{CUDA / folder}" for folder in ("include", "kernels", "launch")]


@cache
def toolkit() -> Path | None:
    """The folder of the toolkit, None where there is none: that with `include/cuda_runtime_api.h`."""
    on_path = shutil.which("nvcc")
    candidates = [
        *([Path(os.environ["CUDA_HOME"])] if "CUDA_HOME" in os.environ else []),
        *([Path(on_path).resolve().parents[1]] if on_path else []),
        *(Path(entry or ".") / "nvidia" / "cu13" for entry in sys.path),
    ]
    return next((home for home in candidates if (home / "include/cuda_runtime_api.h").is_file()), None)


def nvcc() -> Path | None:
    """The compiler for devices, None where only headers are there."""
    home = toolkit()
    compiler = None if home is None else home / "bin" / "nvcc"
    return compiler if compiler is not None and compiler.is_file() else None
