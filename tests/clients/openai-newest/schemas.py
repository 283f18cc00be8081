"""Answers that are held to a schema, as the OpenAI SDK for Python asks for them and reads them."""

import contextlib
import json
from typing import Any, Literal

import openai
from checks import API_KEY, WEATHER_TOOL, check, question, raises, servers
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel

DEMO, SCRIPT = servers()
NUM_SEEDS = 8


class Report(BaseModel):
    """What a model is to say of the weather: short, so that a toy says it too."""

    city: Literal["Zürich", "Oslo"]
    celsius: Literal[4, 21]


class GetWeather(BaseModel):
    """The weather of a city."""

    city: Literal["Zürich", "Oslo"]
    days: Literal[1, 2]


ZURICH = Report(city="Zürich", celsius=21)
TOOL = pydantic_function_tool(GetWeather, name="get_weather")
FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "report",
        "strict": True,
        "schema": {**Report.model_json_schema(), "additionalProperties": False},
    },
}


def at(server: Any) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=API_KEY, max_retries=0)


def helpers(client: OpenAI) -> Any:
    """Where `.parse()` and `.stream()` are, which were beta first."""
    with contextlib.suppress(AttributeError):
        return client.chat.completions if client.chat.completions.parse else None
    return client.beta.chat.completions


def scripted(case: str, **change: Any) -> dict[str, Any]:
    """A question to the script."""
    return {"model": "script", "messages": [{"role": "user", "content": question(case)}], **change}


def sampled(**change: Any) -> list[dict[str, Any]]:
    """Questions to the demo model, which knows nothing of schemas, under several seeds."""
    messages = [{"role": "user", "content": "Tell me a joke"}]
    asked = {"model": "demo", "messages": messages, "temperature": 1, "max_tokens": 200, **change}
    return [{**asked, "seed": seed} for seed in range(NUM_SEEDS)]


@check
def parsed_answers() -> None:
    """`.parse()` gives the model's class, whatever a model would rather say, and always the whole of it."""
    assert (
        helpers(at(SCRIPT)).parse(**scripted("report"), response_format=Report).choices[0].message.parsed
        == ZURICH
    )
    for asked in sampled():
        choice = helpers(at(DEMO)).parse(**asked, response_format=Report).choices[0]
        assert choice.finish_reason == "stop"
        assert isinstance(choice.message.parsed, Report)


@check
def streamed_answers() -> None:
    """`.stream()` with a class tells the JSON while it grows, and ends with the class."""
    with helpers(at(SCRIPT)).stream(**scripted("report"), response_format=Report) as stream:
        deltas = [event for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion().choices[0].message
    assert len(deltas) > 3
    assert final.parsed == ZURICH
    for asked in sampled():
        with helpers(at(DEMO)).stream(**asked, response_format=Report) as stream:
            assert isinstance(stream.get_final_completion().choices[0].message.parsed, Report)


@check
def dictionaries_of_schemas() -> None:
    """`response_format` as a dictionary does the same, strict or not, and `json_object` gives some object."""
    for strict in (True, False):
        described = {**FORMAT["json_schema"], "strict": strict}
        for asked in sampled(response_format={"type": "json_schema", "json_schema": described}):
            choice = at(DEMO).chat.completions.create(**asked).choices[0]
            Report.model_validate_json(choice.message.content)
    for asked in sampled(response_format={"type": "json_object"}):
        choice = at(DEMO).chat.completions.create(**asked).choices[0]
        assert choice.message.content.startswith("{")
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(choice.message.content), dict)


@check
def strict_tools() -> None:
    """Strict tools have their arguments read by the SDK, whole and streamed."""
    asked = {"tools": [TOOL]}
    call = helpers(at(SCRIPT)).parse(**scripted("weather", **asked)).choices[0].message.tool_calls[0]
    assert call.function.parsed_arguments == GetWeather(city="Zürich", days=2)
    with helpers(at(SCRIPT)).stream(**scripted("weather", **asked)) as stream:
        events = list(stream)
        final = stream.get_final_completion().choices[0].message
    assert final.tool_calls[0].function.parsed_arguments == GetWeather(city="Zürich", days=2)
    assert sum(event.type == "tool_calls.function.arguments.delta" for event in events) > 3
    [done] = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert (done.name, done.parsed_arguments) == ("get_weather", GetWeather(city="Zürich", days=2))


@check
def forced_calls() -> None:
    """A call that is asked for comes, by `required`, by its name or out of those allowed, from a model that knows no tools."""
    named = {"type": "function", "function": {"name": "get_weather"}}
    allowed = {"mode": "required", "tools": [named]}
    for choice_ in ("required", named, {"type": "allowed_tools", "allowed_tools": allowed}):
        for asked in sampled(tools=[TOOL], tool_choice=choice_, parallel_tool_calls=False):
            choice = at(DEMO).chat.completions.create(**asked).choices[0]
            assert choice.finish_reason == "tool_calls"
            [call] = choice.message.tool_calls
            assert call.function.name == "get_weather"
            GetWeather.model_validate_json(call.function.arguments)


@check
def forced_streams() -> None:
    """A forced call streams as any other."""
    for asked in sampled(tools=[TOOL], tool_choice="required", parallel_tool_calls=False):
        deltas = [chunk.choices[0].delta for chunk in at(DEMO).chat.completions.create(**asked, stream=True)]
        pieces = [piece for delta in deltas for piece in delta.tool_calls or []]
        assert (pieces[0].function.name, pieces[0].function.arguments) == ("get_weather", "")
        GetWeather.model_validate_json("".join(piece.function.arguments for piece in pieces))
        assert not any(delta.content for delta in deltas)


@check
def grammars_of_vllm() -> None:
    """The fields of vLLM in `extra_body` hold the answer to a choice or to a regular expression."""
    for fields, said in (
        ({"structured_outputs": {"choice": ["yes", "no"]}}, ("yes", "no")),
        ({"guided_choice": ["yes", "no"]}, ("yes", "no")),
        ({"structured_outputs": {"regex": "[ab]{3}"}}, None),
    ):
        for asked in sampled(extra_body=fields):
            text = at(DEMO).chat.completions.create(**asked).choices[0].message.content
            assert text in said if said else len(text) == 3 and set(text) <= {"a", "b"}


@check
def cut_answers() -> None:
    """JSON that a limit cuts off raises `LengthFinishReasonError`, which has the completion."""
    for asked in sampled(max_tokens=3)[:1]:
        with raises(openai.LengthFinishReasonError):
            helpers(at(DEMO)).parse(**asked, response_format=Report)


@check
def refused_schemas() -> None:
    """What cannot be enforced raises `BadRequestError` with the keyword, before any answer, streamed or not."""
    unique = {"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True}}}
    described = {"type": "json_schema", "json_schema": {"name": "tags", "schema": unique}}
    strict = {**WEATHER_TOOL["function"], "strict": True, "parameters": unique}
    for change, param in (
        ({"response_format": described}, "response_format"),
        ({"tools": [{"type": "function", "function": strict}]}, "tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "fly"}}}, "tool_choice"),
    ):
        for stream in (False, True):
            with raises(openai.BadRequestError) as raised:
                at(SCRIPT).chat.completions.create(**scripted("report", **change), stream=stream)
            assert raised.error.param.startswith(param), raised.error
            assert "uniqueItems" in raised.error.message or "fly" in raised.error.message
