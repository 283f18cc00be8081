"""If one of these fails, streams hang on some event loop or system that a site runs on."""

import asyncio
import os
from collections.abc import Callable

import pytest
from tests.asgi.driver import Call, all_is_back, chat, running

from streamcore import bell

CHAT = "/v1/chat/completions"


def new_uvloop() -> asyncio.AbstractEventLoop:
    """What `uvicorn[standard]` runs on."""
    loop = pytest.importorskip("uvloop").new_event_loop()
    assert isinstance(loop, asyncio.AbstractEventLoop)
    return loop


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, new_uvloop])
@pytest.mark.parametrize("has_eventfd", [True, False])
def test_streams_on_every_loop_and_descriptor(
    new_loop: Callable[[], asyncio.AbstractEventLoop], has_eventfd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wake-ups arrive on asyncio's loop and on uvloop, by an eventfd and by the pipe that other systems have in its place."""
    bells = dict(bell._bells)
    if not has_eventfd:
        monkeypatch.delattr(os, "eventfd")
    loop = new_loop()
    try:
        loop.run_until_complete(stream())
    finally:
        loop.close()
    assert bell._bells == bells


async def stream() -> None:
    """Streams that are read to their end, one that stays unread for a while, and one that is left."""
    num_descriptors = len(os.listdir("/proc/self/fd"))
    async with running() as app:
        calls = [Call(app, "POST", CHAT, [chat(24)]) for _ in range(20)]
        slow = Call(app, "POST", CHAT, [chat(24)], num_reads=2)
        left = Call(app, "POST", CHAT, [chat(3000)])
        await left.num_messages_are(3)
        left.leave()
        await asyncio.gather(left.task, *[call.task for call in calls])
        slow.read_on()
        await slow.task
        assert all(call.body.endswith(b"data: [DONE]\n\n") for call in [*calls, slow])
        await all_is_back(app)
    assert len(os.listdir("/proc/self/fd")) <= num_descriptors
