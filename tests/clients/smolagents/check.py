"""smolagents: an agent that writes code, and one that calls tools."""

import contextlib
import io
from typing import Any

from checks import API_KEY, check, question, raises, run_checks, servers
from schemas import get_weather  # The checks of that module come first.
from smolagents import CodeAgent, LogLevel, OpenAIModel, ToolCallingAgent, tool
from smolagents.utils import AgentGenerationError

DEMO, SCRIPT = servers()


@tool
def measure(city: str) -> str:
    """The weather of a city.

    Args:
        city: its name
    """
    return "21"


def model(**options: Any) -> OpenAIModel:
    defaults: dict[str, Any] = {
        "model_id": "script",
        "api_base": f"{SCRIPT.url}/v1",
        "api_key": API_KEY,
        "retry": False,
    }
    return OpenAIModel(**{**defaults, "client_kwargs": {"max_retries": 0}, **options})


def agent(kind: type, **options: Any) -> Any:
    return kind(tools=[get_weather], model=model(**options), max_steps=4, verbosity_level=LogLevel.OFF)


def called(run: Any) -> list[tuple[str, Any]]:
    """The calls of all steps of a run."""
    calls = [call["function"] for step in run.steps for call in step.get("tool_calls") or []]
    return [(call["name"], call["arguments"]) for call in calls]


@check
def code() -> None:
    """A `CodeAgent` runs the code that the model writes, whose closing tag is a stop string, and goes on to its answer."""
    agent_ = CodeAgent(tools=[measure], model=model(), max_steps=4, verbosity_level=LogLevel.OFF)
    run = agent_.run(question("code"), return_full_result=True)
    assert (run.state, run.output) == ("success", "It is 21 °C.")
    assert run.token_usage.output_tokens > 10


@check
def streamed_code() -> None:
    """The same in a stream, whose deltas are shown while they come."""
    agent_ = CodeAgent(
        tools=[measure], model=model(), max_steps=4, stream_outputs=True, verbosity_level=LogLevel.OFF
    )
    with contextlib.redirect_stdout(io.StringIO()):
        events = list(agent_.run(question("code"), stream=True))
    assert events[-1].output == "It is 21 °C."
    assert sum(type(event).__name__ == "ChatMessageStreamDelta" for event in events) > 10


@check
def calls() -> None:
    """A `ToolCallingAgent` makes the call of the model, gives it the result, and ends with its final answer."""
    run = agent(ToolCallingAgent, tool_choice="auto").run(question("weather"), return_full_result=True)
    assert (run.state, run.output) == ("success", "It is 21 °C.")
    assert called(run)[0] == ("get_weather", {"city": "Zürich", "days": 2})


@check
def errors() -> None:
    """What the server refuses ends the run with its message."""
    for options, said in (({"temperature": 3}, "temperature"), ({"api_key": "wrong"}, "Incorrect API key")):
        with raises(AgentGenerationError) as raised:
            agent(CodeAgent, **options).run(question("code"))
        assert said in str(raised.error)


if __name__ == "__main__":
    run_checks()
