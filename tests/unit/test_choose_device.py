"""Which device a name means, on a machine that pretends to have some."""

import pytest
import torch

from streamcore.config import ServeConfig
from streamcore.errors import ConfigError
from streamcore.runner.device import choose_device


def pretend(monkeypatch: pytest.MonkeyPatch, num_devices: int) -> list[torch.device]:
    """Makes torch see devices; returns those that were made current."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_devices)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    return current


def test_a_number_chooses_among_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers on two GPUs of one machine must not share the first."""
    current = pretend(monkeypatch, 2)
    assert choose_device(ServeConfig(device="cuda:1").device) == torch.device("cuda", 1)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 0)
    assert current == [torch.device("cuda", 1), torch.device("cuda", 0), torch.device("cuda", 0)]
    assert choose_device("cpu") == torch.device("cpu")


def test_torch_never_asks_cudnn_for_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would plan anew for every length of a context: half a second for each step."""
    pretend(monkeypatch, 1)
    torch.backends.cuda.enable_cudnn_sdp(True)
    choose_device("cuda")
    assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("name", "num_devices", "message"),
    [
        ("cuda", 0, "torch sees no CUDA device"),
        ("cuda:0", 0, "no CUDA device"),
        ("cuda:2", 1, "torch sees 1 CUDA device"),
    ],
)
def test_a_device_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, name: str, num_devices: int, message: str
) -> None:
    """A wrong number must be told before a model of gigabytes is read."""
    pretend(monkeypatch, num_devices)
    with pytest.raises(ConfigError, match=message):
        choose_device(name)


@pytest.mark.parametrize("name", ["cuda:", "cuda:x", "cuda:N", "gpu", "cuda1"])
def test_names_that_mean_nothing_are_refused(name: str) -> None:
    """Taken for another, they would start on the wrong device."""
    with pytest.raises(ConfigError, match="must be one of auto, cpu, cuda, cuda:N"):
        ServeConfig(device=name)
