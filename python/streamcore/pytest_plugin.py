"""The pytest fixture `streamcore_server`. It costs nothing until a test asks for it: all else is imported then."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from streamcore.testing import Rule, ScriptedServer, StartServer


@pytest.fixture
def streamcore_server() -> "Iterator[StartServer]":
    """Start scripted servers that end with the test: `streamcore_server(rules).base_url`."""
    from streamcore.testing import scripted_server

    with ExitStack() as servers:

        def start(
            rules: "Sequence[Rule] | Path", *, models: Sequence[str] = (), api_keys: Sequence[str] = ()
        ) -> "ScriptedServer":
            return servers.enter_context(scripted_server(rules, models=models, api_keys=api_keys))

        yield start
