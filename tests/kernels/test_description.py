"""Which kernels run, and what the log says about it."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from streamcore.kernels import description, library, native


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """What is known about devices is remembered; it must not outlive the pretended driver."""
    native.has_cuda_kernels.cache_clear()
    yield
    native.has_cuda_kernels.cache_clear()


def refuse(device: int) -> bool:
    raise RuntimeError("cudaErrorInsufficientDriver")


def test_an_old_driver_leaves_the_gpu_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that does for torch and not for our toolkit must not end the server at its first
    kernel.
    """
    old = SimpleNamespace(
        cuda_build=lambda: ("13.0", "sm_80"),
        cuda_device_count=lambda: (0, "cudaErrorInsufficientDriver"),
        cuda_device_covered=refuse,
    )
    monkeypatch.setattr(native, "compiled", old)
    assert not native.has_cuda_kernels(0)


def test_the_line_says_how_weights_are_multiplied() -> None:
    """Who asked for float32 must not read that products are rounded, nor who runs without such
    weights.
    """
    if library.compiled is None:
        pytest.skip("the extension is not built")
    assert "float32 products" in description(torch.float32)
    assert "products" not in description(torch.float16)
    assert ("products" in description(torch.bfloat16)) == library.packs_weights()
