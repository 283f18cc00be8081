"""If one of these fails, a program that reads a stream gets less than all of it, or leaves something running behind it."""

import asyncio
import gc
import json

import pytest
from tests.llm.driver import all_is_back, num_requests

from streamcore import LLM, SamplingParams, bell
from streamcore.errors import EngineFailedError, InvalidRequestError
from streamcore.llm.answers import StreamedAnswer

GREEDY = SamplingParams(temperature=0, max_tokens=12, n=2, logprobs=1)
MESSAGES = [{"role": "user", "content": "Count from 1 to 20"}]


async def test_streams_say_what_whole_answers_say(demo: LLM) -> None:
    """A program must be able to go over to a stream without other answers."""
    for whole, stream, astream in (
        (
            demo.generate("Count", GREEDY)[0],
            demo.stream("Count", GREEDY),
            demo.astream("Count", GREEDY),
        ),
        (
            demo.chat(MESSAGES, GREEDY)[0],
            demo.stream_chat(MESSAGES, GREEDY),
            demo.astream_chat(MESSAGES, GREEDY),
        ),
    ):
        for deltas in (list(stream), [delta async for delta in astream]):
            for choice in whole.outputs:
                own = [delta for delta in deltas if delta.index == choice.index]
                assert "".join(delta.text for delta in own) == choice.text
                assert [token for delta in own for token in delta.token_ids] == choice.token_ids
                assert [score for delta in own for score in delta.logprobs or []] == choice.logprobs
                assert [delta.finish_reason for delta in own[:-1]] == [None] * (len(own) - 1)
                assert own[-1].finish_reason == choice.finish_reason
    all_is_back(demo)


def test_pieces_come_one_by_one(llm: LLM) -> None:
    """A stream that waits for its end is none."""
    stream = llm.stream("hang")
    assert [next(stream).token_ids for _ in range(3)]
    stream.close()
    all_is_back(llm)


def test_loop_that_is_left_frees_the_request(llm: LLM) -> None:
    """Who has read enough leaves the loop and thinks no more of it."""
    for _ in llm.stream("hang"):
        break
    all_is_back(llm)


def test_stream_that_is_forgotten_frees_the_request(llm: LLM) -> None:
    """A generator without references, even in a cycle, keeps nothing."""
    held: list[object] = [llm.stream("hang")]
    next(held[0])  # type: ignore[call-overload]
    held.append(held)
    del held
    gc.collect()
    all_is_back(llm)


def test_stream_that_is_not_begun_asks_for_nothing(llm: LLM) -> None:
    """The request begins with the first piece."""
    streams = [llm.stream("hang") for _ in range(3)]
    assert num_requests(llm) == 0
    del streams


def test_error_in_a_loop_frees_the_request(llm: LLM) -> None:
    """The body of a loop may fail."""

    def divide() -> None:
        for delta in llm.stream("hang"):
            assert delta.index / 0

    with pytest.raises(ZeroDivisionError):
        divide()
    all_is_back(llm)


async def test_asynchronous_loop_that_is_left_frees_the_request(llm: LLM) -> None:
    """The same in a program with an event loop, whose descriptors are given back, too."""
    async for _ in llm.astream("hang"):
        break
    # The generator is closed by a task of the loop.
    while asyncio.get_running_loop() in bell._bells:
        await asyncio.sleep(0)
    all_is_back(llm)


async def test_cancelled_task_frees_the_request(llm: LLM) -> None:
    """A request of a web site is cancelled when its client leaves."""
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in llm.astream("hang"):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert asyncio.get_running_loop() not in bell._bells
    all_is_back(llm)


async def test_many_streams_run_side_by_side(llm: LLM) -> None:
    """A hundred streams in one loop do not wait for each other."""

    async def read() -> str:
        return "".join([delta.text async for delta in llm.astream("x")])

    assert await asyncio.gather(*[read() for _ in range(100)]) == ["one two three"] * 100


async def test_refusal_names_the_param(llm: LLM) -> None:
    """A wrong value raises before the first piece, and the same error."""
    wrong = SamplingParams(temperature=-1)
    with pytest.raises(InvalidRequestError, match="`temperature` is -1") as caught:
        next(llm.stream("x", wrong))
    assert caught.value.param == "temperature"
    with pytest.raises(InvalidRequestError, match="`temperature` is -1"):
        await anext(llm.astream("x", wrong))


@pytest.mark.parametrize("prompt", ["fail", "cut"])
async def test_failure_ends_a_stream_with_an_error(llm: LLM, prompt: str) -> None:
    """A stream that ends early must not look complete."""
    texts: list[str] = []
    with pytest.raises(EngineFailedError):
        texts.extend(delta.text for delta in llm.stream(prompt))
    assert texts == ["a"]
    with pytest.raises(EngineFailedError):
        texts.extend([delta.text async for delta in llm.astream(prompt)])


def test_text_before_an_error_is_told() -> None:
    """What a fast model says just before it fails comes together with the failure, and must not be lost with it."""
    chunk = {
        "choices": [{"index": 0, "text": "a", "token_ids": [1], "logprobs": None, "finish_reason": None}]
    }
    error = {"error": {"message": "broken", "type": "server_error", "param": None, "code": "engine_failed"}}
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in (chunk, error)).encode()
    told = StreamedAnswer().take({"type": "http.response.body", "body": body, "more_body": True})
    assert next(told).text == "a"
    with pytest.raises(EngineFailedError, match="broken"):
        next(told)
