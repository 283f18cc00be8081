"""If this fails, a web page that relays the model's text does not work."""

from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI


def relay(client: AsyncOpenAI) -> FastAPI:
    """The page as its author writes it: one route that passes the text on as it arrives."""
    page = FastAPI()

    async def pieces(prompt: str) -> AsyncIterator[str]:
        stream = await client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": prompt}], stream=True, temperature=0
        )
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    @page.get("/chat")
    async def chat(prompt: str) -> StreamingResponse:
        return StreamingResponse(pieces(prompt), media_type="text/plain")

    return page


async def test_page_relays_the_text(async_client: AsyncOpenAI) -> None:
    """A FastAPI route that streams `text/plain` shows the whole answer."""
    transport = httpx.ASGITransport(app=relay(async_client))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as browser:
        answer = await browser.get("/chat", params={"prompt": "Count from 1 to 10"})
    assert answer.headers["content-type"].startswith("text/plain")
    assert "9, 10" in answer.text
