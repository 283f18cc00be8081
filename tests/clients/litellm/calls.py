"""Calls of tools and reasoning, as LiteLLM shows them."""

import json
import os
from typing import Any

from checks import API_KEY, WEATHER_TOOL, check, question, raises, servers

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
# Imported late: it would ask the network for prices.
import litellm

SCRIPT = servers()[1]
PROVIDERS = ("openai", "hosted_vllm")
ZURICH = {"city": "Zürich", "days": 2}


def asked(case: str, provider: str = "openai", **change: Any) -> dict[str, Any]:
    """The arguments of a question to an agent."""
    messages = [{"role": "user", "content": question(case)}]
    defaults = {"api_base": f"{SCRIPT.url}/v1", "api_key": API_KEY, "max_retries": 0, "tools": [WEATHER_TOOL]}
    return {**defaults, "model": f"{provider}/script", "messages": messages, **change}


def calls_of(message: Any) -> list[tuple[str, Any]]:
    """The calls of a message, with their arguments read."""
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]


@check
def agent_loop() -> None:
    """`completion` gives the call, the text and the thought; its message goes back with the result, and the answer comes."""
    for provider in PROVIDERS:
        question_ = asked("weather", provider)
        choice = litellm.completion(**question_).choices[0]
        assert choice.finish_reason == "tool_calls"
        assert calls_of(choice.message) == [("get_weather", ZURICH)]
        assert choice.message.content.strip() == "I look it up."
        assert choice.message.reasoning_content == "They ask about Zürich."
        result = {"role": "tool", "tool_call_id": choice.message.tool_calls[0].id, "content": "21 °C"}
        question_["messages"] += [choice.message, result]
        answer = litellm.completion(**question_).choices[0]
        assert answer.message.content == "It is 21 °C in Zürich."
        assert answer.finish_reason == "stop"


@check
def streamed_calls() -> None:
    """The chunks of a stream, put together by `stream_chunk_builder`, are the whole answer: two calls, in order."""
    expected = [("get_weather", ZURICH), ("get_weather", {"city": "Oslo", "days": 1})]
    for provider in PROVIDERS:
        chunks = list(litellm.completion(**asked("cities", provider), stream=True))
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "tool_calls"
        message = litellm.stream_chunk_builder(chunks).choices[0].message
        assert calls_of(message) == expected
        assert len({call.id for call in message.tool_calls}) == 2


@check
async def streamed_thought() -> None:
    """`acompletion` streams the thought apart from the text."""
    stream = await litellm.acompletion(**asked("thought"), stream=True)
    deltas = [chunk.choices[0].delta async for chunk in stream]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thought == "Six times seven."
    assert "".join(delta.content or "" for delta in deltas) == "It is 42."


@check
def text_and_cut_calls() -> None:
    """What looks like a call and is none is text; a call that is cut ends with `length`."""
    mention = litellm.completion(**asked("mention")).choices[0].message
    assert mention.content == "A call begins with <tool_call> and goes on with JSON."
    assert mention.tool_calls is None
    assert litellm.completion(**asked("short")).choices[0].finish_reason == "length"


@check
def broken_call() -> None:
    """A stream that fails within a call raises with the server's message."""
    with raises(Exception) as raised:
        list(litellm.completion(**asked("broken"), stream=True))
    assert "broke in a call" in str(raised.error)
