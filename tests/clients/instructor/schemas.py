"""The modes of instructor that hold the answer to a schema: by a call, by JSON, by a strict schema."""

from typing import Any, Literal

import instructor
from checks import API_KEY, check, question, raises, servers
from openai import OpenAI
from pydantic import BaseModel, ConfigDict

DEMO, SCRIPT = servers()
Mode = instructor.Mode


class Report(BaseModel):
    """The weather of a city: short, so that a toy says it too."""

    model_config = ConfigDict(extra="forbid")

    city: Literal["Zürich", "Oslo"]
    celsius: Literal[4, 21]


ZURICH = {"city": "Zürich", "celsius": 21}
CASES = (
    (Mode.TOOLS, "named"),
    (Mode.TOOLS_STRICT, "named"),
    (Mode.JSON, "report"),
    (Mode.JSON_SCHEMA, "report"),
)


def chat(server: Any, mode: instructor.Mode) -> Any:
    client = OpenAI(base_url=f"{server.url}/v1", api_key=API_KEY, max_retries=0)
    return instructor.from_openai(client, mode=mode).chat.completions


def asked(case: str, **change: Any) -> dict[str, Any]:
    """Arguments of a question to the script."""
    messages = [{"role": "user", "content": question(case)}]
    return {"model": "script", "messages": messages, "response_model": Report, "max_retries": 0, **change}


def sampled(**change: Any) -> list[dict[str, Any]]:
    """Questions to the demo model, which knows nothing of schemas, under several seeds."""
    messages = [{"role": "user", "content": "Tell me a joke"}]
    common = {"messages": messages, "temperature": 1, "max_tokens": 200, "max_retries": 0, **change}
    return [{"model": "demo", "response_model": Report, **common, "seed": seed} for seed in range(4)]


@check
def modes() -> None:
    """Each mode gives the class."""
    for mode, case in CASES:
        assert chat(SCRIPT, mode).create(**asked(case)).model_dump() == ZURICH, mode


@check
def sampled_modes() -> None:
    """A model that knows nothing of tools and schemas is held to both at the first attempt."""
    for mode in (Mode.TOOLS, Mode.TOOLS_STRICT, Mode.JSON_SCHEMA):
        for demo in sampled():
            assert set(chat(DEMO, mode).create(**demo).model_dump()) == {"city", "celsius"}


@check
def streamed_parts() -> None:
    """`create_partial` shows the class while it grows, and ends with all of it."""
    for mode, case in CASES:
        seen = list(chat(SCRIPT, mode).create_partial(**asked(case)))
        assert seen[-1].model_dump() == ZURICH, mode


@check
def streamed_lists() -> None:
    """`create_iterable` gives each class as soon as it is complete."""
    reports = list(chat(SCRIPT, Mode.TOOLS).create_iterable(**asked("listed")))
    assert [report.model_dump() for report in reports] == [ZURICH, {"city": "Oslo", "celsius": 4}]


@check
def refused_schemas() -> None:
    """What cannot be enforced names the keyword."""

    class Tags(BaseModel):
        tags: set[str]

    with raises(Exception) as raised:
        chat(DEMO, Mode.JSON_SCHEMA).create(**sampled(response_model=Tags)[0])
    assert "uniqueItems" in str(raised.error)
