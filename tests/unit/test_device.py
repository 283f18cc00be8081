"""The choice of device, precision and threads."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.checkpoints import write_checkpoint

from streamcore import kernels
from streamcore.errors import ConfigError, ModelLoadError
from streamcore.models.folder import ModelFolder, check_model_folder
from streamcore.runner import device as device_module
from streamcore.runner import threads
from streamcore.runner.device import choose_device, choose_dtype
from streamcore.runner.threads import configure_threads, num_usable_cores

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    """A small bfloat16 checkpoint."""
    return check_model_folder(write_checkpoint(tmp_path, torch_dtype="bfloat16"))


def have(monkeypatch: pytest.MonkeyPatch, memory: int, capability: tuple[int, int] = (9, 0)) -> None:
    """Pretends that every device has that much memory available and that GPUs are of that generation."""
    monkeypatch.setattr(device_module, "available_memory", lambda device: memory)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)


def test_auto_takes_a_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command must use the GPU where there is one, and run where there is none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    assert choose_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device().type == "cpu"


def test_a_missing_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is not there must not end in a traceback of torch after the weights were read."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        choose_device("cuda")
    assert str(caught.value) == "`--device` is cuda, torch sees no CUDA device"
    assert choose_device("cpu") == CPU


def test_precision_on_the_cpu(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint's own where that is fast; else float32, but not when it leaves no room for anything else."""
    monkeypatch.setattr(kernels, "is_fast_in_bfloat16", lambda: True)
    assert choose_dtype("auto", folder, CPU) == torch.bfloat16
    monkeypatch.setattr(kernels, "is_fast_in_bfloat16", lambda: False)
    have(monkeypatch, memory=8 * folder.num_parameters)
    assert choose_dtype("auto", folder, CPU) == torch.float32
    have(monkeypatch, memory=8 * folder.num_parameters - 1)
    assert choose_dtype("auto", folder, CPU) == torch.bfloat16


def test_precision_on_a_gpu(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU runs the checkpoint as it was published, but for old ones that cannot."""
    have(monkeypatch, memory=1 << 30)
    assert choose_dtype("auto", folder, CUDA) == torch.bfloat16
    have(monkeypatch, memory=1 << 30, capability=(7, 5))
    assert choose_dtype("auto", folder, CUDA) == torch.float16
    with pytest.raises(ConfigError, match="cannot compute in bfloat16"):
        choose_dtype("bfloat16", folder, CUDA)


def test_a_named_precision_is_taken(folder: ModelFolder) -> None:
    """Who names a precision gets it, whatever the checkpoint's own is."""
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    assert {name: choose_dtype(name, folder, CPU) for name in names} == names


def test_weights_that_do_not_fit_are_refused(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-way through loading the system would kill the process without a word."""
    have(monkeypatch, memory=2 * folder.num_parameters - 1)
    with pytest.raises(ModelLoadError, match=r"need 0\.0 GB as bfloat16, cpu has 0\.0 GB available"):
        choose_dtype("auto", folder, CPU)


def test_weights_beyond_a_device_are_refused_with_both_numbers(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers say whether a smaller model, fewer bits or another device is the answer."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    asked = []

    def free(device: torch.device) -> tuple[int, int]:
        asked.append(device)
        return 139_200_000_000, 150_000_000_000

    monkeypatch.setattr(torch.cuda, "mem_get_info", free)
    large = replace(folder, shapes={"weights": (70_600_000, 1000)})
    with pytest.raises(ModelLoadError, match=r"need 141\.2 GB as bfloat16, cuda:1 has 139\.2 GB available"):
        choose_dtype("auto", large, torch.device("cuda", 1))
    assert asked == [torch.device("cuda", 1)]


def test_the_named_number_of_threads_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sets `OMP_NUM_THREADS` knows the machine; more would take cores that were meant for others."""
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", str(before))
    monkeypatch.setattr(threads, "num_usable_cores", lambda: before + 1)
    assert configure_threads() == before


def test_threads_are_physical_cores_within_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads on one core only wait for each other, and threads beyond a quota are stopped for most of
    the time.
    """
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 4, 5}, raising=False)
    for cpu in range(8):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    for quota, num_cores in [(1 << 62, 4), (2.5, 2), (0.5, 1)]:
        monkeypatch.setattr(threads, "num_cpus", lambda quota=quota: quota)
        assert num_usable_cores(tmp_path) == num_cores
