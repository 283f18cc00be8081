"""If one of these fails, the server cannot be trusted with many clients."""

import asyncio
import json
import random

import httpx
import pytest
from tests.server_process import ServerProcess, run_server

NUM_STREAMS = 64
STREAM_TOKENS = 256
NUM_CLIENTS = 2000


def request(index: int, max_tokens: int, *, stream: bool = True) -> dict[str, object]:
    topics = ["AI", "the sea", "a dragon", "winter", "bread", "the moon", "a train", "music"]
    return {
        "model": "demo",
        "messages": [
            {"role": "user", "content": f"Tell me story {index} about {topics[index % len(topics)]}"}
        ],
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": stream,
    }


def sse_text(wire: str) -> str:
    events = [line.removeprefix("data: ") for line in wire.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


@pytest.mark.timeout(1800)
async def test_concurrent_streams_equal_single_ones(server: ServerProcess) -> None:
    """64 readers at once get, to the letter, what each of them gets alone."""
    url = f"{server.url}/v1/chat/completions"
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=NUM_STREAMS)) as client:
        posts = [client.post(url, json=request(i, STREAM_TOKENS)) for i in range(NUM_STREAMS)]
        together = [sse_text(answer.text) for answer in await asyncio.gather(*posts)]
        for index in range(NUM_STREAMS):
            alone = await client.post(url, json=request(index, STREAM_TOKENS))
            assert together[index] == sse_text(alone.text), f"stream {index}"


async def one_client(host: str, port: int, index: int, seed: int) -> str:
    """One client of the storm: half of them hang up, before the answer or at a random byte of it."""
    dice = random.Random(seed * NUM_CLIENTS + index)
    body = json.dumps(request(index, 24, stream=dice.random() < 0.75)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection(host, port)
    hangs_up = index % 2 == 0
    sent = head.encode() + body
    try:
        if hangs_up and dice.random() < 0.2:
            writer.write(sent[: dice.randrange(len(sent))])
            return "left while sending"
        writer.write(sent)
        await writer.drain()
        if hangs_up:
            wanted = dice.choice([0, 1, dice.randrange(4000)])
            while wanted > 0 and (read := await reader.read(wanted)):
                wanted -= len(read)
            return "left while reading"
        answer = await reader.read()
        assert b"200 OK" in answer.split(b"\r\n", 1)[0], answer[:200]
        assert b"[DONE]" in answer or b'"chat.completion"' in answer
        return "finished"
    finally:
        writer.close()


async def storm(server: ServerProcess, seed: int) -> list[str]:
    url = httpx.URL(server.url)
    assert url.port is not None
    gate = asyncio.Semaphore(500)

    async def gated(index: int) -> str:
        async with gate:
            assert url.port is not None
            return await one_client(url.host, url.port, index, seed)

    return await asyncio.gather(*[gated(index) for index in range(NUM_CLIENTS)])


@pytest.mark.timeout(1800)
async def test_storm_leaves_nothing_behind() -> None:
    """2,000 clients, half of which vanish at random: no request, block or memory stays, and the next client is served."""
    with run_server() as server:
        await storm(server, seed=0)
        before = server.memory_bytes()
        outcomes = await storm(server, seed=1)
        assert outcomes.count("finished") == NUM_CLIENTS // 2
        server.wait_until_all_is_back()
        assert server.memory_bytes() - before < 32 * 2**20
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=request(0, 5, stream=False), timeout=60)
        assert answer.json()["usage"]["completion_tokens"] == 5
