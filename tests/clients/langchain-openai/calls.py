"""Calls of tools, as LangChain shows them to a chain or an agent."""

from typing import Any

import openai
from checks import API_KEY, check, question, raises, servers
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

SCRIPT = servers()[1]
ZURICH = {"city": "Zürich", "days": 2}


@tool
def get_weather(city: str, days: int = 1) -> str:
    """The weather of a city."""
    return f"21 °C in {city} for {days} days"


def agent(**options: Any) -> Any:
    """A model with the tool bound to it."""
    model = ChatOpenAI(base_url=f"{SCRIPT.url}/v1", api_key=API_KEY, model="script", max_retries=0, **options)
    return model.bind_tools([get_weather])


def calls_of(message: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(call["name"], call["args"]) for call in message.tool_calls]


@check
def agent_loop() -> None:
    """`bind_tools` gives calls with their arguments read; a `ToolMessage` with the result leads to the answer."""
    messages: list[Any] = [HumanMessage(question("weather"))]
    said = agent().invoke(messages)
    assert calls_of(said) == [("get_weather", ZURICH)]
    assert said.invalid_tool_calls == []
    assert said.content.strip() == "I look it up."
    assert said.response_metadata["finish_reason"] == "tool_calls"
    assert said.usage_metadata["output_token_details"]["reasoning"] > 0
    result = get_weather.invoke(said.tool_calls[0])
    assert isinstance(result, ToolMessage)
    answer = agent().invoke([*messages, said, result])
    assert (answer.content, answer.tool_calls) == ("It is 21 °C in Zürich.", [])


@check
def streamed_loop() -> None:
    """Chunks of a stream add up to the same call, which can be read while it grows; the loop goes on from their sum."""
    messages: list[Any] = [HumanMessage(question("weather"))]
    gathered: Any = None
    cities = []
    for chunk in agent().stream(messages):
        gathered = chunk if gathered is None else gathered + chunk
        cities += [call["args"].get("city") for call in gathered.tool_calls]
    assert calls_of(gathered) == [("get_weather", ZURICH)]
    assert "Zürich" in cities
    assert gathered.content.strip() == "I look it up."
    assert gathered.response_metadata["finish_reason"] == "tool_calls"
    result = get_weather.invoke(gathered.tool_calls[0])
    answer = list(agent().stream([*messages, gathered, result]))
    assert "".join(chunk.content for chunk in answer) == "It is 21 °C in Zürich."


@check
async def asynchronous_loop() -> None:
    """`ainvoke` and `astream` give the same two calls of one answer, with ids of their own."""
    whole = await agent().ainvoke(question("cities"))
    gathered: Any = None
    async for chunk in agent().astream(question("cities")):
        gathered = chunk if gathered is None else gathered + chunk
    assert (
        calls_of(whole)
        == calls_of(gathered)
        == [("get_weather", ZURICH), ("get_weather", {"city": "Oslo", "days": 1})]
    )
    assert len({call["id"] for call in [*whole.tool_calls, *gathered.tool_calls]}) == 4


@check
def text_and_cut_calls() -> None:
    """What looks like a call and is none is text; a call that is cut ends with `length` and is no valid call."""
    mention = agent().invoke(question("mention"))
    assert mention.content == "A call begins with <tool_call> and goes on with JSON."
    assert (mention.tool_calls, mention.invalid_tool_calls) == ([], [])
    cut = agent().invoke(question("short"))
    assert cut.response_metadata["finish_reason"] == "length"
    assert cut.tool_calls == []
    assert [call["name"] for call in cut.invalid_tool_calls] == ["get_weather"]


@check
def broken_call() -> None:
    """A stream that fails within a call raises with the server's message."""
    with raises(openai.APIError) as raised:
        list(agent().stream(question("broken")))
    assert "broke in a call" in str(raised.error)
