"""Each kernel test runs on every implementation there is: plain torch, the Rust kernels, the CUDA kernels."""

from dataclasses import dataclass
from types import ModuleType

import pytest
import torch

from streamcore import kernels
from streamcore.kernels import native, reference

# The tensors are small: handing them to other threads costs more than it brings.
torch.set_num_threads(1)

_TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}


@dataclass(frozen=True)
class Implementation:
    """The module whose functions are tested, and where its tensors live."""

    operations: ModuleType
    device: torch.device

    def random(self, *shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
        """Standard normal numbers, the same on every device."""
        generator = torch.Generator().manual_seed(seed + sum(shape))
        return torch.randn(*shape, generator=generator).to(self.device, dtype)

    def ints(self, values: list[int], dtype: torch.dtype = torch.int32) -> torch.Tensor:
        """A vector of integers."""
        return torch.tensor(values, dtype=dtype, device=self.device)

    def assert_near(self, actual: torch.Tensor, expected: torch.Tensor) -> None:
        """`actual` equals the float64 `expected` to within the rounding of its dtype."""
        tolerance = _TOLERANCE[actual.dtype]
        torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=["reference", "cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def implementation(request: pytest.FixtureRequest) -> Implementation:
    """One of the implementations; skipped where this machine or this build has not got it."""
    if request.param == "reference":
        return Implementation(reference, torch.device("cpu"))
    if request.param == "cpu":
        if native.kernels_for(torch.empty(0)) is None:
            pytest.skip("the extension is not built")
        return Implementation(kernels, torch.device("cpu"))
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return Implementation(kernels, torch.device("cuda"))


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float16], ids=["f32", "bf16", "f16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtypes that kernels take."""
    chosen: torch.dtype = request.param
    return chosen
