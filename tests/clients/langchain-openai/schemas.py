"""Answers that are held to a schema, as LangChain asks for them and reads them."""

from typing import Any, Literal

import openai
from checks import API_KEY, check, question, raises, servers
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ConfigDict

DEMO, SCRIPT = servers()


class Report(BaseModel):
    """The weather of a city: short, so that a toy says it too."""

    model_config = ConfigDict(extra="forbid")

    city: Literal["Zürich", "Oslo"]
    celsius: Literal[4, 21]


ZURICH = Report(city="Zürich", celsius=21)


def at(server: Any, name: str, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(base_url=f"{server.url}/v1", api_key=API_KEY, model=name, max_retries=0, **options)


def sampled(**options: Any) -> list[ChatOpenAI]:
    """The demo model, which knows nothing of schemas, under several seeds."""
    return [at(DEMO, "demo", temperature=1, max_tokens=200, seed=seed, **options) for seed in range(4)]


@check
def structured_output() -> None:
    """`with_structured_output` gives the class by each of its methods."""
    script = at(SCRIPT, "script")
    for case, method in (("report", "json_schema"), ("named", "function_calling"), ("report", "json_mode")):
        assert script.with_structured_output(Report, method=method).invoke(question(case)) == ZURICH
    for model in sampled():
        for method in ("json_schema", "function_calling"):
            assert isinstance(
                model.with_structured_output(Report, method=method).invoke("Tell me a joke"), Report
            )


@check
def raw_and_dictionaries() -> None:
    """`include_raw` gives the message beside the class, and a schema that is a dictionary gives a dictionary."""
    script = at(SCRIPT, "script")
    both = script.with_structured_output(Report, include_raw=True).invoke(question("report"))
    assert (both["parsed"], both["parsing_error"]) == (ZURICH, None)
    assert both["raw"].usage_metadata["output_tokens"] > 5
    described = {"title": "Report", "description": "The weather", **Report.model_json_schema()}
    assert script.with_structured_output(described).invoke(question("report")) == ZURICH.model_dump()


@check
def streamed_output() -> None:
    """`stream` of a structured output ends with the class, and with a dictionary shows it while it grows."""
    script = at(SCRIPT, "script")
    assert list(script.with_structured_output(Report).stream(question("report")))[-1] == ZURICH
    described = {"title": "Report", "description": "The weather", **Report.model_json_schema()}
    chunks = list(
        script.with_structured_output(described, method="function_calling").stream(question("named"))
    )
    assert len(chunks) > 2
    assert chunks[-1] == ZURICH.model_dump()


@check
async def asynchronous_output() -> None:
    """`ainvoke` does the same."""
    assert await at(SCRIPT, "script").with_structured_output(Report).ainvoke(question("report")) == ZURICH


@check
def forced_calls() -> None:
    """Tools that are bound as strict, and calls that are asked for, come from a model that knows no tools."""
    for model in sampled():
        for choice in ("any", "Report"):
            bound = model.bind_tools([Report], tool_choice=choice, strict=True, parallel_tool_calls=False)
            [call] = bound.invoke("Tell me a joke").tool_calls
            assert call["name"] == "Report"
            Report.model_validate(call["args"])


@check
def refused_schemas() -> None:
    """What cannot be enforced raises `BadRequestError` with the keyword."""
    unique = {
        "title": "Tags",
        "type": "object",
        "properties": {"tags": {"type": "array", "uniqueItems": True}},
    }
    with raises(openai.BadRequestError) as raised:
        at(DEMO, "demo").with_structured_output(unique).invoke("Tell me a joke")
    assert "uniqueItems" in str(raised.error)
