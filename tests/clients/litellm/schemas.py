"""Answers that are held to a schema, as LiteLLM asks for them."""

import json
import os
from typing import Any, Literal

from checks import API_KEY, WEATHER_TOOL, check, question, raises, servers
from pydantic import BaseModel, ConfigDict

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
# Imported late: it would ask the network for prices.
import litellm

DEMO, SCRIPT = servers()
PROVIDERS = ("openai", "hosted_vllm")


class Report(BaseModel):
    """The weather of a city: short, so that a toy says it too."""

    model_config = ConfigDict(extra="forbid")

    city: Literal["Zürich", "Oslo"]
    celsius: Literal[4, 21]


def asked(provider: str, server: Any, name: str, text: str, **change: Any) -> dict[str, Any]:
    defaults = {"api_base": f"{server.url}/v1", "api_key": API_KEY, "max_retries": 0}
    messages = [{"role": "user", "content": text}]
    return {**defaults, "model": f"{provider}/{name}", "messages": messages, **change}


def sampled(provider: str, **change: Any) -> list[dict[str, Any]]:
    """Questions to the demo model, which knows nothing of schemas, under several seeds."""
    common = {"temperature": 1, "max_tokens": 200, **change}
    return [asked(provider, DEMO, "demo", "Tell me a joke", seed=seed, **common) for seed in range(4)]


@check
def structured_output() -> None:
    """A class as `response_format` is what the answer has, whole and streamed, by either provider's name."""
    for provider in PROVIDERS:
        script = asked(provider, SCRIPT, "script", question("report"), response_format=Report)
        said = litellm.completion(**script).choices[0].message.content
        assert Report.model_validate_json(said) == Report(city="Zürich", celsius=21)
        for demo in sampled(provider, response_format=Report):
            Report.model_validate_json(litellm.completion(**demo).choices[0].message.content)
            chunks = list(litellm.completion(**demo, stream=True))
            Report.model_validate_json("".join(chunk.choices[0].delta.content or "" for chunk in chunks))


@check
def json_objects() -> None:
    """`json_object` gives an object."""
    script = asked("openai", SCRIPT, "script", question("report"), response_format={"type": "json_object"})
    assert json.loads(litellm.completion(**script).choices[0].message.content)["celsius"] == 21


@check
def forced_calls() -> None:
    """A call that is asked for comes, from a model that knows no tools."""
    parameters = Report.model_json_schema()
    function = {"name": "report", "description": "The weather", "parameters": parameters, "strict": True}
    tools = [{"type": "function", "function": function}]
    for choice in ("required", {"type": "function", "function": {"name": "report"}}):
        for demo in sampled("openai", tools=tools, tool_choice=choice, parallel_tool_calls=False):
            said = litellm.completion(**demo).choices[0]
            assert said.finish_reason == "tool_calls"
            [call] = said.message.tool_calls
            assert call.function.name == "report"
            Report.model_validate_json(call.function.arguments)


@check
def refused_schemas() -> None:
    """What cannot be enforced raises `BadRequestError` with the keyword."""
    unique = {"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True}}}
    tool = {**WEATHER_TOOL, "function": {**WEATHER_TOOL["function"], "strict": True, "parameters": unique}}
    described = {"type": "json_schema", "json_schema": {"name": "tags", "schema": unique}}
    for change in ({"response_format": described}, {"tools": [tool], "tool_choice": "required"}):
        with raises(litellm.BadRequestError) as raised:
            litellm.completion(**sampled("openai", **change)[0])
        assert "uniqueItems" in str(raised.error)
