"""Pydantic AI's agent over its OpenAI chat model."""

import asyncio
from typing import Any

import calls  # noqa: F401 - its checks come first
import schemas  # noqa: F401 - and so do these
from checks import API_KEY, check, raises, run_checks, servers
from openai import AsyncOpenAI
from pydantic_ai import Agent, ModelHTTPError, exceptions
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

DEMO, SCRIPT = servers()
QUESTION = "Explain machine learning"


def agent(
    name: str = "demo", key: str = API_KEY, url: str = DEMO.url, max_retries: int = 0, **settings: Any
) -> Agent:
    """An agent without tools, for one question each."""
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=max_retries)
    model = OpenAIChatModel(name, provider=OpenAIProvider(openai_client=client))
    return Agent(model, model_settings={"temperature": 0, **settings})


@check
async def whole_answer() -> None:
    """`run` gives text, end and usage."""
    result = await agent().run(QUESTION)
    assert len(result.output) > 20
    response = result.all_messages()[-1]
    assert response.finish_reason == "stop"
    assert response.model_name == "demo"
    assert response.usage.input_tokens > 0
    assert response.usage.output_tokens > 5


@check
async def streamed_answer() -> None:
    """`run_stream` gives the same text in pieces, with the same usage."""
    whole = await agent().run(QUESTION)
    async with agent().run_stream(QUESTION) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 5
    assert "".join(pieces) == whole.output
    ends = [run.all_messages()[-1] for run in (whole, result)]
    assert ends[0].usage.output_tokens == ends[1].usage.output_tokens
    assert [end.finish_reason for end in ends] == ["stop", "stop"]


@check
async def history() -> None:
    """A second question carries the first one and its answer."""
    first = await agent().run("Hello")
    second = await agent().run(QUESTION, message_history=first.all_messages())
    assert second.all_messages()[-1].usage.input_tokens > first.all_messages()[-1].usage.input_tokens


@check
async def limit() -> None:
    """A limit shows as `length`."""
    assert (await agent(max_tokens=3).run(QUESTION)).all_messages()[-1].finish_reason == "length"


@check
async def errors() -> None:
    """Errors are `ModelHTTPError` with the status and OpenAI's body, and of the class that says what to do about them."""
    for status, category, asked in (
        (400, exceptions.ModelRequestRejectedError, agent(temperature=3)),
        (400, exceptions.ModelContextWindowExceededError, agent(max_tokens=10**6)),
        (401, exceptions.ModelAuthenticationError, agent(key="wrong")),
        (404, exceptions.ModelNotFoundError, agent("gpt-4")),
    ):
        with raises(ModelHTTPError) as raised:
            await asked.run(QUESTION)
        assert isinstance(raised.error, category)
        assert raised.error.status_code == status
        assert raised.error.body["message"] in str(raised.error)


@check
async def early_close() -> None:
    """A consumer that leaves `run_stream` early stops the generation."""
    aborted = DEMO.num_aborted()

    async def read() -> None:
        async with agent(extra_body={"ignore_eos": True}).run_stream("Count from 1 to 1000") as result:
            async for _ in result.stream_text(delta=True, debounce_by=None):
                began.set()

    began = asyncio.Event()
    task = asyncio.create_task(read())
    await began.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(DEMO.wait_for_aborted, aborted + 1)


@check
async def server_errors() -> None:
    """Overload and failure are of the classes that say what to do about them, and are tried again as often as told."""
    for case, category in (
        ("429", exceptions.ModelRateLimitError),
        ("500", exceptions.ModelServerError),
        ("503", exceptions.ModelUnavailableError),
    ):
        with raises(category):
            await agent("script", url=SCRIPT.url).run(case)
    assert (await agent("script", url=SCRIPT.url, max_retries=2).run("fail twice")).output == "third"


@check
async def broken_streams() -> None:
    """A stream that fails raises after the text that came."""
    for case, text in (("error first", ""), ("error later", "One two"), ("cut", "One two")):
        read = ""
        with raises(Exception) as raised:
            async with agent("script", url=SCRIPT.url).run_stream(case) as result:
                async for piece in result.stream_text(delta=True, debounce_by=None):
                    read += piece
        assert read == text, read
        assert case == "cut" or "broke" in str(raised.error)


run_checks()
