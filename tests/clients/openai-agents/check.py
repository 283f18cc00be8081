"""OpenAI's Agents SDK with its model for chat completions."""

import asyncio
from typing import Any

import answers  # its checks come first
import openai
import schemas  # noqa: F401 - and so do its
from agents import (
    Agent,
    ModelBehaviorError,
    OpenAIChatCompletionsModel,
    Runner,
    set_tracing_disabled,
)
from checks import API_KEY, check, question, raises, run_checks, servers
from openai import AsyncOpenAI

DEMO, SCRIPT = servers()

set_tracing_disabled(True)


def model(name: str = "script", url: str = SCRIPT.url, **options: Any) -> OpenAIChatCompletionsModel:
    client = AsyncOpenAI(**{"base_url": f"{url}/v1", "api_key": API_KEY, "max_retries": 0, **options})
    return OpenAIChatCompletionsModel(model=name, openai_client=client)


def agent(cities: list[str]) -> Agent:
    """The agent of `answers.py` with the model for chat completions."""
    return answers.agent_with(model(), cities)


@check
async def whole_run() -> None:
    """`Runner.run` calls the tool, goes on to the answer, and counts the tokens of both turns."""
    cities: list[str] = []
    result = await Runner.run(agent(cities), question("weather"))
    assert result.final_output == "It is 21 °C in Zürich."
    assert cities == ["Zürich"]
    kinds = [item.type for item in result.new_items]
    assert kinds[-3:] == ["tool_call_item", "tool_call_output_item", "message_output_item"]
    assert "reasoning_item" in kinds
    usage = result.context_wrapper.usage
    assert usage.requests == 2
    assert usage.output_tokens_details.reasoning_tokens > 0


@check
async def streamed_run() -> None:
    """`Runner.run_streamed` tells the pieces of the thought, of the arguments and of the text, to the same end."""
    cities: list[str] = []
    result = Runner.run_streamed(agent(cities), question("weather"))
    kinds = [event.data.type async for event in result.stream_events() if event.type == "raw_response_event"]
    assert result.final_output == "It is 21 °C in Zürich."
    assert cities == ["Zürich"]
    assert kinds.count("response.function_call_arguments.delta") > 3
    assert kinds.count("response.output_text.delta") > 3
    assert any("reasoning" in kind for kind in kinds)


@check
async def several_calls() -> None:
    """Two calls of one answer are both made, streamed or not."""
    cities: list[str] = []
    assert (
        await Runner.run(agent(cities), question("cities"))
    ).final_output == "Zürich has 21 °C, Oslo has 4 °C."
    streamed = Runner.run_streamed(agent(cities), question("cities"))
    async for _ in streamed.stream_events():
        pass
    assert streamed.final_output == "Zürich has 21 °C, Oslo has 4 °C."
    assert sorted(cities) == ["Oslo", "Oslo", "Zürich", "Zürich"]


@check
async def plain_answers() -> None:
    """An agent without tools answers, streamed or not, and from the demo model too."""
    plain = Agent(name="Assistant", model=model("demo", DEMO.url))
    whole = (await Runner.run(plain, "Hello")).final_output
    streamed = Runner.run_streamed(plain, "Hello")
    async for _ in streamed.stream_events():
        pass
    assert len(whole) > 3
    assert len(streamed.final_output) > 3


@check
async def mistakes() -> None:
    """Arguments that do not fit go back to the model; a tool that is not there is the model's error."""
    cities: list[str] = []
    assert (await Runner.run(agent(cities), question("mistake"))).final_output == "It is 21 °C in Zürich."
    assert cities == ["Zürich"]
    with raises(ModelBehaviorError) as raised:
        await Runner.run(agent([]), question("stranger"))
    assert "fly" in str(raised.error)


@check
async def text() -> None:
    """What looks like a call and is none is text."""
    result = await Runner.run(agent([]), question("mention"))
    assert result.final_output == "A call begins with <tool_call> and goes on with JSON."


@check
async def errors() -> None:
    """Errors are the OpenAI SDK's classes, also in the middle of a stream."""
    with raises(openai.AuthenticationError):
        await Runner.run(Agent(name="Assistant", model=model(api_key="wrong")), "Hello")
    with raises(openai.NotFoundError):
        await Runner.run(Agent(name="Assistant", model=model("gpt-4")), "Hello")
    with raises(openai.RateLimitError):
        await Runner.run(Agent(name="Assistant", model=model()), "429")
    broken = Runner.run_streamed(agent([]), question("broken"))
    with raises(openai.APIError) as raised:
        async for _ in broken.stream_events():
            pass
    assert "broke in a call" in str(raised.error)


@check
async def early_close() -> None:
    """A run that is cancelled stops the generation at the server."""
    aborted = SCRIPT.num_aborted()
    run = Runner.run_streamed(Agent(name="Assistant", model=model()), "hang")
    async for event in run.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            run.cancel()
    await asyncio.to_thread(SCRIPT.wait_for_aborted, aborted + 1)


if __name__ == "__main__":
    run_checks()
