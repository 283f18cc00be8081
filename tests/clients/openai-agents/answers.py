"""The Agents SDK with its default model, which speaks responses."""

import asyncio

import openai
from agents import Agent, Model, OpenAIResponsesModel, Runner, function_tool
from checks import API_KEY, check, question, raises, servers
from openai import AsyncOpenAI

SCRIPT = servers()[1]


def model(name: str = "script") -> OpenAIResponsesModel:
    client = AsyncOpenAI(base_url=f"{SCRIPT.url}/v1", api_key=API_KEY, max_retries=0)
    return OpenAIResponsesModel(model=name, openai_client=client)


def agent_with(model: Model, cities: list[str]) -> Agent:
    """An agent with a tool that remembers the cities that it was asked about."""

    @function_tool(strict_mode=False)
    def get_weather(city: str, days: int = 1) -> str:
        """The weather of a city."""
        cities.append(city)
        return f"21 °C for {days} days"

    return Agent(name="Assistant", instructions="Be brief.", model=model, tools=[get_weather])


def agent(cities: list[str]) -> Agent:
    """The same with the default model."""
    return agent_with(model(), cities)


@check
async def whole_run_of_responses() -> None:
    """`Runner.run` calls the tool, sends thought and call back, and counts the tokens of both turns."""
    cities: list[str] = []
    result = await Runner.run(agent(cities), question("weather"))
    assert result.final_output == "It is 21 °C in Zürich."
    assert cities == ["Zürich"]
    assert "reasoning_item" in [item.type for item in result.new_items]
    assert result.context_wrapper.usage.requests == 2
    assert result.context_wrapper.usage.output_tokens_details.reasoning_tokens > 0


@check
async def streamed_run_of_responses() -> None:
    """`Runner.run_streamed` tells the pieces of the thought, of the arguments and of the text, to the same end."""
    cities: list[str] = []
    result = Runner.run_streamed(agent(cities), question("weather"))
    kinds = [event.data.type async for event in result.stream_events() if event.type == "raw_response_event"]
    assert result.final_output == "It is 21 °C in Zürich."
    assert cities == ["Zürich"]
    assert kinds.count("response.function_call_arguments.delta") > 3
    assert kinds.count("response.reasoning_text.delta") > 1


@check
async def loop_of_responses() -> None:
    """Two calls, one after the other, are made and lead to the answer, whole and streamed."""
    cities: list[str] = []
    assert (await Runner.run(agent(cities), question("trip"))).final_output == "Zürich is warmer."
    streamed = Runner.run_streamed(agent(cities), question("trip"))
    async for _ in streamed.stream_events():
        pass
    assert streamed.final_output == "Zürich is warmer."
    assert cities == ["Zürich", "Oslo"] * 2


@check
async def conversation_of_responses() -> None:
    """`auto_previous_response_id` sends only what is new, and the server knows the rest."""
    result = await Runner.run(agent([]), question("trip"), auto_previous_response_id=True)
    assert result.final_output == "Zürich is warmer."
    assert result.last_response_id


@check
async def errors_of_responses() -> None:
    """A model that is not there is refused, and a stream that fails raises."""
    with raises(openai.NotFoundError):
        await Runner.run(Agent(name="Assistant", model=model("gpt-4")), "Hello")
    aborted = SCRIPT.num_aborted()
    run = Runner.run_streamed(Agent(name="Assistant", model=model()), "hang")
    async for event in run.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            run.cancel()
    await asyncio.to_thread(SCRIPT.wait_for_aborted, aborted + 1)
