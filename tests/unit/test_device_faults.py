"""What is said when a device fails: what happened, and what to change."""

import pytest
import torch

from streamcore.errors import RunnerError
from streamcore.runner.faults import explained_faults


def test_memory_that_runs_out_names_the_options_that_save_some() -> None:
    """Forty lines of a traceback under "CUDA out of memory" leave the user to guess."""
    said = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"
    message = "no memory left for a step: CUDA out of memory"
    with pytest.raises(RunnerError, match=message) as caught, explained_faults("a step"):
        raise torch.cuda.OutOfMemoryError(said)
    assert caught.value.hint is not None
    assert "`--max-num-batched-tokens`" in caught.value.hint


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported later",
        "CUDA kernel failed: cudaErrorIllegalAddress (700)",
    ],
)
def test_a_fault_that_stays_ends_the_process_with_one_sentence(said: str) -> None:
    """After an illegal address every call fails: going on would fail every request to come."""
    with (
        pytest.raises(RunnerError, match="the device failed during a step") as caught,
        explained_faults("a step"),
    ):
        raise RuntimeError(said)
    assert "\n" not in caught.value.message


def test_other_errors_stay_what_they_are() -> None:
    """A bug of ours must keep its traceback."""
    with pytest.raises(RuntimeError, match="shapes differ"), explained_faults("a step"):
        raise RuntimeError("shapes differ")
