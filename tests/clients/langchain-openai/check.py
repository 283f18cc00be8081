"""LangChain's `ChatOpenAI` and `OpenAI`, pointed at this server."""

import asyncio
from typing import Any

import calls  # noqa: F401 - its checks come first
import openai
import schemas  # noqa: F401 - and so do these
from checks import API_KEY, check, raises, run_checks, servers
from langchain_core.exceptions import ContextOverflowError
from langchain_openai import ChatOpenAI, OpenAI

DEMO, SCRIPT = servers()
QUESTION = "Explain machine learning"


def model(**options: Any) -> ChatOpenAI:
    defaults = {"base_url": f"{DEMO.url}/v1", "api_key": API_KEY, "model": "demo", "temperature": 0}
    return ChatOpenAI(**{**defaults, "max_retries": 0, **options})


@check
def whole_answer() -> None:
    """`invoke` gives text, end, usage, and no tool calls."""
    answer = model().invoke(QUESTION)
    assert len(answer.content) > 20
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == "demo"
    assert answer.tool_calls == []
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@check
def streamed_answer() -> None:
    """`stream` gives the same text in pieces, whose sum has the end and the usage once."""
    whole = model().invoke(QUESTION)
    chunks = list(model(stream_usage=True).stream(QUESTION))
    assert len(chunks) > 5
    gathered = chunks[0]
    for chunk in chunks[1:]:
        gathered += chunk
    assert gathered.content == whole.content
    assert gathered.response_metadata["finish_reason"] == "stop"
    assert gathered.response_metadata["model_name"] == "demo"
    for count in ("input_tokens", "output_tokens", "total_tokens"):
        assert gathered.usage_metadata[count] == whole.usage_metadata[count]
    assert gathered.tool_calls == []


@check
async def asynchronous() -> None:
    """`ainvoke`, `astream` and `abatch` do the same."""
    whole = await model().ainvoke(QUESTION)
    streamed = [chunk.content async for chunk in model().astream(QUESTION)]
    assert "".join(streamed) == whole.content
    assert [answer.content for answer in await model().abatch([QUESTION] * 3)] == [whole.content] * 3


@check
def bound_options() -> None:
    """Limits and stop strings that are bound to a model reach the server."""
    assert model(max_tokens=3).invoke(QUESTION).response_metadata["finish_reason"] == "length"
    assert model().bind(stop=["20"]).invoke("Count from 1 to 100").content.rstrip(" ,\n").endswith("19")


@check
def completions() -> None:
    """The older `OpenAI` class talks to the completions API."""
    asked = OpenAI(base_url=f"{DEMO.url}/v1", api_key=API_KEY, model="demo", temperature=0, max_tokens=8)
    assert asked.invoke("1, 2, 3,") == "".join(asked.stream("1, 2, 3,")) != ""


@check
def errors() -> None:
    """Errors come through as the OpenAI SDK's classes, which programs catch."""
    for error, options in (
        (openai.BadRequestError, {"temperature": 3}),
        (openai.AuthenticationError, {"api_key": "wrong"}),
        (openai.NotFoundError, {"model": "gpt-4"}),
    ):
        with raises(error):
            model(**options).invoke(QUESTION)
        with raises(error):
            list(model(**options).stream(QUESTION))
    with raises(ContextOverflowError):
        model(max_tokens=10**6).invoke(QUESTION)


@check
async def early_close() -> None:
    """A consumer that leaves `astream` early stops the generation."""
    aborted = DEMO.num_aborted()
    stream = model(extra_body={"ignore_eos": True}).astream("Count from 1 to 1000")
    async for _ in stream:
        break
    await stream.aclose()
    await asyncio.to_thread(DEMO.wait_for_aborted, aborted + 1)


def scripted(**options: Any) -> ChatOpenAI:
    return model(base_url=f"{SCRIPT.url}/v1", model="script", **options)


@check
def server_errors() -> None:
    """Overload and failure are the SDK's classes, and are tried again as often as told."""
    for case, error in (("429", openai.RateLimitError), ("500", openai.InternalServerError)):
        with raises(error):
            scripted().invoke(case)
        with raises(error):
            list(scripted().stream(case))
    assert scripted(max_retries=2).invoke("fail twice").content == "third"


@check
def broken_streams() -> None:
    """A stream that fails raises after the text that came."""
    for case, text in (("error first", ""), ("error later", "One two"), ("cut", "One two")):
        read = ""
        with raises(Exception) as raised:
            for chunk in scripted().stream(case):
                read += chunk.content
        assert read == text
        assert case == "cut" or "broke" in str(raised.error)


run_checks()
