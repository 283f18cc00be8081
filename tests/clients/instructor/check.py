"""instructor: answers as Pydantic models, asked again where they do not fit."""

from collections.abc import Iterable
from typing import Any

import instructor
import schemas  # noqa: F401 - its checks come first
from checks import API_KEY, check, question, raises, run_checks, servers
from instructor.core.exceptions import InstructorRetryException
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

DEMO, SCRIPT = servers()


class Report(BaseModel):
    """The weather of a city."""

    city: str
    celsius: int


ZURICH = {"city": "Zürich", "celsius": 21}


def client(mode: instructor.Mode, **options: Any) -> Any:
    """The library's client in one of its modes."""
    defaults = {"base_url": f"{SCRIPT.url}/v1", "api_key": API_KEY, "max_retries": 0}
    return instructor.from_openai(OpenAI(**{**defaults, **options}), mode=mode)


def asked(case: str, **change: Any) -> dict[str, Any]:
    """Arguments of a question."""
    messages = [{"role": "user", "content": question(case)}]
    return {"model": "script", "messages": messages, "response_model": Report, "max_retries": 0, **change}


@check
def json_in_text() -> None:
    """`MD_JSON`, which asks in words alone, finds the JSON in the answer, and gives the completion beside it."""
    create = client(instructor.Mode.MD_JSON).chat.completions.create_with_completion
    report, completion = create(**asked("fenced"))
    assert report.model_dump() == ZURICH
    assert completion.usage.completion_tokens > 5


@check
def second_attempt() -> None:
    """An answer that does not fit the model is asked for again, with the reason, as often as the program says."""
    asks = client(instructor.Mode.MD_JSON).chat.completions.create
    replies = SCRIPT.metric("streamcore_requests_total")
    assert asks(**asked("warm", max_retries=1)).model_dump() == ZURICH
    assert SCRIPT.metric("streamcore_requests_total") == replies + 2
    with raises(InstructorRetryException) as raised:
        asks(**asked("warm"))
    assert "celsius" in str(raised.error)


@check
def streamed_parts() -> None:
    """`create_partial` shows the model while it grows, and ends with all of it."""
    seen = list(client(instructor.Mode.MD_JSON).chat.completions.create_partial(**asked("fenced")))
    assert len(seen) > 2
    assert seen[-1].model_dump() == ZURICH


@check
def several_models() -> None:
    """`PARALLEL_TOOLS`, which leaves the choice to the model, reads each of its calls."""
    create = client(instructor.Mode.PARALLEL_TOOLS).chat.completions.create
    reports = list(create(**asked("reports", response_model=Iterable[Report])))
    assert [report.model_dump() for report in reports] == [ZURICH, {"city": "Oslo", "celsius": 4}]


@check
async def asynchronous() -> None:
    """The asynchronous client does the same."""
    asks = AsyncOpenAI(base_url=f"{SCRIPT.url}/v1", api_key=API_KEY, max_retries=0)
    create = instructor.from_openai(asks, mode=instructor.Mode.MD_JSON).chat.completions.create
    assert (await create(**asked("fenced"))).model_dump() == ZURICH


@check
def errors() -> None:
    """What the server refuses comes with its message."""
    with raises(Exception) as raised:
        client(instructor.Mode.MD_JSON).chat.completions.create(**asked("fenced", temperature=3))
    assert "temperature" in str(raised.error)
    with raises(Exception) as raised:
        client(instructor.Mode.MD_JSON, api_key="wrong").chat.completions.create(**asked("fenced"))
    assert "Incorrect API key" in str(raised.error)


if __name__ == "__main__":
    run_checks()
