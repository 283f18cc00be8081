"""What the parts of `check.py` share: the device, which may be the emulator, and its kernels."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from streamcore.errors import StreamcoreError
from streamcore.kernels import library, native
from streamcore.runner.device import choose_device
from streamcore.runner.faults import explained_faults
from streamcore.runner.placement import Capture, cuda_capture

IS_EMULATED = os.environ.get("STREAMCORE_GPU_CHECK") == "emulated"
PREDICTIONS = Path(__file__).parents[2] / "docs" / "gpu.md"


def say(numbers: Mapping[str, Any]) -> None:
    """Prints numbers by their titles, which `check.py` writes down at once: a part may be stopped at any moment."""
    sys.stdout.write(json.dumps(numbers) + "\n")
    sys.stdout.flush()


def run(part: Callable[[], None]) -> int:
    """Carries a part out; the exit status. What a device has to say when it fails is one sentence."""
    try:
        with explained_faults("this part"):
            part()
    except StreamcoreError as error:
        sys.stdout.write(f"{error.message}{f'; {error.hint}' if error.hint else ''}\n")
        return 1
    return 0


def device() -> torch.device:
    """Where kernels run."""
    return torch.device("cpu") if IS_EMULATED else choose_device("cuda")


def ops() -> native.CudaOps:
    """The kernels."""
    if IS_EMULATED:
        from tests.cuda.emulated import EmulatedOps
        from tests.cuda.emulator import Emulator
        from tests.cuda.host_library import host_library

        # A device's weights are not packed.
        library.packs_weights = lambda: False
        emulator = Emulator(host_library("fast"))
        emulator.begin()
        return EmulatedOps(emulator)
    found = native.ops_for(device())
    assert isinstance(found, native.CudaOps), "the kernels have no code for this device"
    return found


def capture() -> Capture:
    """Captures graphs; on the emulator what is captured is run again."""
    return (lambda work: work) if IS_EMULATED else cuda_capture(device())


def median_s(launch: Callable[[], None], repeats: int = 20) -> float:
    """Seconds of a captured launch; of the emulator, which has no time of its own, those of this machine."""
    if IS_EMULATED:
        started = time.perf_counter()
        launch()
        return time.perf_counter() - started
    launch()
    torch.cuda.synchronize()
    replay = capture()(launch)
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return float(sorted(times)[repeats // 2])


def copy_rate() -> float:
    """Bytes a second that a copy reads and writes: what memory gives."""
    source = torch.empty(1 << (20 if IS_EMULATED else 31), dtype=torch.uint8, device=device())
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)

    return 2 * source.numel() / median_s(copy)


def floors() -> dict[str, float]:
    """Microseconds that each kernel takes at least, as `docs/gpu.md` foresees them."""
    rows = re.findall(r"^\| ([^|]+) \|.*\| (\d+) \|$", PREDICTIONS.read_text(), re.MULTILINE)
    return {title: float(floor) for title, floor in rows}
