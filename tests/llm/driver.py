"""Models for these tests, and a look at what they hold."""

import json
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import metrics

from streamcore import LLM
from streamcore.bell import doorbell

RULES = [
    {"when": {"equals": "hang"}, "answer": {"text": "a b c d", "fault": {"kind": "hang", "after_tokens": 3}}},
    {
        "when": {"equals": "fail"},
        "answer": {"text": "a b c d", "fault": {"kind": "error", "after_tokens": 1}},
    },
    {"when": {"equals": "cut"}, "answer": {"text": "a b c d", "fault": {"kind": "cut", "after_tokens": 1}}},
    {
        "when": {"equals": "refuse"},
        "answer": {"error": {"status": 429, "code": "rate_limit_exceeded", "message": "not so fast"}},
    },
    {"answer": {"pieces": ["one", " two", " three"]}},
]


@contextmanager
def scripted(folder: Path, **settings: Any) -> Iterator[LLM]:
    """A model without torch that says "one two three", or breaks in the way that the prompt names."""
    with LLM(f"script:{script_file(folder)}", **settings) as llm:
        yield llm


def script_file(folder: Path) -> Path:
    """The script of these models."""
    path = folder / "script.json"
    path.write_text(json.dumps({"rules": RULES}))
    return path


def metrics_page(llm: LLM) -> str:
    """What `/metrics` says now, asked for through the same door."""
    descriptor, bell = doorbell()
    exchange = llm._model.server.open(bell, 0, "GET", "", b"/metrics", [])
    exchange.feed(b"", True)
    exchange.resume()
    page, is_over = b"", False
    while not is_over:
        select.select([descriptor], [], [])
        os.read(descriptor, 4096)
        for _, part in bell.take():
            assert part, "there are metrics"
            page += part.get("body", b"")
            is_over = part.get("more_body") is False
            exchange.resume()
    os.close(descriptor)
    return page.decode()


def metric(llm: LLM, name: str) -> float:
    """One value of `/metrics`."""
    return metrics.value(metrics_page(llm), name)


def num_requests(llm: LLM) -> float:
    """Requests that hold something."""
    return metrics.num_requests(metrics_page(llm))


def all_is_back(llm: LLM) -> None:
    """Waits until no request holds anything."""
    patience = metrics.Patience()
    while not patience.is_all_back(metrics_page(llm)):
        # A loop that asks without a pause keeps the interpreter from the engine.
        time.sleep(0.01)
