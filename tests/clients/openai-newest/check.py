"""The OpenAI SDK for Python, from the oldest supported release on: every way to ask, every way to fail."""

import asyncio
import contextlib
import time
from typing import Any

import calls  # noqa: F401 - its checks come first
import openai
import schemas  # noqa: F401 - and so do these
from checks import API_KEY, check, raises, run_checks, servers
from openai import AsyncOpenAI, OpenAI

if hasattr(OpenAI, "responses"):
    import answers  # noqa: F401 - the newest of them

DEMO, SCRIPT = servers()
COUNT = [{"role": "user", "content": "Count from 1 to 1000"}]
QUESTION: dict[str, Any] = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Explain machine learning"}],
    "temperature": 0,
}


def client(**options: Any) -> OpenAI:
    return OpenAI(**{"base_url": f"{DEMO.url}/v1", "api_key": API_KEY, "max_retries": 0, **options})


def async_client() -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{DEMO.url}/v1", api_key=API_KEY, max_retries=0)


def stream_helper(completions: Any) -> Any:
    """`.stream()`, which was beta first."""
    with contextlib.suppress(AttributeError):
        return completions.stream
    return client().beta.chat.completions.stream


@check
def whole_answer() -> None:
    """A whole answer has its text, its end, its usage, and no field that it was not asked for."""
    answer = client().chat.completions.create(**QUESTION)
    choice = answer.choices[0]
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.model == "demo"
    assert len(choice.message.content) > 20
    assert choice.finish_reason == "stop"
    assert choice.message.tool_calls is None
    assert "tool_calls" not in choice.message.model_fields_set
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens > 5


@check
def streamed_answer() -> None:
    """A stream is the whole answer in pieces: role first and once, an empty delta with the end last, no usage unasked."""
    chunks = list(client().chat.completions.create(**QUESTION, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    whole = client().chat.completions.create(**QUESTION).choices[0].message.content
    assert "".join(delta.content or "" for delta in deltas) == whole
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert deltas[-1].model_dump(exclude_unset=True) == {}
    assert all(delta.content for delta in deltas[1:-1])
    assert all(delta.tool_calls is None and delta.function_call is None for delta in deltas)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


@check
def streamed_usage() -> None:
    """`include_usage` gives one more chunk, without choices, that agrees with the whole answer."""
    chunks = list(
        client().chat.completions.create(**QUESTION, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage == client().chat.completions.create(**QUESTION).usage
    assert all(chunk.usage is None and chunk.choices for chunk in chunks[:-1])


@check
def cut_answer() -> None:
    """An answer that ran into its limit says `length`, by either name of the limit, streamed or not."""
    for limit in ("max_tokens", "max_completion_tokens"):
        asked = {**QUESTION, "extra_body": {limit: 5}}
        whole = client().chat.completions.create(**asked)
        assert whole.choices[0].finish_reason == "length"
        assert whole.usage.completion_tokens == 5
        streamed = list(client().chat.completions.create(**asked, stream=True))
        assert streamed[-1].choices[0].finish_reason == "length"


@check
def helper() -> None:
    """`.stream()` gathers the pieces, tells them as events, and ends with the whole answer."""
    with stream_helper(client().chat.completions)(
        **QUESTION, stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    whole = client().chat.completions.create(**QUESTION)
    deltas = [event.delta for event in events if event.type == "content.delta"]
    assert "".join(deltas) == whole.choices[0].message.content == final.choices[0].message.content
    assert [event.content for event in events if event.type == "content.done"] == ["".join(deltas)]
    assert final.usage == whole.usage
    assert final.choices[0].finish_reason == "stop"
    assert not final.choices[0].message.tool_calls


@check
async def asynchronous() -> None:
    """The asynchronous client reads whole answers, streams, and many of them at once."""
    async with async_client() as asked:
        whole = await asked.chat.completions.create(**QUESTION)

        async def read() -> str:
            stream = await asked.chat.completions.create(**QUESTION, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        assert set(await asyncio.gather(*(read() for _ in range(8)))) == {whole.choices[0].message.content}


@check
def raw() -> None:
    """`with_raw_response` and `with_streaming_response` show the headers, and the bytes as they came."""
    answer = client().chat.completions.with_raw_response.create(
        **QUESTION, extra_headers={"x-request-id": "mine-1"}
    )
    assert answer.headers["x-request-id"] == answer.request_id == "mine-1"
    assert int(answer.headers["openai-processing-ms"]) >= 0
    assert answer.parse().choices[0].finish_reason == "stop"
    with client().chat.completions.with_streaming_response.create(**QUESTION, stream=True) as streamed:
        assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = list(streamed.iter_lines())
    assert lines[-2:] == ["data: [DONE]", ""]
    assert all(line == "" or line.startswith("data: ") for line in lines)


@check
def strict() -> None:
    """Strict validation finds nothing: every answer is, to the letter, what the SDK's types say."""
    asked = client(_strict_response_validation=True)
    asked.chat.completions.create(**QUESTION)
    list(asked.chat.completions.create(**QUESTION, stream=True, stream_options={"include_usage": True}))
    # Not the streamed form: the SDK's type of it has no place for `"finish_reason": null`, which
    # OpenAI itself sends.
    asked.completions.create(model="demo", prompt="1, 2, 3,", max_tokens=8)
    asked.models.retrieve("demo")
    asked.models.list()


@check
def completions() -> None:
    """The older API: text, several prompts at once, the default limit of 16, streamed or not."""
    asked = {"model": "demo", "prompt": "1, 2, 3,", "temperature": 0}
    whole = client().completions.create(**asked)
    assert whole.object == "text_completion"
    assert whole.usage.completion_tokens <= 16
    assert whole.choices[0].finish_reason in ("stop", "length")
    streamed = list(client().completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in streamed) == whole.choices[0].text
    assert streamed[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    several = client().completions.create(**{**asked, "prompt": ["1, 2,", "Once upon"]}, max_tokens=4)
    assert [choice.index for choice in several.choices] == [0, 1]


@check
def models() -> None:
    """Programs that ask which models there are get the served one."""
    assert [model.id for model in client().models.list()] == ["demo"]
    assert client().models.retrieve("demo").object == "model"


@check
def stop_strings() -> None:
    """A stop string, alone or in a list, ends the text before itself."""
    for stop in ("20", ["never there", "20"]):
        answer = client().chat.completions.create(model="demo", messages=COUNT, temperature=0, stop=stop)
        assert answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].message.content.rstrip(" ,\n").endswith("19")


@check
def errors() -> None:
    """What the client did wrong raises the SDK's class for it, with the word and the field that programs look at."""

    def raised(error: type[openai.APIStatusError], change: dict[str, Any], **options: Any) -> Any:
        for stream in (False, True):
            with raises(error) as seen:
                client(**options).chat.completions.create(**{**QUESTION, **change}, stream=stream)
            assert type(seen.error) is error
            assert seen.error.request_id == seen.error.response.headers["x-request-id"]
        return seen.error

    wrong = raised(openai.BadRequestError, {"temperature": 3})
    assert (wrong.param, wrong.type) == ("temperature", "invalid_request_error")
    assert raised(openai.BadRequestError, {"max_tokens": 10**6}).code == "context_length_exceeded"
    assert raised(openai.AuthenticationError, {}, api_key="wrong").code == "invalid_api_key"
    missing = raised(openai.NotFoundError, {"model": "gpt-4"})
    assert (missing.code, missing.param) == ("model_not_found", "model")
    raised(openai.NotFoundError, {}, base_url=f"{DEMO.url}/v2")
    assert "temperature" in wrong.message


@check
def early_close() -> None:
    """A reader that stops reading stops the generation: what was closed, broken out of, or cancelled is aborted."""
    aborted = DEMO.num_aborted()
    asked: dict[str, Any] = {
        "model": "demo",
        "messages": COUNT,
        "stream": True,
        "extra_body": {"ignore_eos": True},
    }
    with client() as closed:
        stream = closed.chat.completions.create(**asked)
        next(iter(stream))
        stream.close()
        with stream_helper(closed.chat.completions)(
            model="demo", messages=COUNT, extra_body={"ignore_eos": True}
        ) as events:
            next(iter(events))
    DEMO.wait_for_aborted(aborted + 2)

    async def cancelled() -> None:
        async with async_client() as left:
            stream = await left.chat.completions.create(**asked)

            async def read() -> None:
                async for _ in stream:
                    began.set()

            began = asyncio.Event()
            task = asyncio.create_task(read())
            await began.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    DEMO.wait_for_aborted(aborted + 3)
    DEMO.assert_idle()


@check
def impatience() -> None:
    """A client whose own timeout is over raises `APITimeoutError`, and the server stops working for it."""
    aborted = DEMO.num_aborted()
    with raises(openai.APITimeoutError):
        client(timeout=0.5).chat.completions.create(
            model="demo", messages=COUNT, extra_body={"ignore_eos": True, "max_tokens": 3000}
        )
    DEMO.wait_for_aborted(aborted + 1)


def scripted(case: str, **options: Any) -> dict[str, Any]:
    """Arguments that make the scripted server play a case of `faults.json`."""
    return {"model": "script", "messages": [{"role": "user", "content": case}], **options}


def at_script(**options: Any) -> OpenAI:
    return client(base_url=f"{SCRIPT.url}/v1", **options)


@check
def server_errors() -> None:
    """Overload and failure raise the SDK's classes for them."""
    for case, error in (("429", openai.RateLimitError), ("500", openai.InternalServerError)):
        for stream in (False, True):
            with raises(error) as raised:
                at_script().chat.completions.create(**scripted(case), stream=stream)
            assert type(raised.error) is error
            assert raised.error.status_code == int(case)
    with raises(openai.InternalServerError) as raised:
        at_script().chat.completions.create(**scripted("503"))
    assert raised.error.code == "shutting_down"


@check
def retries() -> None:
    """The SDK retries as often as configured, after the time that `Retry-After` names, and no more often."""
    start = time.monotonic()
    answer = at_script(max_retries=2).chat.completions.create(**scripted("fail twice"))
    assert answer.choices[0].message.content == "third"
    assert time.monotonic() - start >= 1
    with raises(openai.InternalServerError):
        at_script().chat.completions.create(**scripted("fail once"))
    answer = at_script().chat.completions.create(**scripted("fail once"))
    assert answer.choices[0].message.content == "second"


@check
def broken_streams() -> None:
    """A stream that fails raises after the text that came: an error event with its message, a cut socket as such."""
    for case, text, message in (
        ("error first", "", "broke first"),
        ("error later", "One two", "broke later"),
    ):
        read = ""
        with raises(openai.APIError) as raised:
            for chunk in at_script().chat.completions.create(**scripted(case), stream=True):
                read += chunk.choices[0].delta.content or ""
        assert read == text
        assert message in raised.error.message
    read = ""
    with raises(Exception) as raised:
        for chunk in at_script().chat.completions.create(**scripted("cut"), stream=True):
            read += chunk.choices[0].delta.content or ""
    assert read == "One two"
    assert type(raised.error).__name__ in ("RemoteProtocolError", "ReadError", "APIConnectionError")


@check
def hanging_stream() -> None:
    """A stream that falls silent ends by the client's own timeout, and is aborted at the server."""
    aborted = SCRIPT.num_aborted()
    with raises(Exception) as raised:
        list(at_script(timeout=1).chat.completions.create(**scripted("hang"), stream=True))
    assert type(raised.error).__name__ in ("ReadTimeout", "APITimeoutError")
    SCRIPT.wait_for_aborted(aborted + 1)


if __name__ == "__main__":
    print(f"openai {openai.__version__}")
    run_checks()
