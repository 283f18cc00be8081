"""A hub with a model, and a machine whose cache is empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hub.command import Machine
from tests.hub.server import Hub, running_hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as started:
        yield started


@pytest.fixture
def machine(hub: Hub, tmp_path: Path) -> Machine:
    return Machine(hub, tmp_path / "home")
