"""If one of these fails, a test of what a client sends proves something false."""

import httpx
import openai
import pytest
from openai import OpenAI

from streamcore.testing import scripted_server


def test_requests_are_told_as_they_came() -> None:
    """A program is tested for what it asks: the model, the messages, its own fields and headers, in order and with each retry."""
    with (
        scripted_server([{"answer": {"text": "ok"}}]) as server,
        OpenAI(base_url=server.base_url, api_key="sk-secret", max_retries=0) as client,
    ):
        assert server.requests == []
        messages = [{"role": "user", "content": "Grüße " + "x" * 100_000}]
        client.chat.completions.create(
            model="script",
            messages=messages,  # type: ignore[arg-type]
            temperature=0.5,
            extra_headers={"X-Team": "blue"},
            extra_query={"a": "1"},
        )
        client.models.list()
        chat, models = server.requests
        assert (chat.method, chat.path) == ("POST", "/v1/chat/completions?a=1")
        assert chat.body == {"model": "script", "messages": messages, "temperature": 0.5}
        assert chat.headers["x-team"] == "blue"
        assert chat.headers["authorization"] == "Bearer ***"
        assert "secret" not in repr(server.requests)
        assert (models.method, models.path, models.body) == ("GET", "/v1/models", None)


def test_refused_requests_are_told_too() -> None:
    """A client that sends the wrong key, or no JSON, is found by what it sent."""
    with scripted_server([{"answer": {"text": "ok"}}], api_keys=["k1"]) as server:
        with OpenAI(base_url=server.base_url, api_key="k2", max_retries=1) as client:
            client._calculate_retry_timeout = lambda *_: 0.0  # type: ignore[method-assign]
            with pytest.raises(openai.AuthenticationError):
                client.completions.create(model="script", prompt="hi")
        headers = [("X-Api-Key", "k1"), ("Content-Type", "application/json"), ("X-A", "1"), ("X-A", "2")]
        assert httpx.post(f"{server.base_url}/completions", content=b"{", headers=headers).status_code == 400
        unread, no_json = server.requests
        assert (unread.path, unread.body) == ("/v1/completions", None)
        assert (no_json.headers["x-api-key"], no_json.headers["x-a"], no_json.body) == ("***", "1, 2", None)
