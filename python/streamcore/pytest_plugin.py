"""The pytest fixture `streamcore_server`. It costs nothing until a test asks for it: all else is
imported then.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamcore.testing import Rule, ScriptedServer, StartServer


@pytest.fixture
def streamcore_server() -> "Iterator[StartServer]":
    """Start scripted servers that end with the test: `streamcore_server(rules).base_url`."""
    from streamcore.testing import scripted_server

    with ExitStack() as servers:

        def start(rules: "Sequence[Rule] | Path", **options: Any) -> "ScriptedServer":
            return servers.enter_context(scripted_server(rules, **options))

        yield start
