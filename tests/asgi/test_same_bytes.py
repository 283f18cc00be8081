"""If this fails, a client that works with `streamcore serve` does not work with a site in Python, or the other way round."""

import http.client
import json
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import httpx
import pytest
from openai import OpenAI
from tests.asgi.driver import Call, running

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
# The servers' own: how a connection is used, and what time it is.
TRANSPORT = {"date", "server", "connection", "transfer-encoding", "content-length", "openai-processing-ms"}


@dataclass
class Answer:
    """What a client sees."""

    status: int
    headers: dict[str, str]
    body: str


def ask(url: str, method: str, path: str, body: bytes | int | None) -> Answer:
    """Sends exactly this path; libraries would tidy it. A number announces a body of that length and sends none."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    headers = {"x-request-id": "t1"} | ({} if body is None else {"Content-Type": "application/json"})
    if isinstance(body, int):
        headers["Content-Length"], body = str(body), None
    connection.request(method, address.path + path, body, headers)
    answer = connection.getresponse()
    seen = {name.lower(): value for name, value in answer.getheaders()}
    text = answer.read().decode()
    connection.close()
    return normal(answer.status, seen, text)


def normal(status: int, headers: dict[str, str], body: str) -> Answer:
    """Without what changes from one request to the next."""
    headers = {name: value for name, value in headers.items() if name not in TRANSPORT}
    return Answer(status, headers, re.sub(r'"(created(?:_at)?)":\d+', r'"\1":0', body))


def chat(**fields: object) -> bytes:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Count to 10"}], "temperature": 0}
    return json.dumps(body | fields).encode()


def completion(**fields: object) -> bytes:
    return json.dumps({"model": "demo", "prompt": "Once", "temperature": 0} | fields).encode()


def response(**fields: object) -> bytes:
    # What is kept has an id of its own.
    body = {"model": "demo", "input": "Count to 10", "temperature": 0, "store": False}
    return json.dumps(body | fields).encode()


def message(**fields: object) -> bytes:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Count to 10"}], "temperature": 0}
    return json.dumps(body | fields).encode()


# A stream of one token cannot be cut in two ways; longer ones can, see below.
REQUESTS: dict[str, tuple[str, str, bytes | int | None]] = {
    "chat stream": ("POST", CHAT, chat(stream=True, max_tokens=1, stream_options={"include_usage": True})),
    "whole chat": ("POST", CHAT, chat(max_tokens=30)),
    "completion stream": ("POST", "/v1/completions", completion(stream=True, max_tokens=1)),
    "whole completion": ("POST", "/v1/completions", completion(max_tokens=30)),
    "response stream": ("POST", RESPONSES, response(stream=True, max_output_tokens=1)),
    "whole response": ("POST", RESPONSES, response(max_output_tokens=30)),
    "tokens of a response": ("POST", f"{RESPONSES}/input_tokens", response()),
    "conversation to make shorter": ("POST", f"{RESPONSES}/compact", response()),
    "refused response": ("POST", RESPONSES, response(input=[])),
    "response that is not there": ("GET", f"{RESPONSES}/resp_1?stream=true&starting_after=3", None),
    "items that are not there": ("GET", f"{RESPONSES}/resp_1/input_items", None),
    "response to delete": ("DELETE", f"{RESPONSES}/resp_1", None),
    "message stream": ("POST", MESSAGES, message(stream=True, max_tokens=1)),
    "whole message": ("POST", MESSAGES, message(max_tokens=30)),
    "tokens of a message": ("POST", f"{MESSAGES}/count_tokens", message()),
    "refused message": ("POST", MESSAGES, message()),
    "tokenize": ("POST", "/tokenize", json.dumps({"prompt": "Count"}).encode()),
    "models": ("GET", "/v1/models", None),
    "model": ("GET", "/v1/models/demo", None),
    "model with a slash": ("GET", "/v1/models/org/demo", None),
    "model with an escaped slash": ("GET", "/v1/models/org%2Fdemo?x=1", None),
    "model that is no text": ("GET", "/v1/models/%FF%C3", None),
    "model in another script": ("GET", "/v1/models/%E6%A8%A1%20%25", None),
    "health": ("GET", "/health", None),
    "ready": ("GET", "/ready", None),
    "version": ("GET", "/version", None),
    "head": ("HEAD", "/v1/models", None),
    "unknown route": ("GET", "/v1/nothing%20here?q=1", None),
    "root": ("GET", "/", None),
    "double slash": ("GET", "//v1/models", None),
    "wrong method": ("DELETE", "/v1/models", None),
    "unknown method": ("BREW", CHAT, None),
    "no body": ("POST", CHAT, None),
    "no json": ("POST", CHAT, b"{"),
    "unknown model": ("POST", CHAT, chat(model="gpt")),
    "wrong value": ("POST", CHAT, chat(temperature=3)),
    "too long": ("POST", CHAT, chat(max_tokens=10**6)),
    "body of a megabyte": ("POST", CHAT, chat(user="x" * 2**20, max_tokens=1)),
    "body too large": ("POST", CHAT, 2**24 + 1),
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("prefix", ["", "/llm"])
def test_same_answer_by_both_doors(site: str, native: str, name: str, prefix: str) -> None:
    """Status, headers and body are those of the server in Rust, at the root of a site and under a prefix, which is part of
    the paths that an error names.
    """
    method, path, body = REQUESTS[name]
    expected = ask(native, method, path, body)
    if "unknown_route" in expected.body:
        expected = replace(expected, body=expected.body.replace("`/", f"`{prefix}/"))
    assert ask(site + prefix, method, path, body) == expected


def merged(body: str) -> list[object]:
    """The events of a stream, in which neighbouring texts are one: how many tokens an event has depends on time."""
    events: list[object] = []
    text = ""
    for event in body.split("\n\n")[:-1]:
        data = json.loads(event.removeprefix("data: ")) if "[DONE]" not in event else event
        if isinstance(data, dict) and data["choices"][0]["delta"].keys() == {"content"}:
            text += data["choices"][0]["delta"]["content"]
            continue
        events += [text, data]
        text = ""
    return events


@pytest.mark.parametrize("prefix", ["", "/llm", "/wrapped"])
def test_same_stream_by_both_doors(site: str, native: str, prefix: str) -> None:
    """A long stream has the same text and the same events around it, through middleware as well."""
    body = chat(stream=True, max_tokens=300, ignore_eos=True)
    expected, answer = ask(native, "POST", CHAT, body), ask(site + prefix, "POST", CHAT, body)
    assert merged(answer.body) == merged(expected.body)
    assert expected.headers.items() <= answer.headers.items()


def test_same_metrics_by_both_doors(site: str, native: str) -> None:
    """A dashboard finds the same names."""

    def names(page: str) -> set[str]:
        return set(re.findall(r"^# TYPE .*$", page, re.MULTILINE))

    assert names(httpx.get(f"{site}/llm/metrics").text) == names(httpx.get(f"{native}/metrics").text) != set()


def test_middleware_neither_compresses_nor_holds_back_events(site: str) -> None:
    """Compressed events arrive in blocks, which is no stream; and a site's own routes and headers still work beside ours."""
    assert httpx.get(f"{site}/hello").json() == "world"
    headers = {"Accept-Encoding": "gzip", "Origin": "http://page", "Content-Type": "application/json"}
    body = chat(stream=True, max_tokens=3000, ignore_eos=True)
    with httpx.stream("POST", f"{site}/wrapped{CHAT}", content=body, headers=headers, timeout=60) as answer:
        assert "content-encoding" not in answer.headers
        assert answer.headers["x-seen"].endswith(CHAT)
        assert answer.headers["access-control-allow-origin"] == "*"
        pieces = answer.iter_raw()
        # Had it been held back, the first piece would be the whole.
        assert b"[DONE]" not in next(pieces)
    whole = httpx.get(f"{site}/wrapped/metrics", headers=headers)
    assert whole.headers["content-encoding"] == "gzip"
    running = "streamcore_num_requests_running"
    while f"\n{running} 0\n" not in httpx.get(f"{site}/llm/metrics").text:
        pass


def test_openai_client_talks_to_a_mounted_application(site: str) -> None:
    """The SDK works with a prefix in its base URL."""
    with OpenAI(base_url=f"{site}/llm/v1", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": "Count from 1 to 10"}],
            stream=True,
            temperature=0,
        )
        assert "9, 10" in "".join(chunk.choices[0].delta.content or "" for chunk in stream)


async def test_path_under_a_prefix_however_it_is_told() -> None:
    """Servers differ in what they say of the path: escaped or not, with the prefix or without it."""
    async with running() as app:
        for target, path, root_path in [
            ("/v1/models/a%2Fb", "/v1/models/a/b", ""),
            ("/llm/v1/models/a%2Fb", "/llm/v1/models/a/b", "/llm"),
            ("/%6Clm/v1/models/a/b", "/llm/v1/models/a/b", "/llm"),
            ("/l%20m/v1/models/a/b", "/l m/v1/models/a/b", "/l m/"),
            ("", "/llm/v1/models/a/b", "/llm"),
            ("/v1/models/a/b", "/v1/models/a/b", "/llm"),
        ]:
            call = Call(app, "GET", target, path=path, root_path=root_path)
            await call.task
            assert json.loads(call.body)["error"]["message"].startswith("model `a/b` does not exist"), target


async def test_body_is_read_as_it_is_needed() -> None:
    """A body in pieces arrives whole; one that no route needs, or that is too large, is not read."""
    async with running() as app:
        body = chat(max_tokens=1)
        call = Call(app, "POST", CHAT, [body[:7], b"", body[7:]])
        await call.task
        assert call.status == 200
        unread = Call(app, "POST", "/v1/nothing", [b"x"] * 100)
        await unread.task
        assert (unread.status, unread.num_receives) == (404, 0)
        endless = Call(app, "POST", CHAT, [b" " * 2**20] * 100)
        await endless.task
        assert (endless.status, endless.num_receives) == (413, 17)


async def test_headers_are_none_of_the_connection() -> None:
    """HTTP/2 forbids headers that speak of the connection, which is the ASGI server's; HTTP, a length where there is no body."""
    origin = "https://chat.example"
    preflight = [(b"origin", origin.encode()), (b"access-control-request-method", b"POST")]
    async with running(allowed_origins=origin) as app:
        calls = {
            name: Call(app, method, path, [body if isinstance(body, bytes) else b""])
            for name, (method, path, body) in REQUESTS.items()
        }
        calls["preflight"] = Call(app, "OPTIONS", CHAT, headers=preflight)
        for name, call in calls.items():
            await call.task
            of_connection = {
                b"connection",
                b"keep-alive",
                b"proxy-connection",
                b"transfer-encoding",
                b"upgrade",
            }
            assert not of_connection & call.headers.keys(), name
            assert all(header == header.lower() for header in call.headers), name
    assert calls["preflight"].status == 204
    assert b"content-length" not in calls["preflight"].headers
    assert int(calls["models"].headers[b"content-length"]) == len(calls["models"].body)


async def test_openapi_document_knows_the_prefix() -> None:
    """A page that shows the document of a mounted application, and the programs made from it, must ask where it is mounted."""
    async with running() as app:
        for root_path, servers in [("", None), ("/llm", [{"url": "/llm"}]), ("/l m/", [{"url": "/l%20m"}])]:
            call = Call(app, "GET", "/openapi.json", root_path=root_path)
            await call.task
            assert json.loads(call.body).get("servers") == servers
