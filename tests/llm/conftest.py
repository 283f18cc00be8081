"""The demo model and a scripted one, each loaded once."""

from collections.abc import Iterator

import pytest
from tests.llm.driver import scripted

from streamcore import LLM


@pytest.fixture(scope="session")
def demo() -> Iterator[LLM]:
    with LLM() as llm:
        yield llm


@pytest.fixture(scope="session")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    with scripted(tmp_path_factory.mktemp("script")) as llm:
        yield llm
