"""LlamaIndex with its model class for servers that speak OpenAI's protocol."""

from typing import Any

import openai
import schemas  # noqa: F401 - its checks come first
from checks import API_KEY, check, question, raises, run_checks, servers
from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCall
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

DEMO, SCRIPT = servers()
QUESTION = "Explain machine learning"
ZURICH = {"city": "Zürich", "days": 2}


def model(name: str = "demo", url: str = DEMO.url, **options: Any) -> OpenAILike:
    defaults = {"api_base": f"{url}/v1", "api_key": API_KEY, "is_chat_model": True, "max_retries": 0}
    return OpenAILike(model=name, **{**defaults, "temperature": 0, "context_window": 4096, **options})


def scripted(**options: Any) -> OpenAILike:
    return model("script", SCRIPT.url, is_function_calling_model=True, **options)


def get_weather(city: str, days: int = 1) -> str:
    """The weather of a city."""
    return f"21 °C in {city} for {days} days"


WEATHER = FunctionTool.from_defaults(get_weather)


@check
async def answers() -> None:
    """`chat`, `stream_chat`, `achat` and `astream_chat` give one text, in pieces where they stream."""
    messages = [ChatMessage(role="user", content=QUESTION)]
    whole = model().chat(messages).message.content
    assert len(whole) > 20
    streamed = list(model().stream_chat(messages))
    assert len(streamed) > 5
    assert streamed[-1].message.content == whole
    assert (await model().achat(messages)).message.content == whole
    pieces = [chunk.delta or "" async for chunk in await model().astream_chat(messages)]
    assert "".join(pieces) == whole


@check
def completions() -> None:
    """A model that is no chat model talks to the completions API, streamed or not."""
    older = model(is_chat_model=False, max_tokens=8)
    whole = older.complete("1, 2, 3,").text
    assert list(older.stream_complete("1, 2, 3,"))[-1].text == whole != ""


@check
def chosen_calls() -> None:
    """`chat_with_tools` leaves the choice to the model, and gives its calls with their arguments read."""
    for case, expected in (
        ("weather", [ZURICH]),
        ("cities", [ZURICH, {"city": "Oslo", "days": 1}]),
        ("mention", []),
    ):
        response = scripted().chat_with_tools([WEATHER], question(case), allow_parallel_tool_calls=True)
        calls = scripted().get_tool_calls_from_response(response, error_on_no_tool_call=False)
        assert [(call.tool_name, call.tool_kwargs) for call in calls] == [
            ("get_weather", k) for k in expected
        ]


@check
def streamed_calls() -> None:
    """`stream_chat_with_tools` gathers the call while it grows."""
    last = list(
        scripted().stream_chat_with_tools([WEATHER], question("weather"), allow_parallel_tool_calls=True)
    )[-1]
    [call] = scripted().get_tool_calls_from_response(last)
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", ZURICH)
    assert last.message.content.strip() == "I look it up."


@check
async def agent() -> None:
    """A `FunctionAgent` calls the tool and goes on to the answer, streamed or not."""
    for streaming in (True, False):
        made = FunctionAgent(tools=[get_weather], llm=scripted(), streaming=streaming)
        handler = made.run(question("weather"))
        events = [event async for event in handler.stream_events()]
        assert str(await handler) == "It is 21 °C in Zürich."
        assert [event.tool_kwargs for event in events if type(event) is ToolCall] == [ZURICH]
        if streaming:
            assert sum(isinstance(event, AgentStream) for event in events) > 10


@check
def errors() -> None:
    """Errors are the OpenAI SDK's classes, also in the middle of a stream."""
    messages = [ChatMessage(role="user", content=QUESTION)]
    for error, options in (
        (openai.BadRequestError, {"temperature": 2.0, "additional_kwargs": {"top_p": 2}}),
        (openai.AuthenticationError, {"api_key": "wrong"}),
        (openai.NotFoundError, {"name": "gpt-unknown"}),
    ):
        with raises(error):
            model(**options).chat(messages)
        with raises(error):
            list(model(**options).stream_chat(messages))
    with raises(openai.APIError) as raised:
        list(scripted().stream_chat_with_tools([WEATHER], question("broken"), allow_parallel_tool_calls=True))
    assert "broke in a call" in str(raised.error)


if __name__ == "__main__":
    run_checks()
