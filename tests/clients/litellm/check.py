"""LiteLLM, as people use it for servers of their own: `openai/NAME` or `hosted_vllm/NAME` with an `api_base`."""

import asyncio
import os
from typing import Any

import calls  # noqa: F401 - its checks come first
import schemas  # noqa: F401 - and so do these
from checks import API_KEY, check, raises, run_checks, servers

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
# Imported late: it would ask the network for prices.
import litellm

DEMO, SCRIPT = servers()
PROVIDERS = ("openai", "hosted_vllm")
MESSAGES = [{"role": "user", "content": "Explain machine learning"}]

litellm.suppress_debug_info = True


def asked(provider: str = "openai", **change: Any) -> dict[str, Any]:
    """The arguments of a question."""
    defaults = {"api_base": f"{DEMO.url}/v1", "api_key": API_KEY, "messages": MESSAGES, "temperature": 0}
    return {**defaults, "model": f"{provider}/demo", "max_retries": 0, **change}


@check
def whole_answer() -> None:
    """`completion` gives text, end, usage, and no tool calls, by either provider's name."""
    for provider in PROVIDERS:
        answer = litellm.completion(**asked(provider))
        message = answer.choices[0].message
        assert len(message.content) > 20
        assert answer.choices[0].finish_reason == "stop"
        assert message.tool_calls is None
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@check
def streamed_answer() -> None:
    """A stream gives the same text in pieces, one end, and the usage that was asked for."""
    for provider in PROVIDERS:
        whole = litellm.completion(**asked(provider))
        chunks = list(
            litellm.completion(**asked(provider), stream=True, stream_options={"include_usage": True})
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
        assert [end for end in ends if end] == ["stop"]
        assert len(chunks) > 5
        usage = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
        assert [used.completion_tokens for used in usage] == [whole.usage.completion_tokens]
        rebuilt = litellm.stream_chunk_builder(chunks)
        assert rebuilt.choices[0].message.content == text


@check
async def asynchronous() -> None:
    """`acompletion` does the same."""
    whole = await litellm.acompletion(**asked())
    stream = await litellm.acompletion(**asked(), stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == whole.choices[0].message.content


@check
def limits() -> None:
    """A limit shows as `length`, a stop string as `stop`."""
    assert litellm.completion(**asked(max_tokens=3)).choices[0].finish_reason == "length"
    counted = [{"role": "user", "content": "Count from 1 to 100"}]
    stopped = litellm.completion(**asked(messages=counted, stop=["20"])).choices[0]
    assert stopped.finish_reason == "stop"
    assert stopped.message.content.rstrip(" ,\n").endswith("19")


@check
def text_completion() -> None:
    """The older API, through `text_completion`."""
    asked_text = {key: value for key, value in asked().items() if key not in ("messages", "model")}
    answer = litellm.text_completion(
        model="text-completion-openai/demo", prompt="1, 2, 3,", max_tokens=8, **asked_text
    )
    assert answer.choices[0].text


@check
def errors() -> None:
    """Errors are LiteLLM's own classes: routers fall back, or do not, by them."""
    for error, change in (
        (litellm.BadRequestError, {"temperature": 3}),
        (litellm.ContextWindowExceededError, {"max_tokens": 10**6}),
        (litellm.AuthenticationError, {"api_key": "wrong"}),
        (litellm.NotFoundError, {"model": "openai/gpt-unknown"}),
    ):
        for stream in (False, True):
            with raises(error) as raised:
                litellm.completion(**asked(**change), stream=stream)
            assert type(raised.error) is error, type(raised.error)


@check
async def early_close() -> None:
    """A task that is cancelled while it reads stops the generation."""
    aborted = DEMO.num_aborted()
    counted = [{"role": "user", "content": "Count from 1 to 1000"}]
    stream = await litellm.acompletion(
        **asked(messages=counted), stream=True, extra_body={"ignore_eos": True}
    )

    async def read() -> None:
        async for _ in stream:
            began.set()

    began = asyncio.Event()
    task = asyncio.create_task(read())
    await began.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(DEMO.wait_for_aborted, aborted + 1)


def scripted(case: str, **change: Any) -> dict[str, Any]:
    """The arguments of a case of `faults.json`."""
    messages = [{"role": "user", "content": case}]
    return asked(model="openai/script", api_base=f"{SCRIPT.url}/v1", messages=messages, **change)


@check
def server_errors() -> None:
    """Overload and failure are LiteLLM's own classes, and are tried again as often as told."""
    for case, error in (
        ("429", litellm.RateLimitError),
        ("500", litellm.InternalServerError),
        ("503", litellm.ServiceUnavailableError),
    ):
        with raises(error):
            litellm.completion(**scripted(case))
    assert litellm.completion(**scripted("fail twice", max_retries=2)).choices[0].message.content == "third"


@check
def broken_streams() -> None:
    """A stream that fails raises after the text that came."""
    for case, text in (("error first", ""), ("error later", "One two"), ("cut", "One two")):
        read = ""
        with raises(Exception) as raised:
            for chunk in litellm.completion(**scripted(case), stream=True):
                read += chunk.choices[0].delta.content or ""
        assert read == text, read
        assert case == "cut" or "broke" in str(raised.error)


run_checks()
