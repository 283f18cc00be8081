"""Calls of tools and reasoning, as Pydantic AI's agent makes and shows them."""

from typing import Any

from checks import API_KEY, check, question, raises, servers
from openai import AsyncOpenAI
from pydantic_ai import Agent, IncompleteToolCall
from pydantic_ai.messages import ThinkingPart, ToolCallPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

SCRIPT = servers()[1]


def agent(cities: list[str]) -> Agent:
    """An agent with a tool that remembers the cities that it was asked about."""
    client = AsyncOpenAI(base_url=f"{SCRIPT.url}/v1", api_key=API_KEY, max_retries=0)
    made = Agent(OpenAIChatModel("script", provider=OpenAIProvider(openai_client=client)))

    @made.tool_plain(retries=2)
    def get_weather(city: str, days: int = 1) -> str:
        """The weather of a city."""
        cities.append(city)
        return f"21 °C for {days} days"

    return made


def parts(result: Any, kind: type) -> list[Any]:
    """All parts of a kind in the messages of a run."""
    return [part for message in result.all_messages() for part in message.parts if isinstance(part, kind)]


@check
async def whole_run() -> None:
    """`run` calls the tool, goes on to the answer, and keeps the thought apart."""
    cities: list[str] = []
    result = await agent(cities).run(question("weather"))
    assert result.output == "It is 21 °C in Zürich."
    assert cities == ["Zürich"]
    assert [part.args_as_dict() for part in parts(result, ToolCallPart)] == [{"city": "Zürich", "days": 2}]
    assert [part.content for part in parts(result, ThinkingPart)] == ["They ask about Zürich."]
    assert [m.finish_reason for m in result.all_messages() if m.kind == "response"] == ["tool_call", "stop"]


@check
async def streamed_run() -> None:
    """`iter` streams both turns of an agent to the same end."""
    cities: list[str] = []
    async with agent(cities).iter(question("weather")) as run:
        async for node in run:
            if Agent.is_model_request_node(node):
                async with node.stream(run.ctx) as stream:
                    events = [event async for event in stream]
                assert len(events) > 3
    assert run.result.output == "It is 21 °C in Zürich."
    assert cities == ["Zürich"]
    assert [part.content for part in parts(run.result, ThinkingPart)] == ["They ask about Zürich."]


@check
async def several_calls() -> None:
    """Two calls of one answer are both made."""
    cities: list[str] = []
    result = await agent(cities).run(question("cities"))
    assert result.output == "Zürich has 21 °C, Oslo has 4 °C."
    assert sorted(cities) == ["Oslo", "Zürich"]


@check
async def mistakes() -> None:
    """Arguments that do not fit, and a tool that is not there, go back to the model, which does better."""
    cities: list[str] = []
    result = await agent(cities).run(question("mistake"))
    assert result.output == "It is 21 °C in Zürich."
    assert cities == ["Zürich"]
    assert len(parts(result, ToolCallPart)) == 2
    assert (await agent(cities).run(question("stranger"))).output == "I cannot fly."


@check
async def text_and_cut_calls() -> None:
    """What looks like a call and is none is text; a call that is cut is known as such; a broken one raises."""
    result = await agent([]).run(question("mention"))
    assert result.output == "A call begins with <tool_call> and goes on with JSON."
    with raises(IncompleteToolCall):
        await agent([]).run(question("short"))
    with raises(Exception) as raised:
        async with agent([]).run_stream(question("broken")) as stream:
            async for _ in stream.stream_text():
                pass
    assert "broke in a call" in str(raised.error)
