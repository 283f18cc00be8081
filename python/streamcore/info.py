"""`streamcore info`: what is installed here, what would run where, and why.

Ten lines, for users whose models run more slowly than they should, and for reports of errors. No
model is loaded; the device that would be used is asked for its free memory.
"""

import os
import platform
import re
from pathlib import Path

import torch

from streamcore import _core
from streamcore.console import write_output
from streamcore.kernels.library import compiled, has_vectors
from streamcore.kernels.native import has_cuda_kernels
from streamcore.runner.device import choose_device, explain_dtype
from streamcore.runner.memory import available_memory
from streamcore.runner.threads import configure_threads, num_usable_cores

_CPUINFO = Path("/proc/cpuinfo")
_DRIVER = Path("/proc/driver/nvidia/version")
# Those that decide which kernels run, of x86 and of Arm, in the order in which they came.
_FEATURES = (
    *("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16"),
    *("asimd", "asimdhp", "bf16", "sve", "sve2"),
)


def info() -> int:
    """Writes the ten lines; returns the exit status."""
    configure_threads()
    device = choose_device()
    lines = {
        "streamcore": _streamcore(),
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "processor": _processor(_text(_CPUINFO)),
        "CPU kernels": _cpu_kernels(),
        "torch": _torch(),
        "CUDA kernels": _cuda_kernels(),
        "CUDA driver": _driver(_text(_DRIVER)),
        "CUDA devices": _devices(),
        "device": _device(device),
        "dtype": explain_dtype(device),
    }
    write_output("".join(f"{name:13} {said}\n" for name, said in lines.items()))
    return 0


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _streamcore() -> str:
    kind = "release" if _core.is_release else "development build, many times slower than a release"
    return f"{_core.__version__}, {kind}"


def _processor(cpuinfo: str) -> str:
    """Its name, cores and features, out of what Linux says of it."""
    name = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    features = " ".join(feature for feature in _FEATURES if feature in known) or "features unknown"
    title = name[1] if name else platform.processor() or platform.machine()
    cores = f"{num_usable_cores()} usable cores of {os.cpu_count()} CPUs"
    return f"{title}, {cores}; {features}"


def _cpu_kernels() -> str:
    if compiled is None:
        return "torch, because the extension is not built"
    why = "" if has_vectors() else ", because the processor has no vector instructions that they use"
    return f"Rust, {compiled.cpu_features()}{why}, {compiled.num_threads()} threads"


def _torch() -> str:
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    return f"{torch.__version__}, built {built}"


def _cuda_kernels() -> str:
    build = None if compiled is None else compiled.cuda_build()
    if build is None:
        return "not built, because no CUDA compiler was there: torch computes on CUDA devices"
    toolkit, targets = build
    return f"built with CUDA {toolkit} for {targets.replace(' ', ', ')}, and for later ones by the driver"


def _driver(version: str) -> str:
    """Its version, out of what its kernel module says, and what it is to the kernels."""
    found = re.search(r"Kernel Module\s.*?(\d+\.\d+[.\d]*)", version)
    if compiled is None or compiled.cuda_build() is None:
        return found[1] if found else "none found"
    _, error = compiled.cuda_device_count()
    if error == "cudaErrorInsufficientDriver":
        return f"{found[1]}, too old for the CUDA kernels" if found else "none found"
    return (found[1] if found else "found") + ("" if error is None else f", {error}")


def _devices() -> str:
    """Those that torch sees. Their names and sizes are read, which takes no memory on them."""
    if not torch.cuda.is_available():
        return "none that torch sees"
    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        code = f"sm_{properties.major}{properties.minor}"
        devices.append(f"cuda:{index} {properties.name}, {code}, {_gib(properties.total_memory)}")
    return "; ".join(devices)


def _device(device: torch.device) -> str:
    free = f"{_gib(available_memory(device))} free"
    if device.type == "cpu":
        why = "torch was built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
        return f"cpu, because {why}; {free}"
    ours = has_cuda_kernels(device.index or 0)
    how = "by the CUDA kernels" if ours else "by torch, because no CUDA kernel has code for it"
    return f"{device}, because torch sees it first, {how}; {free}"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / (1 << 30):.1f} GiB"
