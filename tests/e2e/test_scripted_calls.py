"""If one of these fails, a test of an agent proves something that is not so."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from tests.server_process import run_server

from streamcore.testing import Answer, Rule, StartServer, ToolMessage

pytest_plugins = ["streamcore.pytest_plugin"]

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}
OSLO: Answer = {
    "reasoning": "Two calls.",
    "text": "Let me see.",
    "tool_calls": [
        {"name": "weather", "arguments": {"city": "Oslo"}, "id": "call_a"},
        {"name": "weather", "arguments": {"city": "Bergen 🦀", "days": 3}, "id": "call_b"},
    ],
}
RULES: list[Rule] = [
    {"when": {"tool": {"name": "weather", "contains": "rain"}}, "answer": {"text": "Take an umbrella."}},
    {"when": {"tool": {}}, "answer": {"text": "It is dry."}},
    {"answer": OSLO},
]


def run_agent(client: OpenAI, answers: dict[str, str]) -> str | None:
    """A loop as people write it: asks, calls, sends back what the tools have answered."""
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What do I wear?"}]
    while True:
        with client.chat.completions.stream(model="script", messages=messages, tools=[WEATHER]) as stream:
            message = stream.get_final_completion().choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message.to_dict())  # type: ignore[arg-type]
        for call in message.tool_calls:
            city = json.loads(call.function.arguments)["city"]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": answers[city]})


@pytest.mark.parametrize(
    ("parsers", "options"),
    [({}, {}), ({"tool_call_parser": "mistral", "reasoning_parser": "mistral"}, {}), ({}, {"in_file": True})],
)
def test_agent_is_led_by_a_script(
    streamcore_server: StartServer, tmp_path: Path, parsers: dict[str, str], options: dict[str, Any]
) -> None:
    """An agent gets its calls, streamed; what it did with them is seen, in types."""
    rules: list[Rule] | Path = RULES
    if options:
        rules = tmp_path / "script.json"
        rules.write_text(json.dumps({"tool_call_parser": "qwen3_coder", "rules": RULES}))
    server = streamcore_server(rules, **parsers)
    with OpenAI(base_url=server.base_url, api_key="none") as client:
        assert run_agent(client, {"Oslo": "sun", "Bergen 🦀": "rain"}) == "Take an umbrella."
        first, second = server.requests
        assert first.tool_messages == []
        assert (first.tools, first.tool_choice) == ([WEATHER], None)
        assert second.tool_messages == [
            ToolMessage("sun", "call_a", "weather", {"city": "Oslo"}),
            ToolMessage("rain", "call_b", "weather", {"city": "Bergen 🦀", "days": 3}),
        ]
        assert [message["role"] for message in second.messages] == ["user", "assistant", "tool", "tool"]
        assert second.messages[1]["content"] == "Let me see."
        assert run_agent(client, {"Oslo": "sun", "Bergen 🦀": "sun"}) == "It is dry."


def test_reasoning_and_finish_are_the_sdks(streamcore_server: StartServer) -> None:
    """A program that shows thoughts is tested with thoughts, one that waits for `tool_calls` with that reason."""
    server = streamcore_server([{"answer": OSLO}])
    with OpenAI(base_url=server.base_url, api_key="none") as client:
        completion = client.chat.completions.create(
            model="script", messages=[{"role": "user", "content": "hi"}], tools=[WEATHER], tool_choice="auto"
        )
    (choice,) = completion.choices
    assert (choice.message.to_dict()["reasoning"], choice.message.content) == ("Two calls.", "Let me see.")
    assert choice.finish_reason == "tool_calls"
    assert completion.usage is not None
    assert completion.usage.completion_tokens_details is not None
    assert completion.usage.completion_tokens_details.reasoning_tokens
    assert server.requests[0].tool_choice == "auto"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[]", []),
        (b'{"messages": [1, {"role": "tool"}], "tools": 5}', [ToolMessage("", None, None, None)]),
        (
            b'{"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": '
            b'{"name": "f", "arguments": "{"}}, 1]}, {"role": "tool", "tool_call_id": "a", '
            b'"content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}]}',
            [ToolMessage("x\ny", "a", "f", "{")],
        ),
        (
            b'{"messages": [{"role": "function", "name": "f", "content": "x"}]}',
            [ToolMessage("x", None, "f", None)],
        ),
    ],
)
def test_wrong_requests_are_shown_all_the_same(
    streamcore_server: StartServer, body: bytes, expected: list[ToolMessage]
) -> None:
    """What is wrong with a request is looked for in what was sent, whatever that is."""
    server = streamcore_server([{"answer": {"text": "ok"}}])
    httpx.post(f"{server.base_url}/chat/completions", content=body)
    (received,) = server.requests
    assert received.tool_messages == expected
    assert (received.tools, received.tool_choice) == ([], None)


def test_options_of_the_command_win(tmp_path: Path) -> None:
    """The same script is played as another family, or as one that knows no calls, without a change."""
    script = tmp_path / "script.json"
    rules: list[Rule] = [{"answer": {"text": "[TOOL_CALLS]weather[ARGS]{}"}}]
    script.write_text(json.dumps({"tool_call_parser": "mistral", "rules": rules}))
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": [WEATHER]}
    for options, log, reason in [
        ((), "tool-call parser mistral, reasoning parser none", "tool_calls"),
        (
            ("--tool-call-parser", "none", "--reasoning-parser", "qwen3"),
            "parser none, reasoning parser qwen3",
            "stop",
        ),
    ]:
        with run_server(f"script:{script}", *options) as server:
            assert log in server.output
            answer = httpx.post(f"{server.url}/v1/chat/completions", json=body).json()
            assert answer["choices"][0]["finish_reason"] == reason
            assert "knows no tools" not in server.output


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ((), ["reasoning", "reasoning_content"]),
        (("--reasoning-field", "both"), ["reasoning", "reasoning_content"]),
        (("--reasoning-field", "reasoning"), ["reasoning"]),
        (("--reasoning-field", "reasoning_content"), ["reasoning_content"]),
    ],
)
def test_reasoning_is_where_the_option_says(
    tmp_path: Path, option: tuple[str, ...], names: list[str]
) -> None:
    """A program that shows both fields shows each thought twice; with one of them it needs no change."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"rules": [{"answer": {"reasoning": "Hm", "text": "Yes"}}]}))
    body = {"messages": [{"role": "user", "content": "hi"}]}
    with run_server(f"script:{script}", *option) as server:
        url = f"{server.url}/v1/chat/completions"
        message = httpx.post(url, json=body).json()["choices"][0]["message"]
        told = {key: message[key] for key in message if key.startswith("reasoning")}
        assert told == dict.fromkeys(names, "Hm")
        stream = httpx.post(url, json={**body, "stream": True}).text
        events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
        thoughts = [
            event["choices"][0]["delta"] for event in events if "reason" in str(event["choices"][0]["delta"])
        ]
        assert thoughts
        assert all(list(delta) == names for delta in thoughts)
        for name in names:
            assert "".join(delta[name] for delta in thoughts) == "Hm"
