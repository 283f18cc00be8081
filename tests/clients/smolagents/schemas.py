"""What smolagents asks for with `tool_choice` and `response_format` as it comes."""

import re
from typing import Any

from checks import API_KEY, check, question, servers
from smolagents import CodeAgent, LogLevel, OpenAIModel, Tool, ToolCallingAgent, tool

DEMO, SCRIPT = servers()


@tool
def get_weather(city: str, days: int = 1) -> str:
    """The weather of a city.

    Args:
        city: its name
        days: how many days from today on
    """
    return f"reported 21 °C in {city} for {days} days"


class PickCity(Tool):
    """A tool whose argument is one of few, so that a toy says it too."""

    name = "pick_city"
    description = "Picks a city"
    inputs = {"city": {"type": "string", "description": "its name", "enum": ["Zürich", "Oslo"]}}  # noqa: RUF012
    output_type = "string"

    def forward(self, city: str) -> str:
        """The city."""
        return city


def model(server: Any, name: str, **options: Any) -> OpenAIModel:
    defaults: dict[str, Any] = {"api_base": f"{server.url}/v1", "api_key": API_KEY, "retry": False}
    return OpenAIModel(model_id=name, **defaults, client_kwargs={"max_retries": 0}, **options)


@check
def required_calls() -> None:
    """A `ToolCallingAgent`, which asks for a call each time, makes it and ends with its final answer."""
    for stream in (False, True):
        agent = ToolCallingAgent(
            tools=[get_weather], model=model(SCRIPT, "script"), max_steps=4, verbosity_level=LogLevel.OFF
        )
        case = question("called")
        if stream:
            assert list(agent.run(case, stream=True))[-1].output == "It is 21 °C."
        else:
            assert agent.run(case) == "It is 21 °C."


@check
def required_calls_of_a_toy() -> None:
    """A model that knows no tools makes calls all the same, and each is of a tool that is there."""
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "Tell me a joke"}]}]
    for seed in range(4):
        toy = model(DEMO, "demo", temperature=1, max_tokens=400, seed=seed, parallel_tool_calls=False)
        said = toy.generate(messages, tools_to_call_from=[PickCity()])
        for call in said.tool_calls:
            assert call.function.name == "pick_city"
            # More members are allowed, which a toy does not come to the end of.
            assert re.match(r'\{\s*"city"\s*:\s*"(Zürich|Oslo)"', call.function.arguments)


@check
def structured_code() -> None:
    """A `CodeAgent` with structured outputs asks for thought and code by a schema, and runs the code."""
    agent = CodeAgent(
        tools=[],
        model=model(SCRIPT, "script"),
        use_structured_outputs_internally=True,
        max_steps=3,
        verbosity_level=LogLevel.OFF,
    )
    assert agent.run(question("coded")) == "It is 21 °C."
