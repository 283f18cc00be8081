"""What a device has to say when it fails, in words that say what to change.

A fault of a kernel, such as an illegal address, stays: every later call fails too, and only the
process's end clears it. So nothing here tries again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from streamcore.errors import RunnerError

_SMALLER_STEPS = (
    "`--max-num-batched-tokens` and `--max-num-seqs` make steps smaller, `--kv-cache-memory-bytes` the cache"
)
_OTHER_DEVICE = "start again; if it comes back, `STREAMCORE_CHECK=1` finds arguments that are at fault"
# How torch and our own kernels begin what they say of a device.
_FAULTS = ("CUDA error: ", "CUDA kernel failed: ")


@contextmanager
def explained_faults(doing: str) -> Iterator[None]:
    """Turn what a device raises into a `RunnerError`.

    Args:
        doing: what is done meanwhile, such as "a step".

    Raises:
        RunnerError: the device has no memory left, or has failed.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        message = f"the device has no memory left for {doing}: {_first_sentence(error)}"
        raise RunnerError(message, _SMALLER_STEPS) from error
    except RuntimeError as error:
        if not str(error).startswith(_FAULTS):
            raise
        message = f"the device failed during {doing}: {_first_sentence(error)}"
        raise RunnerError(message, _OTHER_DEVICE) from error


def _first_sentence(error: RuntimeError) -> str:
    return str(error).splitlines()[0].split(". ")[0].removesuffix(".")
