"""Calls of tools and reasoning, as the OpenAI SDK for Python shows them to an agent."""

import json
from typing import Any

import openai
from checks import API_KEY, WEATHER_TOOL, check, question, raises, servers
from openai import AsyncOpenAI, OpenAI

SCRIPT = servers()[1]
WEATHER = {"city": "Zürich", "days": 2}


def client(**options: Any) -> OpenAI:
    return OpenAI(**{"base_url": f"{SCRIPT.url}/v1", "api_key": API_KEY, "max_retries": 0, **options})


def asked(case: str, **change: Any) -> dict[str, Any]:
    """Arguments of a question to an agent."""
    messages = [{"role": "user", "content": question(case)}]
    return {"model": "script", "messages": messages, "tools": [WEATHER_TOOL], **change}


def calls_of(message: Any) -> list[tuple[str, Any]]:
    """The calls of a whole message, with their arguments read."""
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]


def gathered(chunks: list[Any]) -> dict[str, Any]:
    """The message that the chunks of a stream make, put together as agents do by hand."""
    message: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": []}
    for chunk in chunks:
        delta = chunk.choices[0].delta
        message["content"] += delta.content or ""
        message["reasoning_content"] += getattr(delta, "reasoning_content", None) or ""
        for piece in delta.tool_calls or []:
            if piece.index == len(message["tool_calls"]):
                function = {"name": piece.function.name, "arguments": ""}
                message["tool_calls"].append({"id": piece.id, "type": piece.type, "function": function})
            message["tool_calls"][piece.index]["function"]["arguments"] += piece.function.arguments
    return message


@check
def whole_call() -> None:
    """A whole answer has its call with an id and its arguments, the text before it, the thought, and the end that says so."""
    answer = client().chat.completions.create(**asked("weather"))
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert calls_of(choice.message) == [("get_weather", WEATHER)]
    assert choice.message.tool_calls[0].id.startswith("call_")
    assert choice.message.tool_calls[0].type == "function"
    assert choice.message.content.strip() == "I look it up."
    assert choice.message.reasoning_content == choice.message.reasoning == "They ask about Zürich."
    details = answer.usage.model_dump()["completion_tokens_details"]
    assert 0 < details["reasoning_tokens"] < answer.usage.completion_tokens


@check
def agent() -> None:
    """An agent hands the message back as the SDK gave it, with the tool's result, and gets its answer."""
    question_ = asked("weather")
    message = client().chat.completions.create(**question_).choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "21 °C"}
    question_["messages"] += [message, result]
    answer = client().chat.completions.create(**question_).choices[0]
    assert answer.message.content == "It is 21 °C in Zürich."
    assert answer.message.tool_calls is None
    assert answer.finish_reason == "stop"


@check
def streamed_call() -> None:
    """A stream begins a call with its id, its name and no arguments, which follow in pieces and nothing else with them."""
    chunks = list(client().chat.completions.create(**asked("weather"), stream=True))
    pieces = [piece for chunk in chunks for piece in chunk.choices[0].delta.tool_calls or []]
    first = pieces[0]
    assert (first.index, first.type, first.function.name, first.function.arguments) == (
        0,
        "function",
        "get_weather",
        "",
    )
    assert first.id.startswith("call_")
    assert len(pieces) > 3
    for piece in pieces[1:]:
        assert piece.model_fields_set == {"index", "function"}
        assert piece.function.model_fields_set == {"arguments"}
        assert piece.function.arguments
    assert json.loads("".join(piece.function.arguments for piece in pieces)) == WEATHER
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "tool_calls"]


@check
def streamed_agent() -> None:
    """An agent that puts its message together from a stream has the thought, the text and the call of the whole answer."""
    question_ = asked("weather")
    message = gathered(list(client().chat.completions.create(**question_, stream=True)))
    assert message["reasoning_content"] == "They ask about Zürich."
    assert message["content"].strip() == "I look it up."
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == WEATHER
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "21 °C"}
    question_["messages"] += [message, result]
    answer = gathered(list(client().chat.completions.create(**question_, stream=True)))
    assert (answer["content"], answer["tool_calls"]) == ("It is 21 °C in Zürich.", [])


@check
async def asynchronous_agent() -> None:
    """The asynchronous client streams the same call."""
    async with AsyncOpenAI(base_url=f"{SCRIPT.url}/v1", api_key=API_KEY, max_retries=0) as agent:
        stream = await agent.chat.completions.create(**asked("weather"), stream=True)
        message = gathered([chunk async for chunk in stream])
    assert [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]] == [WEATHER]


@check
def several_calls() -> None:
    """Two calls in one answer have ids of their own, one index after the other, and no text between them."""
    whole = client().chat.completions.create(**asked("cities")).choices[0].message
    expected = [("get_weather", WEATHER), ("get_weather", {"city": "Oslo", "days": 1})]
    assert calls_of(whole) == expected
    assert whole.content is None
    assert len({call.id for call in whole.tool_calls}) == 2
    streamed = gathered(list(client().chat.completions.create(**asked("cities"), stream=True)))
    assert streamed["content"] == ""
    functions = [call["function"] for call in streamed["tool_calls"]]
    assert [(function["name"], json.loads(function["arguments"])) for function in functions] == expected


@check
def strict_calls() -> None:
    """Strict validation finds nothing in calls and thoughts: they are, to the letter, what the SDK's types say."""
    agent = client(_strict_response_validation=True)
    for case in ("weather", "cities", "thought", "short"):
        agent.chat.completions.create(**asked(case))
        list(agent.chat.completions.create(**asked(case), stream=True))


@check
def thoughts() -> None:
    """A thought without a call comes before the text, apart from it, and can be left out."""
    message = client().chat.completions.create(**asked("thought")).choices[0].message
    assert (message.reasoning_content, message.content) == ("Six times seven.", "It is 42.")
    chunks = list(client().chat.completions.create(**asked("thought"), stream=True))
    said = [
        (getattr(c.choices[0].delta, "reasoning_content", None), c.choices[0].delta.content) for c in chunks
    ]
    kinds = ["thought" if thought else "text" for thought, text in said if thought or text]
    assert kinds == sorted(kinds, reverse=True)
    assert "".join(thought or "" for thought, _ in said) == "Six times seven."
    silent = asked("thought", extra_body={"include_reasoning": False})
    assert "reasoning" not in client().chat.completions.create(**silent).choices[0].message.model_fields_set


@check
def text_that_mentions_calls() -> None:
    """What looks like a call and is none is text, and so are all calls where the client wants none."""
    said = "A call begins with <tool_call> and goes on with JSON."
    whole = client().chat.completions.create(**asked("mention")).choices[0]
    assert (whole.message.content, whole.message.tool_calls, whole.finish_reason) == (said, None, "stop")
    chunks = list(client().chat.completions.create(**asked("mention"), stream=True))
    assert gathered(chunks)["content"] == said
    unwanted = client().chat.completions.create(**asked("cities", tool_choice="none")).choices[0]
    assert unwanted.message.tool_calls is None
    assert unwanted.message.content.count("<tool_call>") == 2
    assert unwanted.finish_reason == "stop"


@check
def calls_that_end_early() -> None:
    """A call that a limit cuts ends with `length`; one that the server breaks raises after what came of it."""
    whole = client().chat.completions.create(**asked("short")).choices[0]
    assert whole.finish_reason == "length"
    assert whole.message.tool_calls[0].function.arguments == '{"city": "Zü'
    chunks = list(client().chat.completions.create(**asked("short"), stream=True))
    assert chunks[-1].choices[0].finish_reason == "length"
    assert gathered(chunks)["tool_calls"][0]["function"]["arguments"] == '{"city": "Zü'
    read = []
    with raises(openai.APIError) as raised:
        for chunk in client().chat.completions.create(**asked("broken"), stream=True):
            read.append(chunk)
    assert "broke in a call" in raised.error.message
    [call] = gathered(read)["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.dumps(WEATHER, ensure_ascii=False).startswith(call["function"]["arguments"])


@check
def bad_tools() -> None:
    """Tools that no model can be given raise `BadRequestError` with the field, streamed or not."""
    nameless = {"type": "function", "function": {"name": "get weather", "parameters": {"type": "object"}}}
    for change, param in (
        ({"tools": [nameless]}, "tools"),
        ({"tools": [{"type": "retrieval"}]}, "tools"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
    ):
        for stream in (False, True):
            with raises(openai.BadRequestError) as raised:
                client().chat.completions.create(**asked("weather", **change), stream=stream)
            assert raised.error.param.startswith(param), raised.error
