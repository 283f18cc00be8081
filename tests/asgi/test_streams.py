"""If one of these fails, the application cannot be trusted with many clients, or with slow or impatient ones."""

import asyncio
import ctypes
import threading

from tests.asgi.driver import Call, all_is_back, chat, running

CHAT = "/v1/chat/completions"


async def test_client_that_leaves_is_forgotten() -> None:
    """A client that hangs up, before the answer or in the middle of it, does not keep a row and its blocks."""
    async with running() as app:
        for num_messages in (0, 1, 5):
            call = Call(app, "POST", CHAT, [chat(3000)])
            await call.num_messages_are(num_messages)
            call.leave()
            await call.task
            await all_is_back(app)
        whole = Call(app, "POST", CHAT, [chat(3000, stream=False)])
        await asyncio.sleep(0)
        whole.leave()
        await whole.task
        assert whole.messages == []
        await all_is_back(app)


async def test_cancelled_request_is_forgotten() -> None:
    """A server that cancels its tasks, as uvicorn does when its patience ends, leaves nothing running."""
    async with running() as app:
        call = Call(app, "POST", CHAT, [chat(3000)])
        await call.num_messages_are(3)
        call.task.cancel()
        await asyncio.wait([call.task])
        await all_is_back(app)


async def test_slow_reader_costs_no_more_than_its_text() -> None:
    """A client that reads nothing while a thousand tokens are generated does not have a thousand messages waiting in memory:
    what it has not read merges, and is complete when it reads on.
    """
    async with running() as app:
        slow = Call(app, "POST", CHAT, [chat(1000)], num_reads=2)
        other = Call(app, "POST", CHAT, [chat(1000)])
        await other.task
        await all_is_back(app)
        assert len(slow.messages) == 2
        slow.read_on()
        await slow.task
        assert slow.body.endswith(b"data: [DONE]\n\n")
        assert len(slow.messages) <= 6, "head, first event, the one that was ready, the rest, the end"
        assert b'"finish_reason":"length"' in slow.body


async def test_many_streams_at_once() -> None:
    """200 readers at once each get all of it, through one descriptor."""
    async with running() as app:
        alone = Call(app, "POST", CHAT, [chat(24)])
        await alone.task
        calls = [Call(app, "POST", CHAT, [chat(24)]) for _ in range(200)]
        await asyncio.gather(*[call.task for call in calls])
        assert {text_of(call.body) for call in calls} == {text_of(alone.body)}
        await all_is_back(app)


def text_of(body: bytes) -> str:
    import json

    events = [event.removeprefix("data: ") for event in body.decode().split("\n\n") if event]
    assert events.pop() == "[DONE]"
    return "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events)


def newest_thread_state() -> int:
    """The number of a thread state that is made now. The interpreter numbers them in the order in which they are made."""
    api = ctypes.pythonapi
    api.PyThreadState_Get.restype = ctypes.c_void_p
    api.PyThreadState_GetID.restype = ctypes.c_uint64
    api.PyThreadState_GetID.argtypes = [ctypes.c_void_p]
    numbers: list[int] = []
    thread = threading.Thread(target=lambda: numbers.append(api.PyThreadState_GetID(api.PyThreadState_Get())))
    thread.start()
    thread.join()
    return numbers[0]


async def test_no_thread_of_rust_enters_the_interpreter() -> None:
    """A Rust thread that attaches stalls every stream behind whatever holds the interpreter. It would need a thread state, and
    none is made while fifty streams run.
    """
    async with running() as app:
        before = newest_thread_state()
        calls = [Call(app, "POST", CHAT, [chat(24)]) for _ in range(50)]
        await asyncio.gather(*[call.task for call in calls])
        assert newest_thread_state() == before + 1
