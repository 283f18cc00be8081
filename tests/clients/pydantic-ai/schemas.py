"""Output types of Pydantic AI: by a call, by a schema, by words alone."""

from typing import Any, Literal

from checks import API_KEY, check, question, raises, servers
from openai import AsyncOpenAI
from pydantic import BaseModel, ConfigDict
from pydantic_ai import Agent, ModelHTTPError, NativeOutput, PromptedOutput, StructuredDict, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

DEMO, SCRIPT = servers()


class Report(BaseModel):
    """The weather of a city: short, so that a toy says it too."""

    model_config = ConfigDict(extra="forbid")

    city: Literal["Zürich", "Oslo"]
    celsius: Literal[4, 21]


ZURICH = Report(city="Zürich", celsius=21)
OUTPUTS: tuple[tuple[str, Any], ...] = (
    ("final", Report),
    ("named", ToolOutput(Report, name="Report")),
    ("report", NativeOutput(Report)),
    ("report", PromptedOutput(Report)),
)


def agent(server: Any, name: str, output_type: Any, **settings: Any) -> Any:
    client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key=API_KEY, max_retries=0)
    model = OpenAIChatModel(name, provider=OpenAIProvider(openai_client=client))
    return Agent(model, output_type=output_type, retries=0, model_settings=settings)


@check
async def output_types() -> None:
    """`run` gives the class by each way of asking for it."""
    for case, output_type in OUTPUTS:
        assert (await agent(SCRIPT, "script", output_type).run(question(case))).output == ZURICH


@check
async def sampled_outputs() -> None:
    """A model that knows nothing of tools and schemas is held to both."""
    for output_type in (Report, NativeOutput(Report)):
        for seed in range(4):
            made = agent(DEMO, "demo", output_type, temperature=1, max_tokens=200, seed=seed)
            assert isinstance((await made.run("Tell me a joke")).output, Report)


@check
async def streamed_outputs() -> None:
    """`run_stream` shows the output while it grows, and ends with all of it."""
    loose: Any = StructuredDict({"type": "object", "properties": {"city": {"type": "string"}}}, name="Report")
    for output_type, case in (
        (Report, "final"),
        (NativeOutput(Report), "report"),
        (ToolOutput(loose, name="Report"), "named"),
    ):
        async with agent(SCRIPT, "script", output_type).run_stream(question(case)) as result:
            seen = [output async for output in result.stream_output(debounce_by=None)]
        assert seen
        last = seen[-1] if isinstance(seen[-1], dict) else seen[-1].model_dump()
        assert last == ZURICH.model_dump()


@check
async def refused_schemas() -> None:
    """What cannot be enforced is a `ModelHTTPError` with the keyword."""
    unique = {"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True}}}
    output_type = NativeOutput(StructuredDict(unique, name="Tags"))
    with raises(ModelHTTPError) as raised:
        await agent(DEMO, "demo", output_type).run("Tell me a joke")
    assert "uniqueItems" in str(raised.error)
