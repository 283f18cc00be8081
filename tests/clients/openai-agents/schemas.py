"""Strict tools, output types and handoffs of OpenAI's Agents SDK, which are strict unless told otherwise."""

from typing import Any, Literal

import openai
from agents import Agent, AgentOutputSchema, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool
from checks import API_KEY, check, question, raises, servers
from openai import AsyncOpenAI
from pydantic import BaseModel, ConfigDict

DEMO, SCRIPT = servers()


class Report(BaseModel):
    """The weather of a city: short, so that a toy says it too."""

    model_config = ConfigDict(extra="forbid")

    city: Literal["Zürich", "Oslo"]
    celsius: Literal[4, 21]


ZURICH = Report(city="Zürich", celsius=21)


def model(server: Any, name: str) -> OpenAIChatCompletionsModel:
    client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key=API_KEY, max_retries=0)
    return OpenAIChatCompletionsModel(model=name, openai_client=client)


def scripted(**options: Any) -> Agent:
    return Agent(name="Assistant", model=model(SCRIPT, "script"), **options)


def sampled(**options: Any) -> list[Agent]:
    """Agents of the demo model, which knows nothing of schemas, under several seeds."""
    settings = options.pop("settings", {})
    return [
        Agent(
            name="Assistant",
            model=model(DEMO, "demo"),
            model_settings=ModelSettings(
                temperature=1, max_tokens=200, extra_args={"seed": seed}, **settings
            ),
            **options,
        )
        for seed in range(4)
    ]


@check
async def strict_tools() -> None:
    """A tool made by `function_tool` as it comes is strict, and is called, whole and streamed."""
    cities: list[str] = []

    @function_tool
    def get_weather(city: str, days: int) -> str:
        """The weather of a city."""
        cities.append(city)
        return "21 °C"

    agent = scripted(tools=[get_weather])
    assert (await Runner.run(agent, question("weather"))).final_output == "It is 21 °C in Zürich."
    streamed = Runner.run_streamed(agent, question("weather"))
    async for _ in streamed.stream_events():
        pass
    assert streamed.final_output == "It is 21 °C in Zürich."
    assert cities == ["Zürich", "Zürich"]


@check
async def output_types() -> None:
    """`output_type` gives the class, strict or not, whole and streamed, and from a model that knows no schemas."""
    for output_type in (Report, AgentOutputSchema(Report, strict_json_schema=False)):
        agent = scripted(output_type=output_type)
        assert (await Runner.run(agent, question("report"))).final_output == ZURICH
        streamed = Runner.run_streamed(agent, question("report"))
        async for _ in streamed.stream_events():
            pass
        assert streamed.final_output == ZURICH
    for agent in sampled(output_type=Report):
        assert isinstance((await Runner.run(agent, "Tell me a joke")).final_output, Report)


@check
async def handoffs() -> None:
    """An agent hands over to another, whose name is a strict tool without arguments."""
    meteorologist = Agent(name="Meteorologist", model=model(SCRIPT, "script"))
    result = await Runner.run(scripted(handoffs=[meteorologist]), question("transfer"))
    assert result.last_agent.name == "Meteorologist"
    assert result.final_output == "It is 21 °C in Zürich."


@check
async def forced_calls() -> None:
    """A call that is asked for comes, from a model that knows no tools."""

    @function_tool
    def get_weather(city: Literal["Zürich", "Oslo"]) -> str:
        """The weather of a city."""
        return f"21 °C in {city}"

    for choice in ("required", "get_weather"):
        settings = {"tool_choice": choice, "parallel_tool_calls": False}
        for agent in sampled(tools=[get_weather], tool_use_behavior="stop_on_first_tool", settings=settings):
            assert (await Runner.run(agent, "Tell me a joke")).final_output in (
                "21 °C in Zürich",
                "21 °C in Oslo",
            )


@check
async def refused_schemas() -> None:
    """What cannot be enforced raises `BadRequestError` with the keyword."""

    class Tags(BaseModel):
        tags: set[str]

    agent = sampled(output_type=AgentOutputSchema(Tags, strict_json_schema=False))[0]
    with raises(openai.BadRequestError) as raised:
        await Runner.run(agent, "Tell me a joke")
    assert "uniqueItems" in raised.error.message
