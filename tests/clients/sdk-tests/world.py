"""A plugin of pytest for the SDKs' own tests, which were written for a mock that knows every key, model and id.

What the tests send goes to the server as it is, but for what stands for something that a mock has and a server has not: the
key, the name of the model, the id of a response, for which one is made, and the input that some of them leave out.
"""

import json
import os
import re
import urllib.request
from typing import Any

import pytest
from checks import API_KEY, servers

SDK = os.environ["SDK"]
SERVER = servers()[-1]
MODEL = "script"
RESPONSES = "/responses"
EXAMPLE_ID = re.compile(rf"^{RESPONSES}/(?!input_tokens|compact)[^/]+")
EXAMPLE_MODEL = re.compile(r"^/v1/models/[^/?]+")
# Why a test does not apply, by a part of its name.
NO_CASE = {
    "openai": {
        "compact": "the server makes no summaries, see protocol.md",
        "list_with_all_params": "asks for a page of 0 items; OpenAI documents 1 to 100",
    },
    "anthropic": {
        "create_with_all_params": "has a strict tool whose `input_schema` is no schema, which is refused",
    },
}
# Tests that name every field at once have these, too. The server refuses each by its name, and
# OpenAI some beside others.
REFUSED = {"conversation", "prompt", "moderation", "verbosity", "container"}


def stored_response() -> str:
    """The id of a response of its own, which has ended and of which every event is kept."""
    body = {"model": MODEL, "input": "Hello", "background": True, "stream": True}
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{SERVER.url}/v1{RESPONSES}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        first = next(line for line in answer if line.startswith(b"data: "))
        answer.read()
    created: dict[str, dict[str, str]] = json.loads(first.removeprefix(b"data: "))
    return created["response"]["id"]


def without_refused(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that the server honours or ignores; `text` has one of the others inside."""
    return {
        name: without_refused(value) if name == "text" and isinstance(value, dict) else value
        for name, value in fields.items()
        if name not in REFUSED
    }


def adapt(options: Any) -> None:
    """Puts what is there in the place of the examples."""
    key = {"Authorization": f"Bearer {API_KEY}"} if SDK == "openai" else {"X-Api-Key": API_KEY}
    options.headers = {**(options.headers or {}), **key}
    options.url = EXAMPLE_ID.sub(lambda _: f"{RESPONSES}/{stored_response()}", options.url)
    options.url = EXAMPLE_MODEL.sub(f"/v1/models/{MODEL}", options.url)
    if options.method != "post" or not isinstance(options.json_data, dict | None):
        return
    body = without_refused(options.json_data or {})
    if "model" in body:
        body["model"] = MODEL
    if "previous_response_id" in body:
        body["previous_response_id"] = stored_response()
    if options.url in (RESPONSES, f"{RESPONSES}/input_tokens"):
        body.setdefault("input", "Hello")
    options.json_data = body


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every client of the SDK asks for what is there."""
    sdk = pytest.importorskip(SDK)
    for client in (getattr(sdk, SDK_CLIENTS[SDK]), getattr(sdk, f"Async{SDK_CLIENTS[SDK]}")):
        monkeypatch.setattr(client, "_prepare_options", preparing(client))


SDK_CLIENTS = {"openai": "OpenAI", "anthropic": "Anthropic"}


def preparing(client: Any) -> Any:
    """The client's own hook, behind which the request is adapted."""
    prepare = client._prepare_options

    def prepared(self: Any, options: Any) -> Any:
        options = prepare(self, options)
        adapt(options)
        return options

    async def prepared_later(self: Any, options: Any) -> Any:
        options = await prepare(self, options)
        adapt(options)
        return options

    return prepared_later if client.__name__.startswith("Async") else prepared


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what does not apply, and says why."""
    for item in items:
        reason = next((why for part, why in NO_CASE[SDK].items() if part in item.nodeid), None)
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A line for each test, as the other programs here print it."""
    if report.when == "call" and report.passed:
        print(f"\nok    {SDK}: {report.nodeid}")
    elif report.skipped:
        print(f"\nSKIP  {SDK}: {report.nodeid}: {report.longrepr[-1]}")
    elif report.failed:
        print(f"\nFAIL  {SDK}: {report.nodeid}\n{report.longreprtext}")
