"""What `streamcore info` says: it is the first thing that a report of an error should have in it."""

import re
import sys
from types import SimpleNamespace

import pytest
import torch

from streamcore import _core, cli, info


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What the command prints, by the word in front of each line."""
    assert cli.main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [re.fullmatch(r"([A-Za-z ]+?) {2,}(.+)", f"{line[:13]}  {line[14:]}") for line in lines]
    assert all(found), lines
    return {match[1]: match[2] for match in found if match}


def test_ten_lines_without_a_model_and_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    """A user who cannot start a server needs to know what the server would have found."""
    lines = said(capsys)
    assert list(lines) == [
        *("streamcore", "python", "processor", "CPU kernels", "torch"),
        *("CUDA kernels", "CUDA driver", "CUDA devices", "device", "dtype"),
    ]
    assert lines["streamcore"].startswith(_core.__version__)
    assert lines["torch"].startswith(torch.__version__)
    if not torch.cuda.is_available():
        assert lines["device"].startswith("cpu, because torch")
        assert lines["CUDA devices"] == "none that torch sees"


def test_what_is_missing_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report of an error must not begin with a traceback of its own."""
    monkeypatch.delitem(sys.modules, "streamcore.info")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main(["info"]) == 1
    assert "torch is missing; install it" in capsys.readouterr().err


def pretend_devices(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    """Makes torch see two devices of a generation."""
    major, minor = capability
    properties = SimpleNamespace(name="NVIDIA T", major=major, minor=minor, total_memory=16 << 30)
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "set_device": lambda device: None,
        "get_device_properties": lambda index: properties,
        "get_device_capability": lambda device: capability,
        "mem_get_info": lambda device: (15 << 30, 16 << 30),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)


@pytest.mark.parametrize("is_covered", [True, False])
def test_a_gpu_is_named_with_its_memory_and_what_runs_on_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_covered: bool
) -> None:
    """Kernels without code for a device are replaced by torch, which only the speed would show."""
    pretend_devices(monkeypatch, (9, 0))
    monkeypatch.setattr(info, "has_cuda_kernels", lambda index: is_covered)
    lines = said(capsys)
    assert lines["CUDA devices"] == "cuda:0 NVIDIA T, sm_90, 16.0 GiB; cuda:1 NVIDIA T, sm_90, 16.0 GiB"
    assert ("by the CUDA kernels" in lines["device"]) == is_covered
    assert lines["device"].endswith("15.0 GiB free")
    assert lines["dtype"] == "that of the checkpoint"


def test_a_gpu_without_bfloat16_computes_in_float16(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answers differ from those of another GPU, and the reason should be found here."""
    pretend_devices(monkeypatch, (7, 5))
    monkeypatch.setattr(info, "has_cuda_kernels", lambda index: False)
    assert "float16 for bfloat16" in said(capsys)["dtype"]


def test_missing_kernels_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wheel that was built where no CUDA compiler was there looks the same, and is slow on a GPU."""
    compiled = SimpleNamespace(cuda_build=lambda: None, cpu_features=lambda: "avx2", num_threads=lambda: 2)
    monkeypatch.setattr(info, "compiled", compiled)
    assert said(capsys)["CUDA kernels"].startswith("not built, because no CUDA compiler was there")


MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul"


@pytest.mark.parametrize(
    ("version", "error", "expected"),
    [
        (MODULE, None, "580.65.06"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.1  Release",
            "cudaErrorInsufficientDriver",
            "535.1, too old for the CUDA kernels",
        ),
        ("", "cudaErrorInsufficientDriver", "none found"),
        (MODULE, "cudaErrorNoDevice", "580.65.06, cudaErrorNoDevice"),
    ],
)
def test_the_driver(monkeypatch: pytest.MonkeyPatch, version: str, error: str | None, expected: str) -> None:
    """Most reports of a GPU that is not used end with its driver."""
    compiled = SimpleNamespace(cuda_build=lambda: ("13.0", "sm_90"), cuda_device_count=lambda: (0, error))
    monkeypatch.setattr(info, "compiled", compiled)
    assert info._driver(version) == expected


def test_the_processor() -> None:
    """Which instructions there are decides which kernels run."""
    listed = "model name\t: Fast CPU\nflags\t\t: fpu avx2 fma amx_tile avx512f\n"
    assert "Fast CPU" in info._processor(listed)
    assert info._processor(listed).endswith("; avx2 fma avx512f amx_tile")
    assert info._processor("").endswith("; features unknown")
