"""Calls that LlamaIndex asks for, and its structured answers."""

from typing import Any, Literal

import openai
from checks import API_KEY, check, question, raises, servers
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, ConfigDict

DEMO, SCRIPT = servers()


class Report(BaseModel):
    """The weather of a city: short, so that a toy says it too."""

    model_config = ConfigDict(extra="forbid")

    city: Literal["Zürich", "Oslo"]
    celsius: Literal[4, 21]


ZURICH = Report(city="Zürich", celsius=21)


def model(server: Any, name: str, **options: Any) -> OpenAILike:
    defaults = {"api_base": f"{server.url}/v1", "api_key": API_KEY, "is_chat_model": True, "max_retries": 0}
    return OpenAILike(model=name, **defaults, is_function_calling_model=True, **options)


def script(**options: Any) -> OpenAILike:
    return model(SCRIPT, "script", **options)


def sampled(**options: Any) -> list[OpenAILike]:
    """The demo model, which knows nothing of schemas, under several seeds."""
    return [
        model(DEMO, "demo", temperature=1, max_tokens=200, additional_kwargs={"seed": seed}, **options)
        for seed in range(4)
    ]


def get_weather(city: Literal["Zürich", "Oslo"]) -> str:
    """The weather of a city."""
    return f"21 °C in {city}"


WEATHER = FunctionTool.from_defaults(get_weather)


@check
def one_call() -> None:
    """`chat_with_tools` as it comes wants one call at most."""
    response = script().chat_with_tools([WEATHER], question("weather"))
    assert [call.tool_name for call in script().get_tool_calls_from_response(response)] == ["get_weather"]


@check
def forced_calls() -> None:
    """A call that is required comes, from a model that knows no tools."""
    for demo in sampled():
        response = demo.chat_with_tools([WEATHER], "Tell me a joke", tool_required=True)
        [call] = demo.get_tool_calls_from_response(response)
        assert call.tool_name == "get_weather"
        assert call.tool_kwargs["city"] in ("Zürich", "Oslo")


@check
def structured_answers() -> None:
    """`as_structured_llm` and `structured_predict` give the class, by a call and by a schema."""
    for case, by_schema in (("named", False), ("report", True)):
        structured = script(should_use_structured_outputs=by_schema).as_structured_llm(Report)
        assert structured.chat([ChatMessage(role="user", content=question(case))]).raw == ZURICH
        prompt = PromptTemplate(question(case))
        assert script(should_use_structured_outputs=by_schema).structured_predict(Report, prompt) == ZURICH
        for demo in sampled(should_use_structured_outputs=by_schema):
            assert isinstance(demo.structured_predict(Report, PromptTemplate("Tell me a joke")), Report)


@check
def streamed_answers() -> None:
    """`stream_structured_predict` shows the class while it grows, and ends with all of it."""
    seen = list(script().stream_structured_predict(Report, PromptTemplate(question("named"))))
    last = seen[-1][-1] if isinstance(seen[-1], list) else seen[-1]
    assert last.model_dump() == ZURICH.model_dump()


@check
def refused_schemas() -> None:
    """What cannot be enforced raises `BadRequestError` with the keyword."""

    class Tags(BaseModel):
        tags: set[str]

    with raises(openai.BadRequestError) as raised:
        sampled(should_use_structured_outputs=True)[0].structured_predict(
            Tags, PromptTemplate("Tell me a joke")
        )
    assert "uniqueItems" in str(raised.error)
