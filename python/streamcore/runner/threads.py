"""How many threads compute on the CPU.

Torch's OpenMP threads spin for a while between operations, by default on cores that the server's
threads need. With two cores and other work on them a decode step was 4 to 10 times slower than with
`OMP_WAIT_POLICY=passive`, which OpenMP reads once, when torch is imported: `streamcore.serve` sets
it before that, unless the program has imported torch itself.
"""

import os
from pathlib import Path

import torch

from streamcore import kernels
from streamcore.runner.resource_limits import num_cpus

_CPUS = Path("/sys/devices/system/cpu")


def configure_threads() -> int:
    """Lets torch and the CPU kernels compute with one thread per physical core that this process
    may use.

    Two threads of one core share its arithmetic units. `OMP_NUM_THREADS` stays in force where it is
    set.

    Returns:
        How many threads that is.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(num_usable_cores())
    kernels.set_num_threads(torch.get_num_threads())
    return torch.get_num_threads()


def num_usable_cores(cpus: Path = _CPUS) -> int:
    """Physical cores within the process's affinity and the quotas of its control groups, at least
    1.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_siblings(cpus, cpu) for cpu in allowed}
    return max(min(len(cores), int(num_cpus())), 1)


def _siblings(cpus: Path, cpu: int) -> str:
    """Names the core that a logical CPU belongs to."""
    try:
        return (cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)
